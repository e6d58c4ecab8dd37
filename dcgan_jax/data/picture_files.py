"""Which files of a folder or an archive are pictures, and which are left out, by suffix."""

import collections
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.members import TARS, File, some

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".avifs", ".bmp", ".dib", ".tif"),
    *(".tiff", ".gif", ".pgm", ".ppm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".tga", ".ico"),
)
ARCHIVES = (*TARS, ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")  # suffixes of archives other than zip
# Suffixes of formats that may hold images but are not read as pictures.
_NOT_READ = {
    *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".psd", ".xcf", ".svg", ".eps", ".pdf", ".exr", ".hdr", ".dds", ".raw"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".dcm", ".nii", ".nrrd", ".mha", ".fits", ".fit"),
    *(".npy", ".npz", ".h5", ".hdf5", ".parquet", ".tfrecord", ".lmdb", ".mdb", ".zip", *ARCHIVES),
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"),
}
_NAMED = 5  # suffixes listed in a message


def count_kinds(files: Sequence[File]) -> dict[str, int]:
    """The number of files of each suffix, most frequent first."""
    return dict(collections.Counter(file.suffix for file in files).most_common())


def name_kinds(kinds: dict[str, int]) -> str:
    """Counts of files by suffix as text: ``400 .heic, 3 .txt``."""
    return some((f"{count:,} {suffix or 'without a suffix'}" for suffix, count in kinds.items()), _NAMED)


def check_kinds(path: Path, others: Sequence[File], names: Collection[str]) -> None:
    """Check that a folder's pictures, with these names, are at least half of its images.

    Raises:
      DatasetError: if more images cannot be read, not counting other forms of a picture, such as a camera's raw file.
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


def may_hold_images(file: File) -> bool:
    """Whether a file is in a format that may hold images but is not read as a picture, by suffix."""
    return file.suffix in _NOT_READ


def remedy_of(kinds: dict[str, int]) -> str:
    """What to do about files that are left out, if they may be images, as the end of a note; else empty."""
    return ": save or unpack images as PNG or JPEG" if any(suffix in _NOT_READ for suffix in kinds) else ""
