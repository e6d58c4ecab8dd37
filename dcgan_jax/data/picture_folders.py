"""Data sets of pictures, decoded once and then read from the user's cache."""

import collections
import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from portalocker import LockException

from dcgan_jax.console import counted, print_line
from dcgan_jax.data.cache import Cached, load_cached, save_cached, write_images, writing
from dcgan_jax.data.common import Dataset, DatasetError, Found, LoadOptions, Reading, check_split
from dcgan_jax.data.decoding import extremes, read_header
from dcgan_jax.data.fitting import Size, check_memory, say_fit, size_for
from dcgan_jax.data.folders import Classes, classes_of
from dcgan_jax.data.listings import Listing, check_broken, list_pictures, name_some, with_beside
from dcgan_jax.data.mapped import NewArray, empty_images
from dcgan_jax.data.members import File, FindFiles, no_files, printable, read_file, reason
from dcgan_jax.data.picture_files import name_kinds, remedy_of
from dcgan_jax.data.pictures import NewImages, read_pictures
from dcgan_jax.errors import first_line

_CACHE_FORMAT = 5  # version of cached arrays: changes whenever the same pictures give other arrays


def load_pictures(path: Path, files: Sequence[File], options: LoadOptions, beside: FindFiles = no_files) -> Dataset:
    """The pictures of a folder or an archive, decoded or from the cache, with notes on its present files.

    Args:
      path: the folder or the archive, for messages.
      files: its files.
      options: how to read them.
      beside: finds the files of another split, from which the value range of more than 8 bits is inferred too.

    Raises:
      NoSplitError: if another split than ``train`` is asked for.
      DatasetError: as `list_pictures` and `read_pictures`, or if the pictures do not fit into memory.
    """
    check_split(path, options.split)
    check_no_layout(path, options)
    listing = list_pictures(path, files, options.reading.frames)
    listing = with_beside(listing, beside, options.reading)
    return load_listing(path, listing, options, lambda names: classes_of(names, listing.lists))


def load_picture(path: Path, size: Size, channels: int, reading: Reading | None = None) -> Dataset:
    """The first picture of a file, read like those of a folder, even if nearly black: uint8 [1, *size, channels].

    Raises:
      DatasetError: if it cannot be read, or its values fit no known range.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow warns of large pictures
            content = read_file(path)
            file = File(path.name, lambda: content)
            header = read_header(content, signed=not file.suffix)
            extremes(content, header.frames)  # decodes it, to find damage
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        raise DatasetError(f"cannot read the picture {path} ({reason(error)})") from error
    listing = Listing({file.name: file}, {file.name: header}, {}, (), {})
    dataset, broken = read_pictures(path, listing, size, channels, reading or Reading(), True, empty_images)
    return _with_notes(path, listing, dataset, broken)


def check_no_layout(path: Path, options: LoadOptions) -> None:
    """Raises: DatasetError if an axis order is given for pictures."""
    if options.reading.layout is not None:
        raise DatasetError(f"`layout` is for arrays: {path} holds pictures, whose files say it")


def load_listing(
    path: Path, listing: Listing, options: LoadOptions, classes: Callable[[list[str]], Classes]
) -> Dataset:
    """The pictures of a listing. Args, raises: as `load_pictures`; ``classes`` maps file names to their classes."""
    reading, sizes = options.reading, listing.sizes()
    size = size_for(options.image_size, sizes)
    shape = (len(sizes), *size, options.channels or 3)
    streams = options.streams(math.prod(shape))
    if not streams:
        check_memory(len(sizes), size, shape[3], path)
    about = (size, options.channels, reading.range, reading.frames, options.drawn, _CACHE_FORMAT)
    key = f"{listing.digest()[:32]}-{'-'.join(map(str, about))}".replace(" ", "")
    read = functools.partial(read_pictures, path, listing, size, options.channels, reading, options.drawn)
    if cached := load_cached(key, options.cache_dir, streams):
        dataset, broken = _of_cached(cached)
    elif streams:
        with writing(key, shape, path, options.cache_dir):
            cached = save_cached(key, functools.partial(_read_into, read), options.cache_dir)
        dataset, broken = _of_cached(cached)
    else:
        dataset, broken = read(empty_images)
        _cache(key, dataset, broken, options)
    return _with_notes(path, listing, _with_classes(dataset, listing, broken, classes), broken)


def _read_into(read: Callable[[NewImages], tuple[Dataset, dict[str, str]]], path: Path) -> dict[str, Any]:
    """Read pictures into an ``.npy``, and return `_about` of them."""
    with contextlib.ExitStack() as stack:

        def new(shape: tuple[int, ...]) -> NewArray:
            stack.close()  # that of the first pass, if another value range needs a second
            return stack.enter_context(contextlib.closing(NewArray(path, shape)))

        return _about(*read(new))


def _cache(key: str, dataset: Dataset, broken: dict[str, str], options: LoadOptions) -> None:
    """Store pictures in the cache. Prints a warning if that fails."""

    def write(partial: Path) -> dict[str, Any]:
        write_images(partial, dataset.images)
        return _about(dataset, broken)

    try:
        save_cached(key, write, options.cache_dir)
    except (OSError, RuntimeError, KeyError, LockException) as error:  # also without a home directory
        reason = first_line(error)
        print_line(f"warning: the pictures cannot be cached ({reason}): they will be read again", error=True)


def _about(dataset: Dataset, broken: dict[str, str]) -> dict[str, Any]:
    """The metadata that the cache stores beside the images: notes, and the broken files with the reasons."""
    return {"notes": dataset.notes, "altered": dataset.altered, "broken": broken}


def _of_cached(cached: Cached) -> tuple[Dataset, dict[str, str]]:
    about = cached.about
    return Dataset(cached.images, notes=tuple(about["notes"]), altered=tuple(about["altered"])), about["broken"]


def _with_classes(
    dataset: Dataset, listing: Listing, broken: dict[str, str], classes_by_name: Callable[[list[str]], Classes]
) -> Dataset:
    """The data set of `read_pictures` with classes; all pictures of a file are of one class."""
    names = [name for name in listing.headers if name not in broken]
    classes = classes_by_name(names)
    frames = [len(listing.headers[name].frames) for name in names]
    labels = None if classes.labels is None else np.repeat(classes.labels, frames)
    notes, found = (*dataset.notes, *classes.notes), _found(listing, names)
    return dataset._replace(labels=labels, classes=classes.names, notes=notes, found=found)


def _found(listing: Listing, names: Sequence[str]) -> Found:
    """What the pictures of these files were before conversion."""
    frames = [(name, frame) for name in names for frame in listing.headers[name].frames]
    sizes = collections.Counter(frame.size for _, frame in frames)
    kinds = collections.Counter(frame.mode for _, frame in frames)
    several = {name for name in names if len(listing.headers[name].frames) > 1}
    places = (f"{printable(name)}[{frame.number}]" if name in several else printable(name) for name, frame in frames)
    files = len(listing.headers) + len(listing.broken) + len(listing.lists) + sum(listing.others.values())
    return Found(dict(sizes.most_common()), dict(kinds.most_common()), None, tuple(places), files)


def _with_notes(path: Path, listing: Listing, dataset: Dataset, broken: dict[str, str]) -> Dataset:
    """The data set of a listing, with notes on everything that was done to its pictures.

    Raises:
      DatasetError: if more than a tenth of the pictures are broken.
    """
    broken, size = listing.broken | broken, dataset.images.shape[1:3]
    check_broken(path, broken, len(listing.headers) + len(listing.broken))
    cropped, left_out = [], []
    sizes = listing.sizes()
    if others := sum(each != size for each in sizes):
        of = f"{others:,} of {len(sizes):,} pictures"
        cropped.append(f"{of} {say_fit(sizes, size)}")
    if broken:
        left_out.append(f"left out {counted(len(broken), 'picture')} that cannot be read: {name_some(broken)}")
    if frames := sum(header.others for header in listing.headers.values()):
        files = sum(header.others > 0 for header in listing.headers.values())
        left_out.append(f"left out {frames:,} more pages or frames of {files:,} files: `frames=all` takes them")
    if listing.others:
        count, remedy = sum(listing.others.values()), remedy_of(listing.others)
        files = "file of another kind" if count == 1 else "files of other kinds"
        left_out.append(f"left out {count:,} {files}, {name_kinds(listing.others)}{remedy}")
    return dataset._replace(
        notes=(*cropped, *dataset.notes, *left_out), altered=(*cropped, *dataset.altered, *left_out[: bool(broken)])
    )
