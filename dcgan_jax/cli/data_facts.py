"""The lines that ``dcgan-jax data`` prints on a data set, from its source to its faults."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dcgan_jax.console import counted
from dcgan_jax.data import Dataset
from dcgan_jax.data.inspection import UNIFORM, find_dark, find_repeated, find_uniform
from dcgan_jax.data.sources import kind_of
from dcgan_jax.data.value_range import DARK
from dcgan_jax.training.config import TrainConfig

_NAMED = 3  # images, or sizes, that a line names
_CLASSES = 12  # up to this number, all classes are listed
_ENDS = 5  # of more classes, the number of those listed with the most and with the fewest images
_LONGEST_NAME = 32  # characters of a class's name
# Pillow's modes, in words.
_KINDS = {
    **{"1": "black and white", "L": "grey", "RGB": "colours", "RGBA": "colours with opacity", "P": "palette"},
    **{"LA": "grey with opacity", "PA": "palette with opacity", "CMYK": "CMYK", "I;16": "grey of 16 bits"},
    **{"I": "grey of 32 bits", "F": "grey of floats", "YCbCr": "YCbCr"},
}


def describe_data(source: str, config: TrainConfig, data: Dataset, test: Dataset | None) -> Iterator[str]:
    """Yield the lines: what was found, how it was converted, and its faults.

    Args:
      source: the data set, as it was given.
      config: the config of a run on it.
      data: the training images, with classes if there are any.
      test: the test or held-out images, or None.
    """
    found, images = data.found, data.images
    yield f"{source}: {_container(config.dataset, data)}"
    splits = "no test split" if test is None else f"{'test' if data.held_out is None else 'held out'} {_images(test)}"
    yield _line("splits", f"train {_images(data)}, {splits}")
    if found is not None:
        yield _line("sizes", _counts({f"{h}x{w}": count for (h, w), count in found.sizes.items()}))
        yield _line("kinds", _counts({_KINDS.get(kind, kind): count for kind, count in found.kinds.items()}))
        if found.values is not None:
            yield _line("values", f"{found.values[0]:g} to {found.values[1]:g}")
    height, width, channels = images.shape[1:]
    what = "grey" if channels == 1 else "colours"
    yield _line("networks see", f"{height}x{width}x{channels}, {what}, {images.min()} to {images.max()} of 255")
    yield from _classes(data)
    yield from (_line("note", note) for note in data.notes)
    yield from _faults(data, test)
    each = images.nbytes + (0 if test is None else test.images.nbytes)
    yield _line("images take", f"{size_of(each)} here, and those for training {size_of(images.nbytes)} on the device")


def size_of(count: int) -> str:
    """A number of bytes in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _line(name: str, text: str) -> str:
    return f"{name:<16}{text}"


def _images(data: Dataset) -> str:
    return counted(len(data.images), "image")


def _container(source: str, data: Dataset) -> str:
    kind = kind_of(source)
    if source in kind.split(", "):
        return "a data set by name"
    if not kind.startswith("a folder"):
        return kind
    what = "pictures" if data.found and data.found.names else "arrays"
    files = f", {counted(data.found.files, 'file')}" if data.found and data.found.files else ""
    return f"{'a folder' if Path(source).is_dir() else 'an archive'} of {what}{files}"


def _counts(counts: dict[str, int]) -> str:
    """The first of ``counts``, as ``40x40 (30), 36x48 (2)``, and how many more there are."""
    some = [f"{name} ({count:,})" for name, count in list(counts.items())[:_NAMED]]
    more = len(counts) - len(some)
    return ", ".join(some) + (f", {more:,} more" if more else "")


def _classes(data: Dataset) -> Iterator[str]:
    """Yield a line with the number of classes, and a short table of their numbers of images."""
    if data.labels is None or not data.classes:
        yield _line("classes", "none")
        return
    counts = np.bincount(data.labels, minlength=len(data.classes))
    each = f"{counts.min():,} to {counts.max():,}" if counts.min() != counts.max() else f"{counts.min():,}"
    yield _line("classes", f"{len(counts):,}, of {each} images, {np.median(counts):,.0f} in the median")
    if len(counts) <= _CLASSES:
        yield from (_class(data, number, counts) for number in range(len(counts)))
        return
    order = np.argsort(-counts, kind="stable")
    yield from (_class(data, number, counts) for number in order[:_ENDS])
    yield _line("", f"... {len(counts) - 2 * _ENDS:,} more")
    yield from (_class(data, number, counts) for number in order[-_ENDS:])


def _class(data: Dataset, number: int, counts: np.ndarray) -> str:
    name = data.classes[number]
    name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
    return _line("", f"{counts[number]:>9,}  {name}")


def _faults(data: Dataset, test: Dataset | None) -> Iterator[str]:
    """Yield lines with the number of repeated, nearly black and nearly uniform images, and the first of each."""
    dark, uniform = find_dark(data.images), find_uniform(data.images)
    plain = {*dark.tolist(), *uniform.tolist()}  # most of these repeat each other, and have lines of their own
    repeated = {number: first for number, first in find_repeated(data.images).items() if number not in plain}
    pairs = (f"{_name(data, number)} = {_name(data, first)}" for number, first in repeated.items())
    yield _line("repeated", _some(len(repeated), pairs) + _of_other_classes(data, repeated))
    if test is not None:
        shared = len(find_repeated(test.images, data.images))
        yield _line("in both splits", f"{shared:,} of {len(test.images):,} images that are not for training")
    yield _line("nearly black", _some(len(dark), (_name(data, n) for n in dark)) + f" (all pixels below {DARK} of 255)")
    differ = f" (pixels differ by less than {UNIFORM} of 255)"
    yield _line("nearly uniform", _some(len(uniform), (_name(data, n) for n in uniform)) + differ)


def _of_other_classes(data: Dataset, repeated: dict[int, int]) -> str:
    """The number of images that repeat one of another class, to append to a line."""
    if data.labels is None:
        return ""
    others = sum(data.labels[number] != data.labels[first] for number, first in repeated.items())
    return f"; {others:,} of another class" if others else ""


def _some(count: int, names: Iterable[str]) -> str:
    some = [name for name, _ in zip(names, range(_NAMED), strict=False)]
    return f"{count:,}" + (f": {', '.join(some)}" if some else "") + (", ..." if count > len(some) else "")


def _name(data: Dataset, number: int) -> str:
    """An image's file, or its number."""
    names = data.found.names if data.found else ()
    return names[number] if names else f"image {number}"
