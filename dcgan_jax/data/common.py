"""Types and helpers that all sources of data sets share."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dcgan_jax.data.mapped import RowsOf, is_mapped, pieces
from dcgan_jax.errors import UserError
from dcgan_jax.memory import free_memory, is_large
from dcgan_jax.paths import PathError, local_path

SPLITS = ("train", "test")
FRAMES = ("first", "all")  # to take of files with several pictures
# File names of MNIST's archives, which Fashion-MNIST and KMNIST use too.
IMAGES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}


class DatasetError(UserError):
    """A data set cannot be loaded."""


class NoSplitError(DatasetError):
    """A data set exists but has no such split."""


class UnknownNameError(DatasetError):
    """There is no data set of this name."""


class Reading(NamedTuple):
    """Where to look for a data set and how to read its files.

    Attributes:
      data_dir: the directory of TensorFlow Datasets.
      range: the values of black and white; inferred from all values if None.
      layout: the order of an array's axes, such as ``HWCN``; inferred from the shape and the values if None.
      frames: which to take of files with several pictures, ``first`` or ``all``.
      images: the name of the array, column or member that holds the images; one of the usual names if None.
      labels: the name of the one that holds their classes; one of the usual names if None.
    """

    data_dir: str | Path | None = None
    range: tuple[float, float] | None = None
    layout: str | None = None
    frames: str = "first"
    images: str | None = None
    labels: str | None = None

    def arguments(self, labels: bool = True) -> dict[str, Any]:
        """Keyword arguments for `dcgan_jax.data.load_data`, with or without labels."""
        return self._asdict() | {"labels": labels and (self.labels or True)}


class LoadOptions(NamedTuple):
    """What to load: the arguments of `dcgan_jax.data.load_data`.

    A source may ignore ``labels``, ``image_size``, ``channels`` and ``stream``: they save it work or memory, and
    `load_data` applies them in any case.
    """

    split: str = "train"
    labels: bool = True
    image_size: tuple[int, int] | Literal["own"] | None = None
    channels: int | None = None
    reading: Reading = Reading()
    stream: bool | None = False
    cache_dir: str | Path | None = None

    def streams(self, size: int) -> bool:
        """Whether images of ``size`` bytes stay in a file: ``stream``; if None, above a third of the free memory."""
        return is_large(size, free_memory()) if self.stream is None else self.stream

    @property
    def drawn(self) -> bool:
        """Whether the images are generated ones to evaluate as they are, which may be nearly black or uniform."""
        return self.image_size == "own"

    def unlabelled(self, there: Iterable[str]) -> "LoadOptions":
        """These options, without labels if those of the name that is given are not ``there``, in a test split."""
        name = self.reading.labels
        if self.split == "train" or name is None or name in there:
            return self
        return self._replace(labels=False, reading=self.reading._replace(labels=None))

    def in_order(self, layout: str) -> "LoadOptions":
        """These options, with ``layout`` if no axis order is given."""
        return self._replace(reading=self.reading._replace(layout=self.reading.layout or layout))


class Found(NamedTuple):
    """What the images of a data set were before conversion to one size and 8 bits.

    Attributes:
      sizes: number of images of each height and width.
      kinds: number of images of each kind: a Pillow mode, such as ``RGBA``, or the dtype and shape of an array.
      values: lowest and highest value of an array; None for pictures.
      names: file name of each image, [N]; empty if they have none.
      files: number of files, including those left out; 0 for arrays.
    """

    sizes: dict[tuple[int, int], int]
    kinds: dict[str, int]
    values: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    files: int = 0

    def rows(self, numbers: np.ndarray) -> "Found":
        """The same for the images ``numbers``; sizes and kinds still count all images."""
        return self._replace(names=tuple(self.names[number] for number in numbers) if self.names else ())


class Dataset(NamedTuple):
    """Images, and their classes where there are any.

    Attributes:
      images: uint8 [N, H, W, C], 0 black to 255 full; in memory, or in a file from which they are read on demand.
      labels: int32 [N], the class number of each image, or None.
      classes: the names of the classes, by number.
      notes: how images were converted and what was left out, one line each.
      altered: the notes on changes to what the images show: cropped, made white, or left out.
      held_out: images that were split off from these, with the same classes, or None.
      found: what the images were before conversion, or None if unknown.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    held_out: "Dataset | None" = None
    found: Found | None = None

    def rows(self, numbers: np.ndarray) -> "Dataset":
        """The images ``numbers``, with their labels; images in a file stay there."""
        labels = None if self.labels is None else self.labels[numbers]
        images: Any = RowsOf(self.images, numbers) if isinstance(self.images, np.memmap) else self.images[numbers]
        return self._replace(images=images, labels=labels, found=self.found and self.found.rows(numbers))

    def in_memory(self) -> "Dataset":
        """The data set with its images in memory."""
        return self._replace(images=np.asarray(self.images[:])) if is_mapped(self.images) else self

    def digest(self) -> str:
        """The SHA-256 of images, labels and classes, and of the held-out data set, in hexadecimal."""
        sha256 = hashlib.sha256(repr((self.images.shape, self.classes)).encode(errors="surrogateescape"))
        for part in (self.images, self.labels):
            for some in () if part is None else pieces(part):
                sha256.update(np.ascontiguousarray(some).data)
        sha256.update(b"" if self.held_out is None else self.held_out.digest().encode())
        return sha256.hexdigest()


def with_labels(
    images: np.ndarray, labels: np.ndarray, names: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Dataset:
    """A data set whose classes are the distinct values of ``labels`` [N]; ``names`` are those of 0, 1, ..."""
    values, numbers = np.unique(labels, return_inverse=True)
    classes = tuple(names[int(value)] if names else str(value) for value in values)
    return Dataset(images, numbers.astype(np.int32), classes, notes)


def say_classes(classes: tuple[str, ...], source: str | Path) -> str:
    """How many classes a source has, if too few, as the end of a sentence on its images."""
    names = classes or _only_folder(source)
    return f"have one, {names[0]}" if names else "have none"


def _only_folder(source: str | Path) -> tuple[str, ...]:
    """The name of a folder's only subfolder, if it holds nothing else: it looks like a class, but is not one."""
    path = path_of(source)
    try:
        there = [] if path is None else [each for each in path.iterdir() if not each.name.startswith(".")]
    except OSError:
        return ()
    if len(there) != 1 or not there[0].is_dir():
        return ()
    return ("".join(character if character.isprintable() else "?" for character in there[0].name),)


def path_of(source: str | Path) -> Path | None:
    """The path of a source, or None if it is a name: no such file exists, and it does not look like a path.

    Raises:
      DatasetError: if it is a URL, or the home directory is unknown.
    """
    try:
        path = local_path(source, "the data set")
    except PathError as error:
        raise DatasetError(str(error)) from error
    name = str(source)
    # TFDS has no names such as these.
    like_a_path = name.startswith((".", "~", "/")) or "\\" in name or Path(name).suffix != "" or name.count("/") > 1
    return path if isinstance(source, Path) or path.exists() or like_a_path else None


def starts_with(path: Path, *starts: bytes) -> bool:
    """Whether a file starts with one of these byte strings.

    Raises:
      DatasetError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, starts))).startswith(starts)
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror})") from error


def check_split(path: Path, split: str) -> None:
    """Raises: NoSplitError unless ``split`` is ``train``, the only split of pictures and single arrays."""
    if split != "train":
        raise NoSplitError(f"{path} has no split {split}: it is all for training")


def check_no_names(source: str | Path, options: LoadOptions) -> None:
    """Raises: DatasetError if ``images`` or ``labels`` is given for a source that holds nothing by name."""
    for flag in ("images", "labels"):
        if name := getattr(options.reading, flag):
            raise DatasetError(f"`{flag}={name}` names an array or a column, and {source} holds none by name")
