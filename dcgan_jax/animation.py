"""Animations of pictures as a GIF, a WebP or an MP4."""

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcgan_jax.errors import UserError
from dcgan_jax.files import replace_file
from dcgan_jax.images import as_picture

ANIMATIONS = (".gif", ".webp", ".mp4")
MAX_FPS = 50  # a GIF counts in hundredths of a second, and viewers slow down frames of less than two
_LONGEST_SIDE = {".gif": 65_535, ".webp": 16_383, ".mp4": 16_384}  # limits of the formats and the H.264 encoder
_HOLD = 1.5  # seconds for which the last picture is shown before the animation repeats


class AnimationError(UserError):
    """An animation cannot be written."""


def check_animation(out: Path) -> None:
    """Raises: AnimationError for another format, or if what a format needs is not installed."""
    from PIL import features

    if out.suffix not in ANIMATIONS:
        raise AnimationError(f"`out` must end in {' or '.join(ANIMATIONS)}, got {out}")
    if out.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise AnimationError("an .mp4 needs the program ffmpeg: install it, or choose a .gif or a .webp for `out`")
    if out.suffix == ".webp" and not features.check("webp"):
        raise AnimationError("this Pillow writes no WebP: choose a .gif for `out`, or reinstall Pillow")


def save_animation(out: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write frames, each uint8 [H, W, C], as a looping animation; a reader never sees a partial file.

    A WebP, and a GIF of grey frames, is lossless. A GIF has at most 256 colours per frame; an MP4 (H.264) is lossy.

    Args:
      out: a ``.gif``, a ``.webp`` or an ``.mp4``.
      frames: at least one, all of one shape, grey or RGB.
      fps: frames per second, above 0 and at most 50.

    Raises:
      AnimationError: as `check_animation`; or if the frames are too large for the format, or ffmpeg fails.
      ValueError: if the frames or their number per second are others.
      OSError: if the file cannot be written.
    """
    check_animation(out)
    _check_frames(frames, fps)
    side, limit = max(frames[0].shape[:2]), _LONGEST_SIDE[out.suffix]
    if side > limit:
        raise AnimationError(f"an animation in {out.suffix} has at most {limit:,} pixels a side, got {side:,}")
    frames = [*frames, *[frames[-1]] * round(_HOLD * fps)]
    if out.suffix == ".mp4":
        replace_file(out, lambda partial: _save_mp4(partial, frames, fps))
        return
    first, *others = map(as_picture, frames)
    options = {"save_all": True, "append_images": others, "duration": round(1000 / fps), "loop": 0}
    if out.suffix == ".webp":
        options |= {"lossless": True, "method": 4}
    replace_file(out, lambda partial: first.save(partial, format=out.suffix[1:], **options))


def _check_frames(frames: Sequence[np.ndarray], fps: float) -> None:
    number = isinstance(fps, int | float | np.integer | np.floating) and not isinstance(fps, bool)
    if not number or not 0 < fps <= MAX_FPS:
        raise ValueError(f"fps must be a number above 0 and at most {MAX_FPS}, got {fps!r}")
    kinds = dict.fromkeys(f"{frame.dtype} {list(frame.shape)}" for frame in frames)
    if len(kinds) != 1 or frames[0].dtype != np.uint8 or frames[0].ndim != 3 or not frames[0].size:
        raise ValueError(f"frames must be uint8 [H, W, C], all of one shape, got {', '.join(kinds) or 'none'}")


def _save_mp4(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Encode with ffmpeg, which is given the raw pixels."""
    height, width, channels = frames[0].shape
    size, pixels = f"{width}x{height}", "gray" if channels == 1 else "rgb24"
    source = ["-f", "rawvideo", "-pixel_format", pixels, "-video_size", size, "-framerate", str(fps), "-i", "-"]
    # Players expect 4:2:0 subsampling, which needs even sides.
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white,format=yuv420p"
    encoded = ["-vf", even, "-c:v", "libx264", "-crf", "16", "-movflags", "+faststart", "-f", "mp4"]
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *source, *encoded, f"file:{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # ffmpeg has failed, and reports why
                for frame in frames:
                    process.stdin.write(frame.tobytes())
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        except BaseException:
            process.kill()
            raise
        reason = process.stderr.read().decode(errors="replace").split("\n")
    if process.returncode:
        raise AnimationError(f"ffmpeg could not write {path.stem} ({' '.join(filter(None, reason))})")
