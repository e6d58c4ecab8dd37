"""Axis orders of arrays of N images of height H, width W and C channels, and their inference."""

import math
from collections.abc import Sequence

import numpy as np

from dcgan_jax.data.common import DatasetError

# Axis orders in use by number of axes, likeliest first. Of 2 axes, N first means rows of pixels, N last columns.
_ORDERS = {
    2: ("NHW", "NCHW", "NHWC", "HWN", "CHWN", "HWCN"),
    3: ("NHW", "HWN"),
    4: ("NHWC", "NCHW", "HWCN", "CHWN", "CNHW", "HWNC", "NHCW"),
}
_ORDINALS = ("first", "second", "third", "last")
_LEAST_SIDE = 4
_LEAST_SQUARE = 16  # side of images whose pixels make a row of a file of them
_LONGEST = 4  # aspect ratio of a single image in a file of its own
_LEAST_ROW = 16  # values; shorter rows are labels
_CLEARLY = 0.6  # bound on the ratio of roughness in two orders: wrong orders have about 1, right ones 0.1 to 0.5
_SMOOTH = 0.7  # the roughness of images in the right order is below it
_SAMPLE = 64  # images that the roughness is computed from


def parse_layout(text: str) -> str:
    """Parse an axis order such as ``HWCN`` or ``nwh``: returns it in capitals.

    Raises:
      ValueError: unless it has the letters N, H, W and perhaps C, each once.
    """
    layout = text.upper()
    if sorted(layout) not in (sorted("NHW"), sorted("NHWC")):
        raise ValueError(f"must have the letters N, H, W and perhaps C, each once, such as NCHW or HWN, got {text!r}")
    return layout


def to_nhwc(
    array: np.ndarray, what: object, layout: str | None = None, labels: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Transpose an array to images [N, H, W, C], C 1 or 3, with a note unless its axes are clearly NHWC or NHW.

    Args:
      array: images in 3 or 4 axes, or rows or columns of the pixels of square images.
      what: the source, for messages.
      layout: its axis order, as from `parse_layout`, with N at one end for rows or columns of pixels. If None it is
        inferred from the shape and, if that is ambiguous, from the values: neighbouring pixels differ least.
      labels: the number of labels, if there are any.

    Raises:
      DatasetError: if it holds no images, or likely in an order that few programs save.
    """
    if layout is not None:
        return _in_order(array, what, layout), ()
    _check_images(array, what)
    possible = [each for each in _ORDERS.get(array.ndim, ()) if _sizes(array.shape, each)]
    if array.ndim == 2 and all(each[0] != "N" for each in possible):  # columns are rare, so the values must confirm it
        possible = [each for each in possible if _roughness(array, each) < _SMOOTH]
    if not possible:
        raise DatasetError(f"{what} {_why_none(array.shape)}")
    usual = possible[0]
    likely, doubtful = _likely(array, possible, labels)
    if (likely[0] == "N") != (usual[0] == "N") or likely == "NHCW":
        order = tuple(likely.index(letter) for letter in "NHWC" if letter in likely)
        remedy = f"save array.transpose{order}" if array.ndim > 2 else "save array.T"
        counted = f"{_describe(array, likely)} by its {_ORDINALS[likely.index('N') - len(likely)]} axis"
        raise DatasetError(
            f"{what} holds an array of shape {list(array.shape)}, likely {counted}: {remedy}, or add "
            f"`layout={likely}`, or `layout={usual}` if it is {_describe(array, usual)}"
        )
    if not doubtful and likely in ("NHW", "NHWC") and array.ndim > 2:
        return _in_order(array, what, likely), ()
    others = [each for each in possible if each != likely]
    otherwise = f"; `layout={others[0]}` says otherwise" if others else ""
    axes = "axes" if array.ndim > 2 else "rows" if likely[0] == "N" else "columns"
    return _in_order(array, what, likely), (f"{axes} taken as {likely}: {_describe(array, likely)}{otherwise}",)


def _check_images(array: np.ndarray, what: object) -> None:
    """Raises: DatasetError if an array holds labels or a single image, in any axis order."""
    shape = list(array.shape)
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] < _LEAST_ROW):
        raise DatasetError(f"{what} holds an array of shape {shape}: labels, perhaps, and no images [N, H, W, C]")
    if array.ndim == 2 and is_one_hot(array[:1000]):  # images never have a single white pixel each
        raise DatasetError(f"{what} holds rows of zeros and a single 1: one-hot labels, perhaps, and no images")
    if _may_be_one_image(array.shape):
        raise DatasetError(
            f"{what} holds an array of shape {shape}, which may be one image: save it as [N, H, W, C], one image as "
            "[1, H, W, C], and grey ones as [N, H, W, 1]"
        )


def are_sets(shapes: Sequence[tuple[int, ...]], layout: str | None) -> bool:
    """Whether arrays of these shapes, one in each file, are a set of images each and not one image each.

    Sets may differ in the number of images, their first axis. They are [N, H, W, C], [N, C, H, W], [N, H, W] that
    cannot be one image, or far more or fewer rows than columns, of the pixels of square images.

    Args:
      shapes: the shapes, at least one.
      layout: the axis order if it is given, in which an array of 3 axes is a set if it has no C.
    """
    first, alike = shapes[0], len(set(shapes)) == 1
    if any(len(shape) != len(first) or shape[1:] != first[1:] for shape in shapes) or (layout or "N")[0] != "N":
        return False
    if len(first) == 4:
        return bool({first[1], first[3]} & {1, 3, 4})
    if len(first) == 3:
        possible = first[2] > 4 and not (alike and first[0] in (1, 3, 4))
        return possible if layout is None else len(layout) == len(first)
    return len(first) == 2 and may_be_rows(first) and any(max(shape) > _LONGEST * min(shape) for shape in shapes)


def may_be_rows(shape: tuple[int, ...]) -> bool:
    """Whether an array of two axes may hold rows of the pixels of square images, at least 16x16, grey or in colour."""
    sides = [math.isqrt(shape[1] // channels) ** 2 * channels for channels in (1, 3)]
    return shape[1] >= _LEAST_SQUARE**2 and shape[1] in sides


def is_one_hot(rows: np.ndarray) -> bool:
    """Whether each of the rows [N, K] is a single 1 and zeros."""
    return bool(((rows == 1).sum(-1) == 1).all() and ((rows == 0).sum(-1) == rows.shape[1] - 1).all())


def _may_be_one_image(shape: tuple[int, ...]) -> bool:
    """Whether a shape may be that of one image, [H, W], [H, W, C] or [C, H, W], rather than [N, H W] or [N, H, W]."""
    if len(shape) != 3:
        return len(shape) == 2 and shape[0] == shape[1]
    channels_last = shape[-1] in (1, 3, 4) and min(shape[:-1]) > shape[-1]
    channels_first = shape[0] in (3, 4) and min(shape[1:]) > shape[0]  # [1, H, W] is the same image either way
    return channels_last or channels_first


def _sizes(shape: tuple[int, ...], layout: str) -> dict[str, int] | None:
    """N, H, W and C of a shape in an axis order, or None if it cannot be that of images."""
    if len(shape) == 2:
        n, pixels = shape if layout[0] == "N" else shape[::-1]
        channels = 3 if "C" in layout else 1
        side = math.isqrt(pixels // channels)
        sizes = {"N": n, "H": side, "W": side, "C": channels}
        possible = side * side * channels == pixels and layout.strip("N") != layout
    else:
        sizes = {"C": 1, **dict(zip(layout, shape, strict=False))}
        possible = len(layout) == len(shape)
    possible = possible and sizes["C"] in (1, 3) and min(sizes["H"], sizes["W"]) >= _LEAST_SIDE and sizes["N"] > 0
    return sizes if possible else None


def _why_none(shape: tuple[int, ...]) -> str:
    """Why a shape is that of images in no axis order, for a message."""
    if len(shape) == 2:
        return f"holds rows of {shape[1]:,} numbers, no square images: save them as [N, H, W, C]"
    if len(shape) not in (3, 4):
        return f"holds an array of shape {list(shape)}: images must be [N, H, W, C] or [N, H, W]"
    if len(shape) == 3 or {1, 3} & set(shape):
        return (
            f"holds an array of shape {list(shape)}: at least one image of at least 4x4 is needed, flattened ones as "
            "[N, H, W, C]"
        )
    if 4 in (shape[-1], shape[1]):
        return f"holds an array of shape {list(shape)}, of 4 channels: leave out the transparency"
    return (
        f"holds an array of shape {list(shape)}, of which no axis is of 1 or 3 channels: save images as [N, H, W, C], "
        "and volumes as their slices"
    )


def _describe(array: np.ndarray, layout: str) -> str:
    sizes = _sizes(array.shape, layout)
    assert sizes is not None
    return f"{sizes['N']:,} images of {sizes['H']}x{sizes['W']}x{sizes['C']}"


def _likely(array: np.ndarray, possible: list[str], labels: int | None) -> tuple[str, bool]:
    """The likeliest of the possible axis orders, and whether the shape leaves a doubt."""
    sizes = {layout: _sizes(array.shape, layout) or {} for layout in possible}
    counted = [layout for layout in possible if sizes[layout]["N"] == labels]
    usual, *others = counted or possible
    others = [each for each in others if sizes[each]["N"] > 1]  # a single image in a rare order is implausible
    if array.ndim > 2:
        aspects = {
            each: max(sizes[each]["H"], sizes[each]["W"]) / min(sizes[each]["H"], sizes[each]["W"]) for each in sizes
        }
        better = [each for each in others if aspects[each] == 1 < aspects[usual] or 2 * aspects[each] <= aspects[usual]]
        if better:
            rival = min(better, key=lambda each: aspects[each])
            return (usual if _roughness(array, usual) < _CLEARLY * _roughness(array, rival) else rival), True
        doubtful = any(aspects[each] <= aspects[usual] for each in others)
        others = [each for each in others if aspects[usual] > 1 or aspects[each] <= aspects[usual]]
    else:
        doubtful = bool(others)
    if not others:
        return usual, False
    roughness = {each: _roughness(array, each) for each in (usual, *others)}
    smoothest = min(others, key=lambda each: roughness[each])
    return (smoothest if roughness[smoothest] < _CLEARLY * roughness[usual] else usual), doubtful


def _roughness(array: np.ndarray, layout: str) -> float:
    """The mean difference of neighbouring pixels, the larger of both axes, by the mean deviation of all pixels."""
    position = layout.index("N") if array.ndim > 2 else (0 if layout[0] == "N" else 1)
    n = array.shape[position]
    chosen = np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False)  # equal steps may hit only borders
    some = np.take(array, np.sort(chosen), position)
    images = _in_order(some, "", layout).astype(np.float32)
    spread = float(np.abs(images - images.mean()).mean())
    steps = max(float(np.abs(np.diff(images, axis=axis)).mean()) for axis in (1, 2))
    return steps / spread if spread else math.inf


def _in_order(array: np.ndarray, what: object, layout: str) -> np.ndarray:
    """Transpose ``array`` from this axis order to [N, H, W, C]. Raises: DatasetError if its shape does not fit."""
    sizes = _sizes(array.shape, layout)
    if sizes is None:
        raise DatasetError(
            f"{what} holds an array of shape {list(array.shape)}, which is not `layout={layout}` of images of at least "
            "4x4 with 1 or 3 channels"
        )
    if array.ndim == 2:
        array = array.reshape([sizes["N"] if letter == "N" else sizes[letter] for letter in layout])
    if "C" not in layout:
        array, layout = array[..., None], layout + "C"
    return array.transpose([layout.index(letter) for letter in "NHWC"])
