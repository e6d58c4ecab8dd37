"""Data sets by name or path, as NumPy arrays."""

import hashlib
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dcgan_jax.console import counted
from dcgan_jax.data.archives import archive_labels, has_archives
from dcgan_jax.data.cache import digest_of, map_in_cache
from dcgan_jax.data.common import FRAMES, SPLITS, Dataset, DatasetError, LoadOptions, Reading, path_of
from dcgan_jax.data.fitting import Size, check_memory, fit_array, say_fit, size_for
from dcgan_jax.data.mapped import Lazy, copy_images, empty_images, pieces
from dcgan_jax.data.sources import load_source
from dcgan_jax.data.stacked import is_stacked
from dcgan_jax.data.value_range import DARK

_FORMAT = 1  # version of cached arrays: changes whenever the same array gives other images


def load_data(
    source: str | Path = "mnist",
    split: str = "train",
    *,
    labels: bool | str = True,
    data_dir: str | Path | None = None,
    image_size: Size | Literal["own"] | None = None,
    channels: int | None = None,
    range: tuple[float, float] | None = None,
    layout: str | None = None,
    frames: str = "first",
    images: str | None = None,
    stream: bool | None = False,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Images from any supported source, with their classes if there are any.

    Args:
      source: the name or path of one of `dcgan_jax.data.sources.SOURCES`, such as ``mnist``, which is embedded in the
        package, or a folder of pictures. A name is taken as a path if it is not ``mnist`` or another of `DATASETS`,
        and such a file exists; a `pathlib.Path` is always a path.
      split: ``train`` or ``test``. Pictures and single arrays have only ``train``.
      labels: whether to read classes, or the name of the array or column that holds them; those of ``fashion_mnist``
        and ``kmnist`` are a separate download.
      data_dir: the TFDS directory, ``~/tensorflow_datasets`` if None.
      image_size: height and width; if None those of the images, at most 64 and in multiples of 4; ``own`` for
        those of the images, if all have the same. Each image is cropped around its centre to this shape, and resized
        with antialiasing.
      channels: 1 or 3; as many as the images have if None.
      range: the values that are black and white; those between are scaled linearly, those outside clipped. If None it
        is inferred from all values, and ambiguity is reported or refused: see `dcgan_jax.data.value_range.known_range`.
      layout: the order of an array's axes, letters of ``NHWC`` or ``NHW``, such as ``HWCN``; for rows or columns of
        pixels, N is at one end. If None it is inferred from the shape and the values, or refused: see
        `dcgan_jax.data.layouts.to_nhwc`.
      frames: the pages or frames to take of files that hold several, the ``first`` or ``all``.
      images: the name of the array, column or member that holds the images, in files that hold several.
      stream: whether the images stay in a mapped file, the ``.npy`` itself or one that is written once, and are read
        on demand; if None, only images that would take more than a third of the free memory do.
      cache_dir: the folder in which that file is written; one in the user's cache if None.

    Raises:
      NoSplitError: if the source has no such split.
      DatasetError: if the source is missing, damaged, holds no images, or does not fit into memory or on the disk.
    """
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {source}: choose from {', '.join(SPLITS)}")
    if channels not in (None, 1, 3):
        raise DatasetError(f"channels must be 1 or 3, got {channels}")
    if frames not in FRAMES:
        raise DatasetError(f"unknown frames {frames!r}: choose from {', '.join(FRAMES)}")
    names = (images, labels if isinstance(labels, str) else None)
    reading = Reading(data_dir, range, layout, frames, *names)
    options = LoadOptions(split, bool(labels), image_size, channels, reading, stream, cache_dir)
    dataset = _fitted(load_source(source, options), str(source), image_size, channels)
    dataset = _placed(dataset, source, options)
    if not options.drawn:
        _check_visible(dataset, source, options)
    return dataset if labels else dataset._replace(labels=None, classes=())


def _check_visible(dataset: Dataset, source: str | Path, options: LoadOptions) -> None:
    """Raises: DatasetError if all pixels of all images are equal, or nearly black although no range is given."""
    extremes = [(int(some.min()), int(some.max())) for some in pieces(dataset.images)]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    how = f" ({'; '.join(dataset.altered)})" if dataset.altered else ""
    if low == high:
        colour = {0: "black", 255: "white"}.get(low, f"{low} of 255")
        raise DatasetError(
            f"{source}: all pixels of its {counted(len(dataset.images), 'image')} are {colour}{how}: there is nothing "
            "to learn"
        )
    if high < DARK and options.reading.range is None:
        raise DatasetError(
            f"{source}: its brightest pixel is {high} of 255, nearly black{how}: `range=LOW,HIGH` says which values "
            "are black and white"
        )


def absolute_source(source: str) -> str:
    """A source as an absolute path, or unchanged if it is a name.

    Raises:
      DatasetError: if it is a URL, or the home directory is unknown.
    """
    path = None if has_archives(source) or is_stacked(source) else path_of(source)
    return source if path is None else str(path.absolute())


def load_dataset(name: str | Path = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """The images of one split of a data set: uint8 [N, H, W, C], 0 black to 255 white.

    MNIST and its variants are [60000, 28, 28, 1], in the archive's order, and have a test split of 10,000. Args,
    raises: as `load_data`.
    """
    return load_data(name, split, labels=False, data_dir=data_dir).images


def load_labels(name: str | Path = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """The classes of `load_dataset`'s images as numbers, in the same order: uint8 [N].

    Raises:
      DatasetError: as `load_data`, or if the images have no classes, or more than 256.
    """
    if has_archives(name) and split in SPLITS:
        return archive_labels(str(name), split, data_dir)
    labels, classes = load_data(name, split, data_dir=data_dir)[1:3]
    if labels is None:
        raise DatasetError(f"the images of {name} have no classes")
    if len(classes) > 256:
        raise DatasetError(f"{name} has {len(classes)} classes, and a byte counts 256: use load_data")
    return labels.astype(np.uint8)


def _fitted(dataset: Dataset, name: str, image_size: Size | Literal["own"] | None, channels: int | None) -> Dataset:
    """The data set in the size and channels that are asked for, with notes on the conversion."""
    n, height, width, before = dataset.images.shape
    size, after = size_for(image_size, [(height, width)]), channels or before
    if (height, width, before) == (*size, after):
        return dataset
    if not isinstance(dataset.images, (np.memmap, Lazy)):  # these are not in memory yet
        check_memory(n, size, after, name)
    notes, altered = list(dataset.notes), list(dataset.altered)
    if (height, width) != size:
        altered.append(f"{counted(n, 'image')} of {height}x{width} {say_fit([(height, width)], size)}")
        notes.append(altered[-1])
    if before != after:
        notes.append(
            f"{counted(n, 'image')} in colours made grey"
            if after == 1
            else f"{counted(n, 'grey image')} given equal colours"
        )
    images = fit_array(dataset.images, size, after)
    return dataset._replace(images=images, notes=tuple(notes), altered=tuple(altered))


def _placed(dataset: Dataset, source: str | Path, options: LoadOptions) -> Dataset:
    """The data set with its images in memory, or in a memory-mapped file if they are streamed.

    Raises:
      DatasetError: if they do not fit into memory, or the file cannot be written.
    """
    images: Any = dataset.images
    shape = images.shape
    size = math.prod(shape)
    if not options.streams(size):
        if not isinstance(images, (np.memmap, Lazy)):
            return dataset
        check_memory(shape[0], shape[1:3], shape[3], source)
        return dataset._replace(images=copy_images(images, empty_images(shape)))
    if not isinstance(images, np.memmap):
        images = map_in_cache(images, _key(images, options), source, options.cache_dir)
    if options.stream is not None:
        return dataset._replace(images=images)
    note = (
        f"{size / 2**30:.1f} GiB of images, more than a third of the free memory, are streamed from {images.filename} "
        "(`stream=False` keeps them in memory)"
    )
    return dataset._replace(images=images, notes=(*dataset.notes, note))


def _key(images: np.ndarray | Lazy, options: LoadOptions) -> str:
    """The cache key of images: a digest of the file they are read from and of the conversion, or of the images."""
    base = images
    while isinstance(base, Lazy):
        base = base.base
    if not isinstance(base, np.memmap):
        return digest_of(images)
    with open(str(base.filename), "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    how = (images.shape, options.reading.range, options.reading.layout, _FORMAT)
    return hashlib.sha256(repr((content, how)).encode()).hexdigest()
