"""What is black and what is white: one rule for arrays and pictures, and nothing that a person would see as black."""

import io
import tarfile

import numpy as np
import pytest
from helpers import run_cli
from PIL import Image

from dcgan_jax.data import DatasetError, load_data, parse_range
from dcgan_jax.data.value_range import known_range

pytestmark = pytest.mark.usefixtures("data_cache")
RAMP = np.linspace(0, 1, 24 * 8 * 8).reshape(24, 8, 8)  # black to white in 24 images


@pytest.fixture(params=["array", "pictures"])
def load(request, tmp_path):
    """`load_data` of images [N, H, W] that are saved in an array, or as so many pictures."""

    def load(images, **options):
        if request.param == "array":
            np.save(tmp_path / "a.npy", images)
            return load_data(tmp_path / "a.npy", **options)
        suffix = ".png" if images.dtype in (np.uint8, np.uint16) else ".tiff"
        (tmp_path / "pictures").mkdir(exist_ok=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "pictures" / f"{i:02}{suffix}")
        return load_data(tmp_path / "pictures", **options)

    return load


def scaled(images, low, high):
    """Images [N, H, W] as bytes [N, H, W, 1] by the definition."""
    return np.rint((np.clip(images.astype(float), low, high) - low) / (high - low) * 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize(
    ("dtype", "highest", "white", "note"),
    [
        (np.uint8, 1, 1, "1 bit, 1 white"),
        (np.uint8, 15, 15, "4 bits, 15 white"),
        (np.uint16, 1023, 1023, "10 bits, 1,023 white"),
        (np.uint16, 1400, 4095, "12 bits, 4,095 white"),
        (np.uint16, 4000, 4095, "12 bits, 4,095 white"),
        (np.int32, 9000, 16383, "14 bits, 16,383 white"),
        (np.int32, 60000, 65535, "16 bits, 65,535 white"),
        (np.float32, 1, 1, ""),
        (np.float32, 200, 255, "[0, 255] taken as black to white"),
        (np.float32, 3000.5, 4095, "12 bits, 4,095 white"),
    ],
)
def test_range_of_a_known_depth_is_said(dtype, highest, white, note, load):
    images = (RAMP * highest).astype(dtype)
    dataset = load(images)
    np.testing.assert_array_equal(dataset.images, scaled(images, 0, white))
    assert note in " ".join(dataset.notes)
    if white not in (1, 255) or dtype == np.uint8:
        assert "`range=LOW,HIGH` says otherwise" in " ".join(dataset.notes)


def test_signed_floats_are_black_to_white(load):
    images = (2 * RAMP - 1).astype(np.float32)
    dataset = load(images)
    np.testing.assert_array_equal(dataset.images, scaled(images, -1, 1))
    assert "[-1, 1] taken as black to white" in " ".join(dataset.notes)


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (
            (RAMP * 16).astype(np.uint8),
            "from 0 to 16, nearly black where 255 is white: add `range=0,16` to make 16 white",
        ),
        ((RAMP * 20).astype(np.uint8), "from 0 to 20, .*`range=0,20`"),
        ((RAMP * 40).astype(np.float32), "from 0 to 40, .*`range=0,40`"),
        ((RAMP * 0.2).astype(np.float32), "from 0 to 0.2, nearly black where 1 is white: add `range=0,0.2`"),
        ((RAMP * 0.4 - 1).astype(np.float32), "from -1 to -0.6, nearly black where 1 is white"),
        (
            (RAMP * 4095 - 1024).astype(np.int32),
            "from -1024 to 3071, .*add `range=-1024,3071` to make the lowest black",
        ),
        ((RAMP - 0.5).astype(np.float32), "from -0.5 to 0.5, .*add `range=-0.5,0.5`"),
        ((RAMP * 1.3).astype(np.float32), "from 0 to 1.3, .*clip them to .0, 1., as `range=0,1` does"),
        ((RAMP * 300 - 20).astype(np.float32), "from -20 to 280, .*clip them to .0, 255., as `range=0,255` does"),
        (np.zeros((24, 8, 8), np.uint8), "all pixels .*: there is nothing to learn"),
        (np.full((24, 8, 8), 900, np.uint16), "all pixels .*: there is nothing to learn"),
    ],
    ids=str,
)
def test_what_would_be_black_is_refused(images, remedy, load):
    """With what would help, which does."""
    with pytest.raises(DatasetError, match=remedy):
        load(images)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_range_that_is_given_is_taken(dtype, load):
    images = (RAMP * 40).astype(dtype)
    dataset = load(images, range=(0, 40))
    np.testing.assert_array_equal(dataset.images, scaled(images, 0, 40))
    dark = load(images, range=(0, 255))  # they are as dark as that
    np.testing.assert_array_equal(dark.images, scaled(images, 0, 255))
    cut = load(images, range=(10, 30))
    np.testing.assert_array_equal(cut.images, scaled(images, 10, 30))
    assert any("cut off at 10 and 30" in note or "outside `range`" in note for note in cut.notes)
    with pytest.raises(DatasetError, match="none inside `range=50,90`|all pixels of its 24 images are black"):
        load(images, range=(50, 90))


def test_one_dark_image_is_as_dark_as_it_is(load):
    """The range is that of all images, and not of each."""
    images = (RAMP * 4095).astype(np.uint16)
    assert load(images).images[0].max() == scaled(images[:1], 0, 4095).max() < 12


@pytest.mark.parametrize("kind", ["float32", "uint16", "uint8"])
def test_both_splits_have_one_range(kind, tmp_path):
    """Test images that are darker than those for training are as dark beside them."""
    train = (RAMP * {"float32": 1.0, "uint16": 4095, "uint8": 15}[kind]).astype(kind)
    np.savez(tmp_path / "a.npz", x_train=train, x_test=train[:12])
    np.testing.assert_array_equal(
        load_data(tmp_path / "a.npz", "test").images, load_data(tmp_path / "a.npz").images[:12]
    )


def as_png(image):
    Image.fromarray(image).save(content := io.BytesIO(), "png")
    return content.getvalue()


def parquet(form):
    def write(path, split, images):
        pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
        pq.write_table(pytest.importorskip("pyarrow").table({"image": form(images)}), path / f"{split}.parquet")

    return write


def arrays(path, split, images):
    (path / split).mkdir()
    for i, image in enumerate(images):
        np.save(path / split / f"{i:02}.npy", image)


def one_array(path, split, images):
    (path / split).mkdir()
    np.save(path / split / "images.npy", images)


def groups(path, split, images):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(path / "a.h5", "a") as file:
        for i, image in enumerate(images):
            file[f"{split}/{i}"] = image


def csv(path, split, images):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    rows = [",".join(map(str, image.ravel())) for image in images]
    (path / f"{split}.csv").write_text("\n".join([",".join(f"pixel{i}" for i in range(64)), *rows]))


def tars(suffix, content):
    def write(path, split, images):
        with tarfile.open(path / f"{split}.tar", "w") as tar:
            for i, image in enumerate(images):
                for name, each in ((f"{i:02}.{suffix}", content(image)), (f"{i:02}.cls", b"0")):
                    info = tarfile.TarInfo(name)
                    info.size = len(each)
                    tar.addfile(info, io.BytesIO(each))

    return write


def as_npy(image):
    np.save(content := io.BytesIO(), image)
    return content.getvalue()


@pytest.mark.parametrize(
    "write",
    [
        parquet(lambda images: images.tolist()),
        parquet(lambda images: list(map(as_png, images))),
        arrays,
        one_array,
        lambda path, split, images: np.save(path / f"owl_{split}.npy", images),
        groups,
        csv,
        tars("png", as_png),
        tars("npy", as_npy),
    ],
    ids=[
        *("lists in Parquet", "pictures in Parquet", "arrays", "array", "sets", "HDF5", "CSV", "tars of pictures"),
        "tars of arrays",
    ],
)
def test_splits_in_several_files_have_one_range(write, tmp_path):
    """Whether the brighter images are those for training or those for testing."""
    both = (RAMP * 4095).round().astype(np.uint16), (RAMP[12:] * 1023).round().astype(np.uint16)
    for name, splits in (("a", ("train", "test")), ("b", ("test", "train"))):
        (path := tmp_path / name).mkdir()
        for split, images in zip(splits, both, strict=True):
            write(path, split, images)
        path = path / "a.h5" if (path / "a.h5").exists() else path
        for split, images in zip(splits, both, strict=True):
            np.testing.assert_array_equal(load_data(path, split).images, scaled(images, 0, 4095))
            own = load_data(path, split, range=(0, 4000)).images
            np.testing.assert_array_equal(own, scaled(images, 0, 4000))


@pytest.mark.parametrize("text", ["1", "1,2,3", "2,1", "1,1", "0,nan", "0,inf", "a,b", ""])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match="must be two numbers LOW,HIGH, such as 0,4095, got"):
        parse_range(text)
    assert parse_range("-1, 1.5") == (-1, 1.5)


def test_drawn_images_may_be_dark():
    """What a generator draws is scored as it is."""
    assert known_range(0, 9, integers=True, what="a", dark=True)[:2] == (0, 15)


def test_range_is_a_flag_and_stays_with_the_run(one_step_flags, tmp_path, capsys):
    np.save(tmp_path / "a.npy", (RAMP * 40).astype(np.int16))
    flags = one_step_flags
    assert run_cli("train", *flags) == 2
    assert "nearly black where 255 is white: add --range 0,40 to make 40 white" in capsys.readouterr().err
    assert run_cli("train", *flags, "--range", "0,40") == 0
    capsys.readouterr()
    flags[flags.index("--steps") + 1] = 2
    assert run_cli("train", *flags, "--range", "0,50", "--resume") == 2
    assert "range 0,40, not 0,50" in capsys.readouterr().err
    assert run_cli("train", *flags, "--resume") == 0
