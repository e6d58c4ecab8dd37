"""Grids of images, as arrays and as PNG files."""

import numpy as np
import pytest
from PIL import Image

from dcgan_jax import save_grid
from dcgan_jax.images import image_grid


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
