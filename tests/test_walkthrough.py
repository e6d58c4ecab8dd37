"""The walkthrough prints what it says, and says the same in both languages."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from helpers import ROOT, assert_close, quick_jit, small_gan

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import freezing, noise_dimensions, quality  # noqa: E402
from dcgan_jax import Discriminator, train_step  # noqa: E402

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


def test_unfrozen_step_changes_the_discriminator(small_images):
    """Same noise, same dropout: the generator is that of `train_step`, the discriminator is not."""
    state, key = small_gan(jax.random.key(0)), jax.random.key(1)
    opt_state = state.generator.tx.init(freezing.both_params(state))
    ours, metrics = train_step(state, small_images, key)
    theirs, opt_state, their_metrics = jax.jit(freezing.unfrozen_step)(state, opt_state, small_images, key)
    for params in (ours.generator.params, theirs.generator.params):
        params["Dense_0"].pop("bias")  # batch normalisation takes it away: its gradient is rounding
    assert_close(theirs.generator.params, ours.generator.params, 1e-6)  # single precision, another order of sums
    assert_close(theirs.generator.batch_stats, ours.generator.batch_stats, 1e-6)
    assert_close(their_metrics, metrics, 1e-6)
    changed = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), theirs.discriminator.params, ours.discriminator.params)
    assert min(jax.tree.leaves(changed)) > 1e-5
    assert opt_state.count == theirs.step == 1


def test_tables_and_figures_are_those_of_the_results():
    english, korean = map(page, PAGES)
    header, rule, *rows = noise_dimensions.table().splitlines()
    assert "\n".join([header, rule, *rows]) in english
    assert "\n".join(rows) in korean
    for name in pictures("walkthrough.md"):
        assert (ROOT / "docs" / name).stat().st_size < 60_000


def test_figures_of_freezing_are_those_of_the_results():
    runs = freezing.results()
    rows = {name: {row["step"]: row for row in run["rows"]} for name, run in runs.items()}
    figures = [f"{rows['frozen'][30]['g_loss']:.4f}"]
    for name in ("frozen", "unfrozen"):
        late = [rows[name][step] for step in range(110, 201, 10)]
        figures.append(f"{100 * np.mean([row['d_accuracy'] for row in late]):.0f} %")
        figures.append(f"{np.mean([row['inference'] for row in late]):.2f}")
    for name in ("keras-published", "keras-frozen"):
        curve = json.loads((quality.RESULTS / f"{name}.json").read_text())["curve"]
        figures += [f"{row['fid']:.0f}" for row in curve if row["step"] == 1000]
    assert figures == ["0.0001", "77 %", "0.31", "65 %", "0.45", "270", "193"]
    assert all(figure in page(name) for name in PAGES for figure in figures)


def test_plane_of_noise_is_the_square():
    noise = noise_dimensions.plane(3)
    assert noise.tolist() == [[x, y] for y in (-1, 0, 1) for x in (-1, 0, 1)]
