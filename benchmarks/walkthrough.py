"""Draw the pictures of docs/walkthrough.md, and copy the page into examples/tutorial.ipynb.

    python -m benchmarks.walkthrough

The page's two curves are of experiments whose programs are in revision b594a72; see `benchmarks.recorded`.
"""

import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import PICTURES, ROOT
from dcgan_jax import load_dataset
from dcgan_jax.layers import conv2d, dropout, upsample_conv2d

_TAPS = 5  # of a kernel, along each axis
_DPI = 80


def draw_padding(pyplot: Any) -> Any:
    """Draw the kernel's positions in a stride-2 'same' convolution along one axis, for maps of 14 and of 7 pixels."""
    figure, axes = pyplot.subplots(2, 1, figsize=(8, 4.2), layout="constrained")
    for axis, size in zip(axes, (14, 7), strict=True):
        ((before, after),) = jax.lax.padtype_to_pads((size,), (_TAPS,), (2,), "SAME")
        for i in range(-before, size + after):
            inside = 0 <= i < size
            axis.add_patch(pyplot.Rectangle((i, 0), 1, 1, facecolor="C0" if inside else "white", edgecolor="black"))
            axis.text(i + 0.5, 0.5, i if inside else "0", ha="center", va="center", color="white" if inside else "C3")
        outputs = -(-size // 2)
        for i in range(outputs):
            start = 2 * i - before
            axis.plot([start + 0.15, start + _TAPS - 0.15], [-0.4 - 0.35 * i] * 2, "C1", linewidth=3)
            axis.text(start + _TAPS + 0.1, -0.4 - 0.35 * i, f"output {i}", va="center", fontsize=7)
        axis.set(xlim=(-2.2, size + 4), ylim=(-0.6 - 0.35 * outputs, 1.2))
        axis.set_title(f"{size} pixels, stride 2: {outputs} outputs, {before} before and {after} after", fontsize=10)
        axis.set_axis_off()
    return figure


def draw_dropout(pyplot: Any) -> Any:
    """Draw six maps of the untrained discriminator's first layer: unchanged, with values or whole maps dropped."""
    key = jax.random.key(0)
    digit = jnp.asarray(load_dataset()[:1], jnp.float32) / 255
    kernel = jax.nn.initializers.glorot_uniform()(key, (_TAPS, _TAPS, 1, 6))
    maps = jax.nn.leaky_relu(conv2d(digit, kernel, 2), 0.2)  # [1, 14, 14, 6]
    whole = dropout(jnp.ones((1, 1, 1, 6)), 0.4, jax.random.key(9)) * maps
    rows = {"as they are": maps, "dropout": dropout(maps, 0.4, key), "whole maps": whole}
    figure, axes = pyplot.subplots(3, 6, figsize=(7, 3.8), layout="constrained")
    limit = float(jnp.abs(rows["dropout"]).max())
    for line, (title, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=9)
        for axis, image in zip(line, np.moveaxis(np.asarray(images[0]), -1, 0), strict=True):
            axis.imshow(image, cmap="RdBu", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
    return figure


def draw_upsampling(pyplot: Any) -> Any:
    """Draw a constant map enlarged with a kernel of ones: by a stride-2 transposed convolution, and upsampled first."""
    small, ones = jnp.ones((1, 7, 7, 1)), jnp.ones((_TAPS, _TAPS, 1, 1))
    transposed = jax.lax.conv_transpose(small, ones, (2, 2), "SAME")  # [1, 14, 14, 1]
    pictures = {"Conv2DTranspose, stride 2": transposed, "upsampled, then convolved": upsample_conv2d(small, ones)}
    figure, axes = pyplot.subplots(1, 2, figsize=(6.5, 3.2), layout="constrained")
    for axis, (title, image) in zip(axes, pictures.items(), strict=True):
        shown = axis.imshow(image[0, :, :, 0], cmap="gray", vmin=0)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=10)
        figure.colorbar(shown, ax=axis, shrink=0.8)
    return figure


def notebook_cells(page: str) -> list[tuple[str, str]]:
    """The page as a notebook's cells, ``markdown`` or ``code``, with links relative to ``examples``."""
    cells = []
    page = re.sub(r"^<!--.*-->\n", "", page, flags=re.MULTILINE)
    for i, part in enumerate(re.split(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)):
        if i % 2 == 0:
            part = re.sub(r"\]\(#", "](walkthrough.md#", part)
            part = re.sub(r"\]\((?!\.\./|https?:)", "](../docs/", part)
        if part.strip():
            cells.append((("markdown", "code")[i % 2], part.strip()))
    return cells


def write_notebook() -> None:
    """Replace the notebook's cells that are tagged ``walkthrough`` with the page's."""
    import nbformat

    path = ROOT / "examples" / "tutorial.ipynb"
    notebook = nbformat.read(path, as_version=4)
    own = [cell for cell in notebook.cells if "walkthrough" not in cell.metadata.get("tags", ())]
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    pages = []
    for i, (kind, text) in enumerate(notebook_cells((ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8"))):
        pages.append(make[kind](text, id=f"walkthrough-{i}", metadata={"tags": ["walkthrough"]}))
    (settings,) = [i for i, cell in enumerate(own) if cell.source.startswith("## Settings")]
    notebook.cells = [*own[:settings], *pages, *own[settings:]]
    nbformat.write(notebook, path)


def main() -> int:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    for name, draw in {"padding": draw_padding, "dropout": draw_dropout, "upsampling": draw_upsampling}.items():
        figure = draw(pyplot)
        figure.savefig(PICTURES / f"walkthrough-{name}.png", dpi=_DPI)
        pyplot.close(figure)
    write_notebook()
    return 0


if __name__ == "__main__":
    sys.exit(main())
