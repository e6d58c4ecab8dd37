"""The order of an array's axes: told, said where it could be another, or refused with what helps."""

import struct

import numpy as np
import pytest
from helpers import run_cli

from dcgan_jax.data import DatasetError, load_data, parse_layout
from dcgan_jax.data.layouts import to_nhwc

RANDOM = np.random.default_rng(0)


def discs(n, height, width, channels):
    """Images [N, H, W, C] of a disc each, whose neighbouring pixels are alike."""
    y, x = np.mgrid[:height, :width]
    images = np.zeros((n, height, width, channels), np.uint8)
    for image in images:
        centre, radius = RANDOM.uniform(0.25, 0.75, 2) * (height, width), RANDOM.uniform(3, 8)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        image[inside] = RANDOM.integers(100, 256, channels)
    return images


def ordered(images, layout):
    """Images [N, H, W, C] in another order; without a C their channel is left out."""
    if "C" not in layout:
        return images[..., 0].transpose(["NHW".index(letter) for letter in layout])
    return images.transpose(["NHWC".index(letter) for letter in layout])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "HWCN", "CHWN", "CNHW"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [50, 1000])
def test_order_that_can_be_told_is_read(layout, channels, n):
    images = discs(n, 32, 32, channels)
    found, notes = to_nhwc(ordered(images, layout), "a")
    np.testing.assert_array_equal(found, images)
    assert (notes == ()) == (layout == "NHWC")
    assert all(note.startswith(f"axes taken as {layout}: {n:,} images of 32x32x{channels}") for note in notes)


@pytest.mark.parametrize("layout", ["HWN", "HWNC", "NHCW"])
@pytest.mark.parametrize(("n", "height", "width"), [(1000, 28, 28), (30, 28, 28), (100, 48, 64), (1000, 30, 40)])
def test_likely_wrong_order_is_refused_with_help(layout, n, height, width):
    images = discs(n, height, width, 3 if "C" in layout else 1)
    array = ordered(images, layout)
    with pytest.raises(
        DatasetError, match=rf"likely {n:,} images of {height}x{width}x\d by its \w+ axis: save"
    ) as error:
        to_nhwc(array, "a")
    axes = str(error.value).split("transpose(")[1].split(")")[0]
    helped = array.transpose([int(axis) for axis in axes.split(",")])
    np.testing.assert_array_equal(to_nhwc(helped, "a")[0], images)
    assert f"`layout={layout}`" in str(error.value)
    np.testing.assert_array_equal(to_nhwc(array, "a", layout)[0], images)


@pytest.mark.parametrize(("n", "height", "width"), [(100, 112, 92), (40, 48, 32), (56, 64, 48)])
@pytest.mark.parametrize("layout", ["HWN", "HWNC"])
def test_pixels_tell_where_the_shape_does_not(n, height, width, layout):
    images = discs(n, height, width, 3 if "C" in layout else 1)
    np.testing.assert_array_equal(to_nhwc(ordered(images, layout.replace("HWN", "NHW")), "a")[0], images)
    with pytest.raises(DatasetError, match=f"likely {n} images of {height}x{width}"):
        to_nhwc(ordered(images, layout), "a")


def test_long_images_are_images():
    """As spectrograms are, whose shape alone is suspect."""
    images = discs(100, 128, 30, 1)
    np.testing.assert_array_equal(to_nhwc(images[..., 0], "a")[0], images)


@pytest.mark.parametrize("pixels", [785, 112 * 92])
def test_rows_of_no_square_are_refused(pixels):
    """Though there are as many as a square has pixels."""
    rows = RANDOM.integers(0, 256, (400, pixels), np.uint8)
    with pytest.raises(DatasetError, match=f"rows of {pixels:,} numbers, no square images"):
        to_nhwc(rows, "a")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_images_are_not_suspected(n):
    images = discs(n, 16, 16, 1)
    found, notes = to_nhwc(images, "a")
    np.testing.assert_array_equal(found, images)
    assert notes == ()


@pytest.mark.parametrize(("n", "side"), [(60, 28), (28, 28), (784, 30), (900, 28), (400, 64)])
def test_usual_order_is_not_suspected(n, side):
    found, notes = to_nhwc(discs(n, side, side, 1)[..., 0], "a")
    assert found.shape == (n, side, side, 1)
    assert bool(notes) == (n == side)  # by its shape it could be another


def test_order_that_cannot_be_told_is_said():
    noise = RANDOM.integers(0, 256, (28, 28, 28), np.uint8)
    assert to_nhwc(noise, "a")[1] == ("axes taken as NHW: 28 images of 28x28x1; `layout=HWN` says otherwise",)
    _, (note,) = to_nhwc(RANDOM.integers(0, 256, (784, 900), np.uint8), "a")
    assert note == "rows taken as NHW: 784 images of 30x30x1; `layout=HWN` says otherwise"


def test_frames_of_a_film_are_images():
    """They change less from one to the next than from pixel to pixel."""
    (first,) = discs(1, 20, 28, 1)
    film = np.stack([np.roll(first, i // 9, 0) for i in range(26)])
    np.testing.assert_array_equal(to_nhwc(film[..., 0], "a")[0], film)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_rows_of_colours_are_read_as_they_look(layout):
    images = discs(50, 32, 32, 3)
    found, (note,) = to_nhwc(ordered(images, layout).reshape(50, -1), "a")
    np.testing.assert_array_equal(found, images)
    other = {"NHWC": "NCHW", "NCHW": "NHWC"}[layout]
    assert note == f"rows taken as {layout}: 50 images of 32x32x3; `layout={other}` says otherwise"


@pytest.mark.parametrize(("n", "side"), [(300, 28), (900, 28), (10_000, 28), (400, 64)])
def test_rows_of_grey_pixels_are_images(n, side):
    images = discs(n, side, side, 1)
    np.testing.assert_array_equal(to_nhwc(images.reshape(n, -1), "a")[0], images)


@pytest.mark.parametrize("layout", ["HWN", "CHWN", "HWCN"])
@pytest.mark.parametrize("n", [900, 901])
def test_columns_are_read_or_refused(layout, n):
    """Read if they can be nothing else."""
    images = discs(n, 28, 28, 3 if "C" in layout else 1)
    array = ordered(images, layout).reshape(-1, n)
    np.testing.assert_array_equal(to_nhwc(array, "a", layout)[0], images)
    try:
        found, (note,) = to_nhwc(array, "a")
    except DatasetError as error:
        assert n == 900
        assert f"likely 900 images of 28x28x{images.shape[-1]} by its last axis: save array.T" in str(error)
    else:
        np.testing.assert_array_equal(found, images)
        assert note.startswith(f"columns taken as {layout}: ")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((9, 28, 28, 28), "no axis is of 1 or 3 channels: .*volumes as their slices"),
        ((9, 28, 28, 4), "of 4 channels: leave out the transparency"),
        ((9, 4, 28, 28), "of 4 channels: leave out the transparency"),
        ((9, 28, 28, 2), "no axis is of 1 or 3 channels"),
        ((30, 3, 3), "at least one image of at least 4x4"),
    ],
    ids=str,
)
def test_what_no_order_explains_is_refused(shape, message):
    with pytest.raises(DatasetError, match=message):
        to_nhwc(RANDOM.integers(0, 256, shape, np.uint8), "a")


def test_labels_tell_which_axis_counts(tmp_path):
    """And are not blamed for it."""
    noise = RANDOM.integers(0, 256, (48, 64, 100), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=noise, y_train=np.arange(100) % 3)
    with pytest.raises(DatasetError, match="likely 100 images of 48x64x1 by its last axis"):
        load_data(tmp_path / "a.npz")
    assert load_data(tmp_path / "a.npz", layout="HWN").labels.shape == (100,)
    np.savez(tmp_path / "a.npz", x_train=noise, y_train=np.arange(48) % 3)
    assert not any("taken as" in note for note in load_data(tmp_path / "a.npz").notes)


def test_exchanged_sides_can_be_given(tmp_path):
    """As EMNIST's are, in files of every kind."""
    images = discs(50, 28, 28, 1)
    np.save(tmp_path / "a.npy", images.transpose(0, 2, 1, 3)[..., 0])
    np.testing.assert_array_equal(load_data(tmp_path / "a.npy", layout="NWH").images, images)
    np.testing.assert_array_equal(load_data(layout="NWHC").images[:9], load_data().images[:9].transpose(0, 2, 1, 3))


def test_emnist_files_are_said_to_be_turned(tmp_path):
    path = tmp_path / "emnist-letters-train-images-idx3-ubyte"
    images = discs(9, 28, 28, 1)[..., 0]
    path.write_bytes(struct.pack(">4I", 0x803, *images.shape) + images.tobytes())
    (note,) = load_data(path).notes
    assert note.endswith("samples look so too: `layout=NWH` turns them")
    turned = load_data(path, layout="NWH")
    assert turned.notes == ()
    np.testing.assert_array_equal(turned.images[..., 0], images.transpose(0, 2, 1))
    np.save(tmp_path / "emnist-letters.npy", images.reshape(9, -1))  # rows, as in its file of MATLAB
    assert load_data(tmp_path / "emnist-letters.npy").notes == ("rows taken as NHW: 9 images of 28x28x1", note)
    by_row = load_data(tmp_path / "emnist-letters.npy", layout="NWH")
    np.testing.assert_array_equal(by_row.images, turned.images)


@pytest.mark.parametrize("text", ["", "HW", "NHWX", "NNHW", "NHWCC", "N,H,W"])
def test_what_is_no_order_is_refused(text):
    with pytest.raises(ValueError, match="must have the letters N, H, W and perhaps C, each once"):
        parse_layout(text)
    assert parse_layout("nchw") == "NCHW"


def test_order_is_a_flag(one_step_flags, tmp_path, capsys):
    np.save(tmp_path / "a.npy", discs(60, 8, 8, 1)[..., 0].transpose(1, 2, 0))
    flags = one_step_flags
    assert run_cli("train", *flags) == 2
    assert "or add --layout HWN, or --layout NHW if it is 8 images of 8x60x1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run_cli("train", *flags, "--layout", "HWM") == 2
    assert "error: --layout must have the letters N, H, W" in capsys.readouterr().err
    assert run_cli("train", *flags, "--layout", "hwn") == 0


def test_order_is_not_for_pictures(tmp_path):
    with pytest.raises(DatasetError, match="`layout` is for arrays"):
        load_data(tmp_path, layout="NHWC")
