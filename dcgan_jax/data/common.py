"""What the sources of data sets share."""

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dcgan_jax.data.mapped import RowsOf, is_mapped, pieces
from dcgan_jax.errors import UserError
from dcgan_jax.memory import free_memory, is_large
from dcgan_jax.paths import PathError, local_path

SPLITS = ("train", "test")
FRAMES = ("first", "all")  # of files that hold several pictures
# The names of the archives, which Fashion-MNIST and KMNIST have taken over from MNIST.
IMAGES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}


class DatasetError(UserError):
    """A data set cannot be loaded."""


class NoSplitError(DatasetError):
    """A data set is there, and has no such split."""


class UnknownNameError(DatasetError):
    """There is no data set of a name."""


class Reading(NamedTuple):
    """Where a data set is looked for and how its files are read.

    Attributes:
      data_dir: the directory of TensorFlow Datasets.
      range: the values that are black and white; None to tell them from the values.
      layout: the order of an array's axes, such as ``HWCN``; None to tell it from the shape.
      frames: of files of several pictures, ``first`` or ``all``.
      images: the name of the array, the column or the member that holds the images; None for a usual one.
      labels: the name of what holds their classes; None for a usual one.
    """

    data_dir: str | Path | None = None
    range: tuple[float, float] | None = None
    layout: str | None = None
    frames: str = "first"
    images: str | None = None
    labels: str | None = None

    def arguments(self, labels: bool = True) -> dict[str, Any]:
        """These as arguments of `dcgan_jax.data.load_data`, with or without labels."""
        return self._asdict() | {"labels": labels and (self.labels or True)}


class LoadOptions(NamedTuple):
    """What is wanted of a data set: the arguments of `dcgan_jax.data.load_data`.

    A source need not obey ``labels``, ``image_size``, ``channels`` and ``stream``: they save it work or memory, and
    `load_data` sees to them.
    """

    split: str = "train"
    labels: bool = True
    image_size: tuple[int, int] | Literal["own"] | None = None
    channels: int | None = None
    reading: Reading = Reading()
    stream: bool | None = False
    cache_dir: str | Path | None = None

    def streams(self, size: int) -> bool:
        """Whether images of so many bytes stay in a file: if they are to, or take more than a third of free memory."""
        return is_large(size, free_memory()) if self.stream is None else self.stream

    @property
    def drawn(self) -> bool:
        """Whether the images are scored as they are, and so may be nearly black or all alike."""
        return self.image_size == "own"

    def in_order(self, layout: str) -> "LoadOptions":
        """These, with an order of axes if none is asked for."""
        return self._replace(reading=self.reading._replace(layout=self.reading.layout or layout))


class Found(NamedTuple):
    """What the images of a data set were before they got one size and 8 bits.

    Attributes:
      sizes: how many there are of each height and width.
      kinds: how many there are of each kind: Pillow's modes, such as ``RGBA``, or an array's type and shape.
      values: the lowest and the highest value of an array; None of pictures.
      names: the file of each image, [N]; none where they have none.
      files: how many files they are in, with those that are left out; 0 where that says nothing.
    """

    sizes: dict[tuple[int, int], int]
    kinds: dict[str, int]
    values: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    files: int = 0

    def rows(self, numbers: np.ndarray) -> "Found":
        """What the images of these numbers were; the sizes and kinds stay those of all."""
        return self._replace(names=tuple(self.names[number] for number in numbers) if self.names else ())


class Dataset(NamedTuple):
    """Images, and their classes where there are any.

    Attributes:
      images: uint8 [N, H, W, C], 0 black to 255 full; in memory, or in a file from which they are read when asked for.
      labels: int32 [N], the number of each image's class, or None.
      classes: the names of the classes, in the order of their numbers.
      notes: what was done to the images, or left out, a line each.
      altered: those of the notes after which images show something else: cropped, made white, or left out.
      held_out: images of the same kind that were taken out of these, with the same classes; None if none were.
      found: what the images were, where that is known.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    held_out: "Dataset | None" = None
    found: Found | None = None

    def rows(self, numbers: np.ndarray) -> "Dataset":
        """The images of these numbers, with their labels; of images in a file, these stay there."""
        labels = None if self.labels is None else self.labels[numbers]
        images: Any = RowsOf(self.images, numbers) if isinstance(self.images, np.memmap) else self.images[numbers]
        return self._replace(images=images, labels=labels, found=self.found and self.found.rows(numbers))

    def in_memory(self) -> "Dataset":
        """These, with the images in memory."""
        return self._replace(images=np.asarray(self.images[:])) if is_mapped(self.images) else self

    def digest(self) -> str:
        """The SHA-256 of images, labels and classes, and of those that are held out, in hexadecimal."""
        sha256 = hashlib.sha256(repr((self.images.shape, self.classes)).encode(errors="surrogateescape"))
        for part in (self.images, self.labels):
            for some in () if part is None else pieces(part):
                sha256.update(np.ascontiguousarray(some).data)
        sha256.update(b"" if self.held_out is None else self.held_out.digest().encode())
        return sha256.hexdigest()


def with_labels(
    images: np.ndarray, labels: np.ndarray, names: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Dataset:
    """A data set whose classes are the values of ``labels`` [N], by number; ``names`` are those of 0, 1, ..."""
    values, numbers = np.unique(labels, return_inverse=True)
    classes = tuple(names[int(value)] if names else str(value) for value in values)
    return Dataset(images, numbers.astype(np.int32), classes, notes)


def say_classes(classes: tuple[str, ...], source: str | Path) -> str:
    """How many classes the images of a source have, if they are too few, to end a sentence on them."""
    names = classes or _only_folder(source)
    return f"have one, {names[0]}" if names else "have none"


def _only_folder(source: str | Path) -> tuple[str, ...]:
    """The name of the one folder in a folder that holds nothing else: its pictures have no classes, and look as one."""
    path = path_of(source)
    try:
        there = [] if path is None else [each for each in path.iterdir() if not each.name.startswith(".")]
    except OSError:
        return ()
    if len(there) != 1 or not there[0].is_dir():
        return ()
    return ("".join(character if character.isprintable() else "?" for character in there[0].name),)


def path_of(source: str | Path) -> Path | None:
    """The path that a source is, or None for a name: one that does not exist, and does not look like a path.

    Raises:
      DatasetError: if it is a URL, or in a home directory that is not known.
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
    """Whether a file starts with one of these bytes, at most 4 each.

    Raises:
      DatasetError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(starts)
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror})") from error


def check_split(path: Path, split: str) -> None:
    """Raises: NoSplitError if ``split`` is another one than ``train``, the only one of pictures and single arrays."""
    if split != "train":
        raise NoSplitError(f"{path} has no split {split}: it is all for training")


def check_no_names(source: str | Path, options: LoadOptions) -> None:
    """Raises: DatasetError if a name is given of what is in a data set that holds nothing by name."""
    for flag in ("images", "labels"):
        if name := getattr(options.reading, flag):
            raise DatasetError(f"`{flag}={name}` names an array or a column, and {source} holds none by name")
