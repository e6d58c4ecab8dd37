"""What other libraries read from files, and write to them, is what `load_data` reads: the same pixels and classes."""

import io

import numpy as np
import pytest
from containers import COARSE, IMAGES, KINDS, LABELS, cifar10, cifar100, pictures, webdataset
from PIL import Image

from dcgan_jax.data import load_data

pytestmark = [
    pytest.mark.usefixtures("data_cache"),
    pytest.mark.filterwarnings("ignore"),  # of these libraries, about each other
]


def assert_same(dataset, images, labels, names=None):
    """Images [N, H, W, C] and the numbers of their classes, with their names, as another library has them."""
    np.testing.assert_array_equal(dataset.images, np.stack([np.asarray(image) for image in images]))
    found = [dataset.classes[label] for label in dataset.labels]
    assert found == [names[label] if names else str(label) for label in labels]


@pytest.mark.parametrize("classes", [True, False], ids=["names", "numbers"])
def test_parquet_of_hugging_face(classes, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    label = datasets.ClassLabel(names=[*KINDS]) if classes else datasets.Value("int64")
    features = {"image": datasets.Image(), "label": label}
    columns = {"image": [Image.fromarray(image) for image in IMAGES], "label": LABELS.tolist()}
    written = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    written.to_parquet(tmp_path / "a.parquet")
    names = written.features["label"].names if classes else None
    assert_same(load_data(tmp_path / "a.parquet"), written["image"], written["label"], names)


def test_arrays_in_parquet_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    features = datasets.Features({"image": datasets.Array3D((32, 32, 3), "uint8"), "label": datasets.Value("int64")})
    written = datasets.Dataset.from_dict({"image": IMAGES, "label": LABELS}, features=features)
    written.to_parquet(tmp_path / "a.parquet")
    assert_same(load_data(tmp_path / "a.parquet"), written.with_format("numpy")["image"], written["label"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar10_of_keras(split, folder):
    cifar = pytest.importorskip("keras.src.datasets.cifar", reason="Keras is not installed")
    cifar10(folder)
    names = ["data_batch_1", "data_batch_2"] if split == "train" else ["test_batch"]
    data, labels = zip(*(cifar.load_batch(str(folder / name)) for name in names), strict=True)
    assert_same(load_data(folder, split), np.concatenate(data).transpose(0, 2, 3, 1), np.concatenate(labels), KINDS)


@pytest.mark.parametrize("key", ["fine_labels", "coarse_labels"])
def test_cifar100_of_keras(key, folder):
    cifar = pytest.importorskip("keras.src.datasets.cifar", reason="Keras is not installed")
    cifar100(folder)
    data, labels = cifar.load_batch(str(folder / "train"), label_key=key)
    names = KINDS if key == "fine_labels" else COARSE
    assert_same(load_data(folder, labels=key), data.transpose(0, 2, 3, 1), labels, names)


@pytest.mark.parametrize("train", [True, False], ids=["train", "test"])
@pytest.mark.parametrize("count", [10, 100])
def test_cifar_of_torchvision(count, train, tmp_path):
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    known = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[count]

    class Own(known):  # of these files, whose digests are others
        train_list = [[name, None] for name in (("data_batch_1", "data_batch_2") if count == 10 else ("train",))]
        test_list = [["test_batch" if count == 10 else "test", None]]
        meta = {**known.meta, "md5": None}

    (folder := tmp_path / known.base_folder).mkdir()
    {10: cifar10, 100: cifar100}[count](folder)
    theirs = Own(tmp_path, train=train)
    assert_same(load_data(folder, "train" if train else "test"), theirs.data, theirs.targets, theirs.classes)


def test_svhn_of_torchvision(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    io_ = pytest.importorskip("scipy.io", reason="the extra matlab is not installed")
    digits = np.array([10, 1, 2, 9, 10, 3, 4, 5], np.uint8)[:, None]
    io_.savemat(tmp_path / "train_32x32.mat", {"X": IMAGES.transpose(1, 2, 3, 0), "y": digits})

    class Own(datasets.SVHN):
        split_list = {"train": ["", "train_32x32.mat", None]}

    theirs = Own(tmp_path, split="train")
    assert_same(load_data(tmp_path / "train_32x32.mat"), theirs.data.transpose(0, 2, 3, 1), theirs.labels)


def test_image_folder_of_torchvision(folder):
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    pictures(folder)
    theirs = datasets.ImageFolder(folder)
    assert_same(load_data(folder), [image for image, _ in theirs], theirs.targets, theirs.classes)


def test_image_folders_of_splits_of_torchvision(folder):
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    pictures(folder / "train")
    pictures(folder / "val", range(4))
    for split, name in (("train", "train"), ("test", "val")):
        theirs = datasets.ImageFolder(folder / name)
        assert_same(load_data(folder, split), [image for image, _ in theirs], theirs.targets, theirs.classes)


def test_shards_of_webdataset(tmp_path):
    reader = pytest.importorskip("webdataset", reason="webdataset is not installed")
    path = tmp_path / "train-{000..003}.tar"
    webdataset(path)
    samples = reader.WebDataset(str(path), shardshuffle=False, empty_check=False)
    pictures_, labels = zip(*((each["png"], int(each["cls"])) for each in samples), strict=True)
    assert_same(load_data(path), [Image.open(io.BytesIO(content)) for content in pictures_], labels)


def test_lmdb_of_lsun_by_torchvision(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    library = pytest.importorskip("lmdb", reason="the extra lmdb is not installed")
    environment = library.open(str(tmp_path / "church_outdoor_train_lmdb"), map_size=2**24)
    with environment, environment.begin(write=True) as writer:
        for i, image in enumerate(IMAGES):
            Image.fromarray(image).save(content := io.BytesIO(), "webp", lossless=True)
            writer.put(f"{i:040x}".encode(), content.getvalue())
    ours = load_data(tmp_path / "church_outdoor_train_lmdb").images
    monkeypatch.chdir(tmp_path)  # where it leaves a list of the keys
    theirs = datasets.LSUN(str(tmp_path), classes=["church_outdoor_train"])
    np.testing.assert_array_equal(ours, np.stack([np.asarray(image) for image, _ in theirs]))
