"""Images of digits from the files of any program: an ``.npy``, an ``.npz`` or a directory of PNGs."""

import warnings
import zipfile
from pathlib import Path

import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.evaluation.images import MAX_SAMPLES, EvaluationError

_SIDE = 28
_NAMES = ("images", "samples", "x", "arr_0")  # of the array in an .npz of several
_GREY = {"1", "L", "LA", "P", "RGB", "RGBA"}  # Pillow's modes of 8 bits a channel
_OTHERS = "--dataset says which real images others are compared with"
_HOW = f"a directory of {_SIDE}x{_SIDE} PNGs, an .npy or an .npz"


def is_image_source(path: Path) -> bool:
    """Whether a path names images, and not a run."""
    if path.is_dir():
        return not (path / "config.json").exists()
    return path.is_file() or path.suffix in (".npy", ".npz", ".png")


def read_images(path: Path) -> np.ndarray:
    """The images in a file or a directory: [N, 28, 28, 1], of the type that they are stored in.

    An array may be [N, 28, 28, 1], [N, 1, 28, 28], [N, 28, 28] or [N, 784]; three equal channels count as one. PNGs
    are taken in the order of their names.

    Raises:
      EvaluationError: if they cannot be read, or are not of a shape or colour that can be scored.
    """
    if path.is_dir() and (pictures := _pictures(path)):
        return _read_pictures(pictures)
    if path.suffix == ".npy":
        try:
            # Memory-mapped, so that a header that promises more than the file holds costs no memory.
            return one_channel(np.lib.format.open_memmap(path, mode="r"), path)
        except EvaluationError:
            raise
        except Exception as error:  # the header's parser raises whatever Python's tokenizer does
            reason = getattr(error, "strerror", None) or "it is not a complete .npy of numbers"
            raise EvaluationError(f"cannot read {path}: {reason}") from error
    if path.suffix == ".npz":
        return one_channel(_read_npz(path), path)
    if path.suffix.lower() == ".png" and path.exists():
        _read_picture(path)  # what is wrong with it
    raise EvaluationError(f"{path} is not a run directory, nor {_HOW}")


def one_channel(images: np.ndarray, source: object) -> np.ndarray:
    """[N, 28, 28, 1] from the layouts of `read_images`.

    Raises:
      EvaluationError: for another shape, or three channels that differ.
    """
    shape = images.shape
    if shape[1:] == (_SIDE**2,):
        return images.reshape(-1, _SIDE, _SIDE, 1)
    if shape[1:] == (_SIDE, _SIDE):
        return images[..., None]
    if len(shape) == 4 and shape[2:] == (_SIDE, _SIDE) and shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.ndim != 4 or images.shape[1:3] != (_SIDE, _SIDE) or images.shape[3] not in (1, 3):
        raise EvaluationError(
            f"the images in {source} must be [N, {_SIDE}, {_SIDE}, 1], [N, 1, {_SIDE}, {_SIDE}], [N, {_SIDE}, {_SIDE}] "
            f"or [N, {_SIDE**2}], got {list(shape)}: {_OTHERS}"
        )
    if images.shape[3] == 3 and ((images != images[..., :1]) & (images == images)).any():  # NaN is not a colour
        raise EvaluationError(f"the images in {source} are coloured, and digits are grey: {_OTHERS}")
    return images[..., :1]


def _read_npz(path: Path) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:  # before NumPy allocates what a small file expands to
            if max((info.file_size for info in archive.infolist()), default=0) > 8 * 3 * _SIDE**2 * MAX_SAMPLES + 2**16:
                raise EvaluationError(f"{path} holds more than {MAX_SAMPLES:,} images")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            chosen = names if len(names) == 1 else [name for name in _NAMES if name in names]
            if chosen:
                return arrays[chosen[0]]
    except EvaluationError:
        raise
    except Exception as error:  # as for an .npy
        reason = getattr(error, "strerror", None) or "it is not a complete .npz of numbers"
        raise EvaluationError(f"cannot read {path}: {reason}") from error
    found = ", ".join(names) or "none"
    raise EvaluationError(f"{path} must hold one array, or one named {' or '.join(_NAMES)}, got {found}")


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.name[0] != ".")


def _read_pictures(paths: list[Path]) -> np.ndarray:
    if len(paths) > MAX_SAMPLES:
        raise EvaluationError(f"at most {MAX_SAMPLES:,} images can be scored, {paths[0].parent} holds {len(paths):,}")
    return np.stack([_read_picture(path) for path in paths])


def _read_picture(path: Path) -> np.ndarray:
    """uint8 [28, 28, 1]."""
    from PIL import Image  # imported when used, as in `dcgan_jax.images`

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["PNG"]) as picture:
            size, mode = picture.size, picture.mode
            if size == (_SIDE, _SIDE) and mode in _GREY:
                pixels = np.asarray(picture.convert("RGBA"))
                if (pixels[..., 3] < 255).any():
                    raise EvaluationError(f"{path} is transparent: images of digits are white on black")
                return one_channel(pixels[None, ..., :3], path)[0]
    except EvaluationError:
        raise
    except Exception as error:  # Pillow's parsers raise many kinds
        raise EvaluationError(f"cannot read {path} ({first_line(error)})") from error
    if size == (_SIDE, _SIDE):
        raise EvaluationError(f"{path} must have 8 bits a channel, got Pillow's mode {mode}")
    if all(length % 4 == 0 and length // 4 % (_SIDE + 2) == 2 for length in size):
        raise EvaluationError(f"{path} is a grid of images: draw them into an .npy (sample RUN --out FILE.npy)")
    raise EvaluationError(f"pictures of digits must be {_SIDE}x{_SIDE}, {path} is {size[0]}x{size[1]}: {_OTHERS}")
