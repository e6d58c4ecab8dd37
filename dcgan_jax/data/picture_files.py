"""The files of a folder or a zip: which are pictures, and which are left out, by kind."""

import collections
import contextlib
import os
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import UnidentifiedImageError

from dcgan_jax.data.common import DatasetError
from dcgan_jax.errors import first_line

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".avifs", ".bmp", ".dib", ".tif"),
    *(".tiff", ".gif", ".pgm", ".ppm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".tga", ".ico"),
)
ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")  # of several files, but a zip
# Images that are not read, which people have beside others or take for those that are.
_NOT_READ = {
    *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".psd", ".xcf", ".svg", ".eps", ".pdf", ".exr", ".hdr", ".dds", ".raw"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".dcm", ".nii", ".nrrd", ".mha", ".fits", ".fit"),
    *(".npy", ".npz", ".h5", ".hdf5", ".parquet", ".tfrecord", ".lmdb", ".mdb", ".zip", *ARCHIVES),
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"),
}
_NAMED = 5  # kinds of files that are named
_LARGEST_FILE = 2**30  # bytes


class File(NamedTuple):
    """A file: its name within the folder, with slashes, and a function that reads it."""

    name: str
    read: Callable[[], bytes]

    @property
    def suffix(self) -> str:
        """The suffix in small letters; numbers at the end of a name are none."""
        suffix = PurePosixPath(self.name).suffix.lower()
        return "" if suffix[1:].isdigit() else suffix


@contextlib.contextmanager
def open_files(path: Path) -> Iterator[list[File]]:
    """The files of a folder and its folders, or of a zip, in the order of their names, without hidden ones.

    Raises:
      DatasetError: if it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            files = _walk(path) if path.is_dir() else _members(stack.enter_context(zipfile.ZipFile(path)))
            found = sorted((file for file in files if _is_visible(file)), key=_place)
        except DatasetError:
            raise
        # Of a zip: of a later version; with names, dates or sizes that cannot be.
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise DatasetError(f"cannot read {path} ({reason(error)})") from error
        yield found


def count_kinds(files: Sequence[File]) -> dict[str, int]:
    """How many files there are of each suffix, the most frequent first."""
    return dict(collections.Counter(file.suffix for file in files).most_common())


def name_kinds(kinds: dict[str, int]) -> str:
    """Kinds of files within a sentence: ``400 .heic, 3 .txt``."""
    named = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in list(kinds.items())[:_NAMED]]
    return ", ".join(named) + (", ..." if len(kinds) > _NAMED else "")


def check_kinds(path: Path, others: Sequence[File], names: Collection[str]) -> None:
    """Whether the pictures with these names are most of a folder's images.

    Raises:
      DatasetError: if others are more, those apart that are another form of a picture, as a camera's.
    """
    stems, pictures = {os.path.splitext(name)[0] for name in names}, len(names)
    alone = [file for file in others if file.suffix in _NOT_READ and os.path.splitext(file.name)[0] not in stems]
    not_read = count_kinds(alone)
    if len(alone) > pictures:
        readable = f", and {pictures:,} can" if pictures else f": {', '.join(SUFFIXES)} are read"
        raise DatasetError(
            f"{path} holds {name_kinds(not_read)}, which cannot be read as pictures{readable}: save or unpack them as "
            "PNG or JPEG, or move them to another folder"
        )


def remedy_of(kinds: dict[str, int]) -> str:
    """What to do about files that are left out, if they may be images: the end of a line."""
    return ": save or unpack images as PNG or JPEG" if any(suffix in _NOT_READ for suffix in kinds) else ""


def reason(error: Exception) -> str:
    """What is wrong with a file, within brackets."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture, or in a form that is not read"
    return getattr(error, "strerror", None) or first_line(error)


def printable(name: str) -> str:
    """A file's name with a question mark for whatever cannot be printed."""
    return "".join(character if character.isprintable() else "?" for character in name)


def _walk(root: Path) -> Iterator[File]:
    """Every file; a folder that is reached twice, through a link, is read once."""

    def fail(error: OSError) -> None:
        raise DatasetError(f"cannot read the folder {error.filename} ({error.strerror})") from error

    seen = set()
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(folder, name)
            yield File(path.relative_to(root).as_posix(), lambda path=path: _read_file(path))


def _read_file(path: Path) -> bytes:
    if not path.is_file():  # a broken link, or a pipe that nobody writes to
        raise OSError("no file")
    _check_file_size(path.stat().st_size)
    return path.read_bytes()


def _members(archive: zipfile.ZipFile) -> Iterator[File]:
    for info in archive.infolist():
        if not info.is_dir():
            yield File(info.filename.replace("\\", "/"), lambda info=info: _read_member(archive, info))


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_file_size(info.file_size)
    return archive.read(info)  # RuntimeError: it is encrypted


def _check_file_size(size: int) -> None:
    if size > _LARGEST_FILE:
        raise OSError(f"larger than {_LARGEST_FILE >> 30} GiB")


def _is_visible(file: File) -> bool:
    """Whether it is no hidden file, nor in a folder that macOS adds to archives or a network drive to folders."""
    return not any(part.startswith(".") or part in ("__MACOSX", "@eaDir") for part in file.name.split("/"))


def _place(file: File) -> list[bytes]:
    return os.fsencode(file.name).split(b"/")
