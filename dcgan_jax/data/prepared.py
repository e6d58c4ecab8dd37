"""Files of prepared data sets, which are read back to the same pixels."""

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dcgan_jax.data.common import Dataset, DatasetError
from dcgan_jax.data.fitting import size_for
from dcgan_jax.data.folders import check_folders, classes_of
from dcgan_jax.data.labels import number_texts
from dcgan_jax.data.layouts import to_nhwc
from dcgan_jax.data.value_range import DARK
from dcgan_jax.files import replace_file
from dcgan_jax.images import as_picture

_CHUNK = 64  # images per task of the thread pool


def write_npz(path: Path, train: Dataset, test: Dataset | None = None) -> None:
    """Write ``x_train`` uint8 [N, H, W, C], and ``x_test`` if there is a test split.

    With classes also ``y_train`` and ``y_test``, class numbers int32 [N], and ``classes``, their names.

    Raises:
      OSError: if it cannot be written; ``path`` is then unchanged.
    """
    arrays: dict[str, Any] = {"x_train": train.images}
    arrays |= {} if test is None else {"x_test": test.images}
    if train.labels is not None:
        arrays |= {"y_train": train.labels, "classes": np.array(train.classes)}
        arrays |= {} if test is None or test.labels is None else {"y_test": test.labels}

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # to a path, NumPy would add a suffix
            np.savez(file, **arrays)

    replace_file(path, write)


def write_zip(path: Path, dataset: Dataset) -> tuple[str, ...]:
    """Write each image as a PNG, in a folder for each class, or without folders if there are fewer than two classes.

    If a class has a name that is not valid for a folder, or would be read as something else, such as ``train``, the
    classes are listed in ``dataset.json`` instead. Of equal names of classes, each gets its number.

    Returns:
      The classes in the order in which they are numbered when the zip is read; () if their numbers stay the same.

    Raises:
      OSError: if it cannot be written; ``path`` is then unchanged.
    """
    names, listed = _names(dataset)

    def write(partial: Path) -> None:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, content in zip(names, _encode(dataset.images), strict=True):
                archive.writestr(zipfile.ZipInfo(name), content)  # its date is fixed: equal images give equal bytes
            if listed is not None:
                archive.writestr(zipfile.ZipInfo("dataset.json"), json.dumps({"labels": listed}, ensure_ascii=False))

    replace_file(path, write)
    if dataset.labels is None or len(dataset.classes) < 2:
        return ()
    paths = sorted(names, key=lambda name: os.fsencode(name).split(b"/"))
    classes = classes_of(paths, ()).names if listed is None else number_texts([name for _, name in listed])[1]
    return () if classes == dataset.classes else classes


def needed_to_read(path: Path, dataset: Dataset) -> dict[str, str]:
    """The config fields, with values, without which `load_data` would read the written file as something else."""
    images = dataset.images
    height, width, channels = images.shape[1:]
    needed = {}
    if size_for(None, [(height, width)]) != (height, width):
        needed["image_size"] = f"{height}x{width}"
    if images.max() < DARK:
        needed["range"] = "0,255"
    if path.suffix == ".zip":
        grey = channels == 3 and all((some == some[..., :1]).all() for some in _pieces(images))
        return needed | ({"channels": "3"} if grey else {})
    return needed | ({} if _is_told(images, dataset.labels) else {"layout": "NHWC"})


def _is_told(images: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the axis order of images [N, H, W, C] is inferred correctly from their shape and values."""
    try:
        told = to_nhwc(images, "", labels=None if labels is None else len(labels))[0]
    except DatasetError:
        return False
    return told.shape == images.shape and told.strides == images.strides


def _names(dataset: Dataset) -> tuple[list[str], list[tuple[str, str]] | None]:
    """The file name of each image, and a list of names and classes if the names do not give the classes."""
    n = len(dataset.images)
    digits = len(str(n - 1))
    flat = [f"{number:0{digits}}.png" for number in range(n)]
    if dataset.labels is None or len(dataset.classes) < 2:
        return flat, None
    repeated = Counter(dataset.classes)
    classes = [f"{name} ({i})" if repeated[name] > 1 else name for i, name in enumerate(dataset.classes)]
    counts = dict.fromkeys(classes, 0)
    of = [classes[label] for label in dataset.labels]
    in_folders = []
    for name in of:  # from 0 in each: numbers that continue across folders would be read as one set
        in_folders.append(f"{name}/{counts[name]:0{digits}}.png")
        counts[name] += 1
    if _say_classes(in_folders, {name for name in of}):
        return in_folders, None
    return flat, list(zip(flat, of, strict=True))


def _say_classes(names: Sequence[str], classes: set[str]) -> bool:
    """Whether files with these names are read back as these classes."""
    plain = all(name.isprintable() and name.strip() == name and not set(name) & set('/\\:*?"<>|') for name in classes)
    if not plain or any(name.startswith((".", "__MACOSX", "@eaDir")) or not 0 < len(name) <= 64 for name in classes):
        return False
    try:
        check_folders(Path(), names)
    except DatasetError:
        return False
    return set(classes_of(sorted(names), ()).names) == classes


def _encode(images: np.ndarray) -> Iterator[bytes]:
    """Each image as the bytes of a PNG."""

    def encode(some: np.ndarray) -> list[bytes]:
        return [_png(image) for image in some]

    with (
        ThreadPoolExecutor() as pool,
        tqdm(desc="writing pictures", total=len(images), disable=None, leave=False) as bar,
    ):
        for contents in pool.map(encode, _pieces(images)):
            yield from contents
            bar.update(len(contents))


def _png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    as_picture(image).save(content, format="png")
    return content.getvalue()


def _pieces(images: np.ndarray) -> list[np.ndarray]:
    return [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
