"""Pictures beside another container, such as the logo of a repository beside its Parquet files."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dcgan_jax.console import counted
from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.members import File, printable, some
from dcgan_jax.data.picture_files import SUFFIXES

_MANY = 16  # pictures that are a data set of their own
# Folders of pictures that only illustrate a data set, however many.
_ILLUSTRATIONS = {
    *("assets", "docs", "doc", "figures", "figs", "media", "preview", "previews", "screenshots", "thumbnails"),
}


def pictures_among(files: Sequence[File]) -> list[str]:
    """The names of the pictures among files."""
    return [file.name for file in files if file.suffix in SUFFIXES]


def are_many(pictures: Sequence[str]) -> bool:
    """Whether pictures beside a container may be the data set: 16 or more outside folders such as ``assets``."""
    return sum(not _ILLUSTRATIONS & set(name.lower().split("/")[:-1]) for name in pictures) >= _MANY


def note_on_pictures(path: Path, pictures: Sequence[str], container: str) -> tuple[str, ...]:
    """A note on the pictures that are left out beside a container; () if there are none.

    Raises:
      DatasetError: if they are `are_many`, so that either may be the data set.
    """
    if are_many(pictures):
        raise either_of(path, pictures, container)
    if not pictures:
        return ()
    named = some(pictures)
    return (f"left out {counted(len(pictures), 'picture')} beside {printable(container)}: {named}",)


def either_of(path: Path, pictures: Sequence[str], container: str) -> DatasetError:
    """The error that names pictures and a container, of which either may be the data set, and how to choose one."""
    named = f"{counted(len(pictures), 'picture')}, such as {printable(pictures[0])}, and {printable(container)}"
    return DatasetError(f"{path} holds {named}: {_choices(path, pictures[0], container)}")


def _choices(path: Path, picture: str, container: str) -> str:
    """How to choose between pictures and a container in the same folder or archive."""
    if not path.is_dir():
        return "unpack it, and give one or the other, in a folder of its own"
    folder = PurePosixPath(picture).parts[0] if "/" in picture else ""
    if folder and folder != PurePosixPath(container).parts[0]:
        return f"give {path / printable(folder)} or {path / printable(container)}"
    return f"give {path / printable(container)}, or move it away for the pictures"
