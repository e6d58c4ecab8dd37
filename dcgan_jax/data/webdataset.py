"""WebDataset shards: tars in which members of the same name form a sample, its picture and its class."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dcgan_jax.data.array_folders import load_single_arrays
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, Reading
from dcgan_jax.data.folders import Classes
from dcgan_jax.data.labels import USUAL_LABELS, number_texts
from dcgan_jax.data.listings import list_records, with_beside
from dcgan_jax.data.members import File, FindFiles, no_files, printable, some
from dcgan_jax.data.picture_files import SUFFIXES
from dcgan_jax.data.picture_folders import check_no_layout, load_listing
from dcgan_jax.data.split_folders import split_folders

_CLASS, _JSON, _ARRAY = "cls", "json", "npy"
_NAMED = 10  # keys and extensions listed in a note
_Samples = dict[str, dict[str, File]]  # files by the sample's key, and then by extension


def has_samples(files: Sequence[File], reading: Reading) -> bool:
    """Whether the members of tars are samples, rather than the files of a folder.

    They are if a name that is given is an extension of theirs, or most pictures have a ``.cls`` of the same name and
    lie in no folders of splits, or most have a ``.json`` and all lie in one folder: several folders may be classes.
    """
    samples = _with_images(_group(files))
    given = {name.lower() for name in (reading.images, reading.labels) if name}
    if any(given & set(each) for each in samples.values()):
        return True
    if _most_have(samples, _CLASS):
        return not split_folders([f"{key}.{_CLASS}" for key in samples])
    one_folder = len({PurePosixPath(key).parent for key in samples}) == 1
    return _most_have(samples, _JSON) and (one_folder or bool(reading.labels))


def _with_images(samples: _Samples) -> _Samples:
    """The samples with pictures; if there are none, those with arrays."""
    pictured = {key: each for key, each in samples.items() if any(map(_is_picture, each))}
    return pictured or {key: each for key, each in samples.items() if _ARRAY in each}


def _most_have(samples: _Samples, extension: str) -> bool:
    return 2 * sum(extension in each for each in samples.values()) > len(samples)


def load_samples(path: Path, files: Sequence[File], options: LoadOptions, beside: FindFiles = no_files) -> Dataset:
    """The pictures of tars, with classes from members of the same name: ``.cls``, or a usual key in ``.json``.

    Without pictures, each ``.npy`` is an image.

    Args:
      path: the source, for messages.
      files: the members.
      options: `Reading.images` and `Reading.labels` name other extensions, the latter also a key in ``.json``.
      beside: finds the members of another split, from which the value range is inferred too.

    Raises:
      DatasetError: if a sample has several pictures, or there are none.
    """
    samples = _group(files)
    pictures = _choose_pictures(path, samples, options.reading.images)
    keys = {file.name: key for key, file in pictures.items()}

    def classes(names: list[str]) -> Classes:
        return _classes(path, [samples[keys[name]] for name in names], options.reading.labels)

    def others() -> list[File]:
        return list(_choose_pictures(path, _group(beside()), options.reading.images).values())

    find_classes = classes if options.labels else lambda names: Classes()
    if all(file.suffix == f".{_ARRAY}" for file in pictures.values()):
        unnamed = options._replace(reading=options.reading._replace(images=None, labels=None))
        return load_single_arrays(path, list(pictures.values()), unnamed, find_classes, beside)
    check_no_layout(path, options)
    listing = list_records(path, list(pictures.values()), options.reading.frames)
    return load_listing(path, with_beside(listing, others, options.reading), options, find_classes)


def _group(files: Sequence[File]) -> _Samples:
    """Group files by their path up to the first dot of the name, and then by what follows it, in lower case."""
    samples: _Samples = {}
    for file in files:
        folder, name = PurePosixPath(file.name).parent, PurePosixPath(file.name).name
        key, _, extension = name.partition(".")
        samples.setdefault(str(folder / key), {})[extension.lower()] = file
    return samples


def _is_picture(extension: str) -> bool:
    return f".{extension}".endswith(SUFFIXES)


def _choose_pictures(path: Path, samples: _Samples, given: str | None) -> dict[str, File]:
    """The picture of each sample, by its key. Raises: DatasetError if a sample has several, or none has one."""
    pictures, arrays = {}, not any(_is_picture(each) for files in samples.values() for each in files)

    def is_chosen(extension: str) -> bool:
        return extension == given.lower() if given else _is_picture(extension) or (arrays and extension == _ARRAY)

    for key, files in samples.items():
        found = [each for each in files if is_chosen(each)]
        if len(found) > 1:
            raise DatasetError(
                f"{path}: {printable(key)} has {len(found)} pictures, {', '.join(map(printable, found))}: choose one "
                f"with `images={printable(found[0])}`"
            )
        if found:
            pictures[key] = files[found[0]]
    if not pictures:
        kinds = ", ".join(sorted({printable(each) for files in samples.values() for each in files})[:20])
        raise DatasetError(f"{path} holds no samples with pictures{f' named {given}' if given else ''}: it has {kinds}")
    return pictures


def _classes(path: Path, samples: Sequence[dict[str, File]], given: str | None) -> Classes:
    """The classes of samples; none unless each sample has one."""
    member = given.lower() if given else _CLASS
    if any(member in each for each in samples):
        name, found = member, [_text(each[member]) if member in each else "" for each in samples]
    else:
        trees = [_tree(each[_JSON]) if _JSON in each else {} for each in samples]
        keys = [key for key in ([given] if given else USUAL_LABELS) if any(_value(tree, key) for tree in trees)]
        if not keys and given:
            raise DatasetError(f"{path} holds nothing named {given} for `labels`: neither members nor keys of .json")
        if not keys:
            return Classes(notes=_note_on_names(path, samples, trees))
        name, found = keys[0], [_value(tree, keys[0]) for tree in trees]
    if missing := sum(not each for each in found):
        return Classes(notes=(f"{path}: {missing:,} of {len(found):,} samples have no {name}: none is used",))
    return Classes(*number_texts(found))


def _note_on_names(path: Path, samples: Sequence[dict[str, File]], trees: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """A note on the names that `Reading.labels` may be, if there are any; else ()."""
    members = {each for files in samples for each in files if each not in (_JSON, _ARRAY) and not _is_picture(each)}
    names = sorted(members) + list(dict.fromkeys(key for tree in trees for key in tree if _value(tree, key)))
    said = f"{path} has no classes, but members or keys of .json named {some(names, _NAMED)}"
    return (f"{said} (`labels=NAME` takes one for the classes)",) if names else ()


def _text(file: File) -> str:
    try:
        return printable(file.read().decode().strip())[:200]
    except (OSError, ValueError):
        return ""


def _tree(file: File) -> dict[str, Any]:
    try:
        tree = json.loads(file.read())
    except Exception:  # whatever the archive, or the parser for another form, raises
        return {}
    return tree if isinstance(tree, dict) else {}


def _value(tree: dict[str, Any], key: str) -> str:
    """A value that may be a class, as text; empty if it is neither text nor an integer."""
    value = tree.get(key)
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return printable(str(value).strip())[:200] if isinstance(value, str | int) else ""
