"""The walkthrough prints what it says, and says the same in both languages."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from helpers import ROOT, quick_jit

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import quality, recorded  # noqa: E402
from dcgan_jax import Discriminator  # noqa: E402

PAGES = ("walkthrough.md", "walkthrough.ko.md")


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def code(name):
    """The Python of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


def pictures(name):
    return re.findall(r"!\[.*?\]\((.*?)\)", page(name))


def test_both_languages_show_the_same():
    english, korean = PAGES
    assert code(english) == code(korean)
    assert pictures(english) == pictures(korean)
    headings = [re.findall(r"^(#+) ", page(name), re.MULTILINE) for name in PAGES]
    assert headings[0] == headings[1]


def test_corners_of_the_maps_see_what_the_page_says():
    """The image's pixels that the corner of a map depends on: 18 x 18 in the third layer, all in the fourth."""
    module = Discriminator(plain=True)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))

    def corner(images, layer):
        _, seen = module.apply(variables, images, capture_intermediates=lambda m, _: m.name == layer, mutable=True)
        return seen["intermediates"][layer]["__call__"][0][0, 0, 0].sum()

    image = jax.random.uniform(jax.random.key(1), (1, 28, 28, 1))
    for layer, sees in (("conv_3", 18), ("conv_4", 28)):
        slopes = quick_jit(jax.grad(corner), static_argnums=1)(image, layer)[0, :, :, 0]
        expected = np.zeros((28, 28), bool)
        expected[:sees, :sees] = True
        np.testing.assert_array_equal(slopes != 0, expected)


def test_tables_and_figures_are_those_of_the_results():
    english, korean = map(page, PAGES)
    header, rule, *rows = recorded.noise_dimensions_table().splitlines()
    assert "\n".join([header, rule, *rows]) in english
    assert "\n".join(rows) in korean
    for name in pictures("walkthrough.md"):
        assert (ROOT / "docs" / name).stat().st_size < 60_000


def test_figures_of_freezing_are_those_of_the_results():
    figures = recorded.freezing_figures()
    for name in ("keras-published", "keras-frozen"):
        curve = json.loads((quality.RESULTS / f"{name}.json").read_text())["curve"]
        figures += [f"{row['fid']:.0f}" for row in curve if row["step"] == 1000]
    assert figures == ["0.0001", "77 %", "0.31", "65 %", "0.45", "270", "193"]
    assert all(figure in page(name) for name in PAGES for figure in figures)
