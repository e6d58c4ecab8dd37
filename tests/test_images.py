"""Grids of images, as arrays and as PNG files."""

import re

import numpy as np
import pytest
from PIL import Image

from dcgan_jax import save_grid
from dcgan_jax.cli.drawing import way_pictures
from dcgan_jax.images import grid_images, grid_pixels, image_grid, labelled_grid, save_each, with_title


def test_grid_holds_each_image_in_its_place():
    images = np.stack([np.full((28, 28, 1), i / 15) for i in range(16)])
    grid = image_grid(images)
    assert grid.shape == (488, 488, 1)
    assert grid.dtype == np.uint8
    assert (grid[:8] == 255).all()  # the gap
    for i in range(16):
        row, column = divmod(i, 4)
        tile = grid[8 + row * 120 :, 8 + column * 120 :][:112, :112]
        assert (tile == round(i / 15 * 255)).all()


def test_uint8_images_keep_their_values():
    images = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(1, 4, 2, 3)
    assert (image_grid(images, 1)[8:-8:4, 8:-8:4] == images[0]).all()


def test_other_integers_are_refused():
    """They may be 0 to 255 or 0 and 1."""
    with pytest.raises(TypeError, match="images must be uint8 or numbers in .0, 1., got int64"):
        image_grid(np.zeros((1, 4, 4, 1), np.int64))


@pytest.mark.parametrize("columns", [0, -1, 2.0, True, None])
def test_columns_are_a_positive_integer(columns):
    with pytest.raises(ValueError, match=f"columns must be an integer of at least 1, got {columns!r}"):
        image_grid(np.zeros((1, 4, 4, 1)), columns)


@pytest.mark.parametrize("shape", [(0, 4, 4, 1), (4, 4, 1), (2, 0, 4, 1)])
def test_grid_has_images(shape):
    with pytest.raises(ValueError, match=re.escape(f"images must be [N, H, W, C], none of them 0, got {list(shape)}")):
        image_grid(np.zeros(shape))


@pytest.mark.parametrize("images", [None, "x", np.zeros((1, 4, 4, 1), complex)], ids=["none", "text", "complex"])
def test_what_is_no_image_is_refused(images):
    with pytest.raises(TypeError, match=r"images must be uint8 or numbers in \[0, 1\], got "):
        image_grid(images)


def test_pixels_that_are_no_number_are_black():
    """With no warning: a run that diverges saves its samples before it is stopped."""
    grid = image_grid(np.array([np.nan, np.inf, -np.inf, 0.5]).reshape(1, 2, 2, 1), 1, 1)
    assert grid[2:-2, 2:-2].ravel().tolist() == [0, 255, 0, 128]


def test_incomplete_row_stays_white():
    assert (image_grid(np.zeros((3, 2, 2, 1)), 2)[24:, 24:] == 255).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_png_holds_the_grid(channels, mode, tmp_path):
    images = np.random.default_rng(0).random((4, 5, 6, channels))
    save_grid(tmp_path / "grid.png", images, 2)
    with Image.open(tmp_path / "grid.png") as png:
        assert png.mode == mode
        np.testing.assert_array_equal(np.asarray(png).reshape(image_grid(images, 2).shape), image_grid(images, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_png_of_two_channels_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 or 3 channels, got 2"):
        save_grid(tmp_path / "grid.png", np.zeros((1, 2, 2, 2)))


def test_labels_stand_above_images_and_beside_rows():
    """Nothing is drawn over an image, and a row without labels has no space for them."""
    images = np.random.default_rng(0).random((6, 28, 28, 1))
    grid, bare = labelled_grid(images, 3, ["17", "18", "19", "", "", ""], ["dog", "cat"]), image_grid(images, 3)
    margin = grid.shape[1] - bare.shape[1]
    assert margin > 20
    assert grid.shape[0] == bare.shape[0] + 18
    assert (grid[18:][8:, margin:] == bare[8:]).all()
    above, beside = grid[:26, margin:], grid[26:, :margin]
    for i in range(3):
        assert above[:, 8 + i * 120 :][:, :112].min() == 0
    for part in (beside[:112], beside[120:232]):
        assert part.min() == 0
    assert (beside[112:120] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_images_grow_until_labels_have_room(channels):
    grid = labelled_grid(np.zeros((2, 4, 4, channels)), 2, ["2147483646", "2147483647"])
    dark = (grid[: grid.shape[0] // 4] < 128).any((0, 2))  # above the images
    half = len(dark) // 2
    assert dark[:half].any() and dark[half:].any()
    assert not dark[half - 2 : half + 2].any()


def test_title_stands_above_a_picture():
    pixels = np.full((40, 200, 3), 7, np.uint8)
    titled = with_title(pixels, "step 4,500")
    assert (titled[-40:] == pixels).all()
    assert titled[:-40].min() == 0
    assert titled.shape[1:] == (200, 3)


@pytest.mark.parametrize("width", [104, 200])
def test_title_is_not_cut(width):
    """Where it is wider than the picture, its letters are smaller: its last one does not reach the edge."""
    above = with_title(np.full((20, width, 1), 7, np.uint8), "2147483647 to 2147483646 WW")[:-20, :, 0]
    dark = np.flatnonzero((above < 128).any(0))
    assert dark[0] >= 4
    assert dark[-1] <= width - 4
    assert above.shape[0] == 26


def test_ways_between_long_names_have_two_lines():
    """All of them, so that the frames have one size; short ones stay in one."""
    frames = np.zeros((2, 3, 28, 28, 1), np.uint8)
    one, two = (
        way_pictures(frames, marks, labelled=True)
        for marks in (["3", "4", "5"], ["3", "2147483646 Great White S...", "2147483647 Tyrannosaurus..."])
    )
    (low,), (high,) = ({frame.shape for frame in each} for each in (one, two))
    assert high == (low[0] + 18, *low[1:])
    second = two[-1][26:44]
    assert second.min() == 0
    assert two[-1][:, -4:].min() == 255


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_each_image_is_a_file(channels, mode, tmp_path):
    images = np.random.default_rng(0).random((3, 5, 6, channels))
    save_each(tmp_path / "new", ["a", "b", "c"], images)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.png", "b.png", "c.png"]
    for name, image in zip("abc", images, strict=True):
        with Image.open(tmp_path / "new" / f"{name}.png") as png:
            assert (png.mode, png.size) == (mode, (6, 5))
            np.testing.assert_array_equal(np.asarray(png).reshape(5, 6, -1), np.rint(image * 255))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((1, 8, 8, 1), -1.0), "got -1 to 0: add 1 and divide by 2"),
        (np.full((1, 8, 8, 1), 200.0, np.float32), "got 0 to 200: divide by 255, or pass uint8"),
        (np.linspace(-5, 5, 64).reshape(1, 8, 8, 1), "got -5 to 5: scale them so that black is 0 and white is 1"),
    ],
)
def test_images_of_other_ranges_are_refused(images, message, tmp_path):
    with pytest.raises(ValueError, match=rf"images must be uint8 or in \[0, 1\], {message}"):
        save_grid(tmp_path / "a.png", images)
    assert not (tmp_path / "a.png").exists()
    save_grid(tmp_path / "a.png", np.array([-0.05, 1.05, np.nan, 0.5]).reshape(1, 2, 2, 1))


def test_pixels_of_a_grid_are_counted():
    grid = image_grid(np.zeros((7, 5, 6, 1)), 3)
    assert 0 < grid.shape[0] * grid.shape[1] - grid_pixels((5, 6, 1), 7, 3) == 8 * (grid.shape[0] + grid.shape[1] - 8)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3)])
def test_grid_is_taken_apart(shape):
    images = np.random.default_rng(0).integers(0, 256, (10, *shape), np.uint8)
    grid = image_grid(images)
    np.testing.assert_array_equal(grid_images(grid, shape, 10), images)
    for other, n in ((shape, 13), ((shape[0] - 1, *shape[1:]), 10), ((*shape[:2], 4 - shape[2]), 10)):
        with pytest.raises(ValueError, match="is no grid of"):
            grid_images(grid, other, n)
