"""Animations as other programs read them."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.animation import AnimationError, save_animation

RANDOM = np.random.default_rng(0)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def frames_of(channels):
    """Three that differ, 21x35."""
    return list(RANDOM.integers(0, 256, (3, 21, 35, channels), np.uint8))


@pytest.mark.parametrize(("suffix", "channels"), [(".gif", 1), (".webp", 1), (".webp", 3)])
def test_frames_are_exact(suffix, channels, tmp_path):
    """The last one stays for a while, and the animation repeats."""
    frames, path = frames_of(channels), tmp_path / f"a{suffix}"
    save_animation(path, frames, 10)
    times = []
    with Image.open(path) as animation:
        assert animation.info["loop"] == 0
        for i in range(animation.n_frames):
            animation.seek(i)
            shown = np.asarray(animation.convert("RGB"))
            times.append(animation.info["duration"])
            np.testing.assert_array_equal(shown, np.broadcast_to(frames[min(i, 2)], shown.shape))
    assert times[:2] == [100, 100]
    assert sum(times) == 300 + 1500
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_gif_has_colours(tmp_path):
    """Few colours are exact."""
    frames = [RANDOM.choice(np.array([0, 80, 255], np.uint8), (20, 20, 3)) for _ in range(2)]
    save_animation(tmp_path / "a.gif", frames, 5)
    with Image.open(tmp_path / "a.gif") as animation:
        for i, frame in enumerate(frames):
            animation.seek(i)
            np.testing.assert_array_equal(np.asarray(animation.convert("RGB")), frame)


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 3])
def test_mp4_holds_the_frames(channels, tmp_path):
    """Of sides made even, as players want them, near to the pixels."""
    frames = [np.full((21, 35, channels), shade, np.uint8) for shade in (30, 120, 230)]
    path = tmp_path / "내 run's.mp4"
    save_animation(path, frames, 10)
    command = ["ffmpeg", "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    video = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    video = video.reshape(-1, 22, 36)
    assert len(video) == 3 + 15
    for shown, frame in zip(video, frames, strict=False):
        # Y' of H.264 has 220 of 256 levels: rounded twice, and compressed.
        assert np.abs(shown[1:-3, 1:-3].astype(int) - frame[0, 0, 0]).max() <= 4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@needs_ffmpeg
def test_failure_of_ffmpeg_is_one_line(tmp_path, monkeypatch):
    """What it says is passed on, and no file is left."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Unknown encoder libx264' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    with pytest.raises(AnimationError, match=r"ffmpeg could not write a.mp4 \(Unknown encoder libx264\)"):
        save_animation(tmp_path / "a.mp4", [np.zeros((600, 600, 3), np.uint8)] * 3, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["bin"]


def test_missing_programs_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AnimationError, match=r"an .mp4 needs the program ffmpeg: install it, or choose a .gif"):
        save_animation(tmp_path / "a.mp4", frames_of(1), 10)
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    with pytest.raises(AnimationError, match="this Pillow writes no WebP"):
        save_animation(tmp_path / "a.webp", frames_of(1), 10)


@pytest.mark.parametrize("fps", [0, -1, 51, float("nan"), "4", None, True])
def test_frames_a_second_are_a_number_in_range(fps, tmp_path):
    with pytest.raises(ValueError, match=f"fps must be a number above 0 and at most 50, got {fps!r}"):
        save_animation(tmp_path / "a.gif", frames_of(1), fps)


@pytest.mark.parametrize(
    ("frames", "got"),
    [
        ([], "none"),
        ([np.zeros((4, 4, 1), np.uint8), np.zeros((4, 5, 1), np.uint8)], r"uint8 \[4, 4, 1\], uint8 \[4, 5, 1\]"),
        ([np.zeros((4, 4, 1))], r"float64 \[4, 4, 1\]"),
        ([np.zeros((4, 4), np.uint8)], r"uint8 \[4, 4\]"),
        ([np.zeros((4, 0, 3), np.uint8)], r"uint8 \[4, 0, 3\]"),
    ],
    ids=["none", "sizes", "floats", "axes", "empty"],
)
def test_frames_are_pictures_of_one_size(frames, got, tmp_path):
    with pytest.raises(ValueError, match=rf"frames must be uint8 \[H, W, C\], all of one shape, got {got}$"):
        save_animation(tmp_path / "a.gif", frames, 4)
    assert not any(tmp_path.iterdir())


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(AnimationError, match=r"`out` must end in \.gif or \.webp or \.mp4, got .*a\.png"):
        save_animation(tmp_path / "a.png", frames_of(1), 4)


def test_frames_beyond_the_format_are_refused(tmp_path):
    with pytest.raises(AnimationError, match=r"in .webp has at most 16,383 pixels a side, got 16,384"):
        save_animation(tmp_path / "a.webp", [np.zeros((2, 16_384, 1), np.uint8)], 10)
