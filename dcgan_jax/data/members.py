"""The files of folders and archives: their names, and a function that reads each."""

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import os
import re
import struct
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from PIL import UnidentifiedImageError

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.errors import first_line

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
# How compressed files start. A tar starts with the name of its first member, which bzip2's first three letters may be.
_PACKED = (
    (re.compile(rb"\x1f\x8b"), gzip.open),
    (re.compile(rb"BZh\d(1AY&SY|\x17rE8P\x90)"), bz2.open),
    (re.compile(rb"\xfd7zXZ\0"), lzma.open),
)
_LARGEST_FILE = 2**30  # bytes
_EXPANSION = 100  # ratio of content to an archive's size, against decompression bombs; pictures reach about 10
_LONGEST_NAME = 200  # characters of a name in a message
_PIECE = 2**24  # bytes decompressed at a time
_SMALL = 2**26  # bytes that an archive of any size may hold


class File(NamedTuple):
    """A file of a folder or an archive.

    Attributes:
      name: its path within the folder or the archive, with slashes.
      read: reads it.
      path: where it can be opened, if it is no member of an archive.
    """

    name: str
    read: Callable[[], bytes]
    path: Path | None = None

    @property
    def suffix(self) -> str:
        """The suffix in lower case; a number at the end of a name is not one."""
        name = self.name.rpartition("/")[2]  # by hand, as pathlib took a fifth of the time of reading small pictures
        dot = name.rfind(".")
        suffix = name[dot:].lower() if 0 < dot < len(name) - 1 else ""
        return "" if suffix[1:].isdigit() else suffix

    def open(self) -> IO[bytes]:
        """Opens it for reading; a member of an archive is read whole. Raises: OSError, or as `read`."""
        if self.path is None:
            return io.BytesIO(self.read())
        if not self.path.is_file():  # a broken link, or a pipe, which may block
            raise OSError("no file")
        return self.path.open("rb")


FindFiles = Callable[[], Sequence[File]]


def no_files() -> Sequence[File]:
    """No files of another split."""
    return ()


def is_tar(path: Path) -> bool:
    """Whether a path is that of a tar by its name, compressed or not."""
    return path.name.lower().endswith(TARS)


@contextlib.contextmanager
def open_files(path: Path) -> Iterator[list[File]]:
    """The files of a folder, recursively, or of a zip or tar, sorted by path, without hidden ones.

    Raises:
      DatasetError: if it cannot be read, or an archive has paths that lead outside or holds over 100 times its size.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = sorted((file for file in _members(path, stack) if _is_visible(file)), key=by_path)
        except DatasetError:
            raise
        # zipfile raises the last three for a later version, and for invalid names, dates or sizes.
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise DatasetError(f"cannot read {path} ({reason(error)})") from error
        yield found


def _members(path: Path, stack: contextlib.ExitStack) -> Iterator[File]:
    if path.is_dir():
        return _walk(path)
    if is_tar(path):
        return _of_tar(path, stack)
    return _of_zip(path, stack.enter_context(zipfile.ZipFile(path)))


def reason(error: Exception) -> str:
    """What is wrong with a file, for brackets in a message."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture, or in a form that is not read"
    return getattr(error, "strerror", None) or first_line(error)


def printable(name: str) -> str:
    """A name with a question mark for each character that is not printable."""
    return "".join(character if character.isprintable() else "?" for character in name)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first of these names as a list, printable and cut if they are long, with dots if there are more."""
    first = list(itertools.islice(names, most + 1))
    return ", ".join(printable(name[:_LONGEST_NAME]) for name in first[:most]) + (", ..." if len(first) > most else "")


def _walk(root: Path) -> Iterator[File]:
    """All files below ``root``; a folder that is reached twice, through a link, is read once."""

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
            yield File(path.relative_to(root).as_posix(), lambda path=path: read_file(path), path)


def read_file(path: Path) -> bytes:
    """The content of a file. Raises: OSError if it is not a regular file, or larger than 1 GiB."""
    if not path.is_file():  # a broken link, or a pipe, which may block
        raise OSError("no file")
    _check_file_size(path.stat().st_size)
    return path.read_bytes()


def unpacked(file: IO[bytes], what: str, copies: int, remedy: str) -> bytes:
    """The content of a file, decompressed if it is gzipped, whatever its name says.

    Args:
      file: the file, opened.
      what: its content, in the plural, for the message.
      copies: how many times its size is needed in memory.
      remedy: what to do if that is too much.

    Raises:
      DatasetError: if the memory is not free; what exceeds it is not decompressed.
      OSError, EOFError, zlib.error: if it is damaged.
    """
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    content = bytearray()
    with gzip.open(file) if packed else file as plain:
        while piece := plain.read(_PIECE):
            content += piece
            check_bytes(copies * len(content), what, remedy)
    return bytes(content)


def _of_zip(path: Path, archive: zipfile.ZipFile) -> Iterator[File]:
    infos = archive.infolist()
    _check_expansion(path, sum(info.file_size for info in infos))
    for info in infos:
        if not info.is_dir():
            name = _inside(path, info.filename.replace("\\", "/"))
            yield File(name, lambda info=info: _read_zipped(archive, info))


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_file_size(info.file_size)
    return archive.read(info)  # RuntimeError if it is encrypted


def _of_tar(path: Path, stack: contextlib.ExitStack) -> Iterator[File]:
    """The files of a tar. A compressed one has no random access, so it is decompressed into a temporary file."""
    file = stack.enter_context(path.open("rb"))
    try:
        file = _unpacked(path, file, stack)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            infos = {info.name: info for info in archive.getmembers()}  # of equal names the last, as tar extracts them
            file.seek(archive.offset)  # only zeros or the end of the file may follow
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"damaged at byte {archive.offset:,}")
    except (DatasetError, OSError):
        raise
    except Exception as error:  # whatever tarfile and the decompressors raise
        raise DatasetError(f"cannot read {path} ({first_line(error)})") from error
    lock = threading.Lock()
    for info in infos.values():
        of = infos.get(info.linkname, info) if info.islnk() else info  # a hard link is a second name
        if not info.isdir():
            yield File(_inside(path, info.name), lambda of=of: _read_tarred(file, lock, of))


def _read_tarred(file: IO[bytes], lock: threading.Lock, info: tarfile.TarInfo) -> bytes:
    if not info.isreg() or info.issparse():
        raise OSError("a link or a device, and no file")
    _check_file_size(info.size)
    with lock:
        file.seek(info.offset_data)
        content = file.read(info.size)
    if len(content) < info.size:
        raise OSError("it is cut off")
    return content


def _unpacked(path: Path, file: IO[bytes], stack: contextlib.ExitStack) -> IO[bytes]:
    """The content of a tar, decompressed into a temporary file if it is compressed, whatever its name says."""
    start = file.read(10)
    file.seek(0)
    opener = next((each for starts, each in _PACKED if starts.match(start)), None)
    if opener is None:
        return file
    unpacked: IO[bytes] = stack.enter_context(contextlib.closing(tempfile.TemporaryFile()))  # noqa: SIM115
    size = path.stat().st_size
    with opener(file) as content:
        while piece := content.read(2**20):
            unpacked.write(piece)
            _check_expansion(path, unpacked.tell(), size)
    unpacked.seek(0)
    return unpacked


def _check_expansion(path: Path, content: int, size: int | None = None) -> None:
    """Raises: DatasetError if an archive that holds ``content`` bytes may be a decompression bomb."""
    size = path.stat().st_size if size is None else size
    if content > max(_EXPANSION * size, _SMALL):
        raise DatasetError(
            f"{path} holds more than {_EXPANSION} times its {size:,} bytes: unpack it if you trust it, and give the "
            "folder"
        )


def _inside(path: Path, name: str) -> str:
    """A path within an archive, without ``./``. Raises: DatasetError if it leads outside."""
    parts = [part for part in name.split("/") if part != "."]
    if not parts[0] or ".." in parts:
        raise DatasetError(f"{path} holds a path that leads out of it, {printable(name)[:100]}: unpack it with care")
    return "/".join(parts)


def _check_file_size(size: int) -> None:
    if size > _LARGEST_FILE:
        raise OSError(f"larger than {_LARGEST_FILE >> 30} GiB")


def _is_visible(file: File) -> bool:
    """Whether a file is not hidden, nor in a folder that macOS adds to archives or a network drive to folders."""
    return not any(part.startswith(".") or part in ("__MACOSX", "@eaDir") for part in file.name.split("/"))


def by_path(file: File) -> list[bytes]:
    """A key that sorts files by path, folder by folder."""
    return os.fsencode(file.name).split(b"/")
