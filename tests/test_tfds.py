"""Data sets that TensorFlow Datasets prepares: which of those on disk is read, in which formats, and damaged ones."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers import run_program
from tensorboardX.record_writer import RecordWriter

from dcgan_jax.data import DatasetError, load_data
from dcgan_jax.data.tfrecord import read_records

LABELS = [0, 2, 0, 0, 2, 2]


@pytest.fixture
def toys():
    """A data set that TFDS knows, of six pictures of three classes, and what is in it."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), np.uint8)

    class Toys(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        url_infos = None
        dtype = np.uint8
        labels = LABELS

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=(8, 12, 3), dtype=self.dtype),
                "label": tfds.features.ClassLabel(names=["ball", "doll", "kite"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, image in enumerate(images):
                yield i, {"image": self.changed(image), "label": self.labels[i]}

        def changed(self, image):
            """An image that says of which configuration or version it is."""
            mark = len(self.builder_config.name) if self.builder_config else self.version.major
            return (image if mark == 1 else np.where(image < 128, 255, mark)).astype(self.dtype)

    yield Toys, images
    forget()


@pytest.fixture
def configured(toys):
    """`toys` in the configurations ``red``, the default, and ``yellow``, whose images are 3 and 6."""
    builder = toys[0]
    builder.BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("red", "yellow")]
    return builder


def forget():
    tfds.core.registered._DATASET_REGISTRY.pop("toys", None)


def prepare(builder, data_dir, file_format="array_record", **settings):
    builder(data_dir=data_dir, file_format=file_format, **settings).download_and_prepare()


def value(name, data_dir):
    """What every byte of the images is that is not white."""
    found, white = np.unique(load_data(name, data_dir=data_dir).images)
    assert white == 255
    return found


def check_toys(data_dir, images):
    dataset = load_data("toys", data_dir=data_dir)
    assert dataset.classes == ("ball", "kite")  # none is a doll
    found = sorted(zip(dataset.labels.tolist(), map(bytes, dataset.images), strict=True))
    assert found == sorted(zip([0, 1, 0, 0, 1, 1], map(bytes, images), strict=True))


@pytest.mark.parametrize(("name", "transposed"), [("emnist/letters", True), ("mnist_corrupted/letters", False)])
def test_transposed_images_are_noted(name, transposed, toys, tmp_path):
    """EMNIST's authors store them so, and TFDS does not turn them."""
    builder, images = toys
    prepare(builder, tmp_path)
    (tmp_path / name).parent.mkdir()
    (tmp_path / "toys").rename(tmp_path / name)
    dataset = load_data(name, data_dir=tmp_path)
    assert len(dataset.images) == len(images)
    assert (dataset.altered, bool(dataset.notes)) == ((), transposed)
    if transposed:
        assert dataset.notes[0].endswith("samples look so too: `layout=NWHC` turns them")


def test_prepared_data_set_of_tfds_is_read(toys, tmp_path):
    """Any image classification set in array_record, with the names of its classes, without TensorFlow."""
    builder, images = toys
    prepare(builder, tmp_path)
    check_toys(tmp_path, images)
    with pytest.raises(DatasetError, match="toys has no split test: it has train"):
        load_data("toys", "test", data_dir=tmp_path)
    for path in tmp_path.rglob("*.array_record*"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DatasetError, match=r"cannot read toys in .*1.0.0 \(.*\): move that folder away and try again"):
        load_data("toys", data_dir=tmp_path)


def test_tfrecord_set_is_read(toys, tmp_path):
    """The format of `tfds.load`; a byte that has changed in it is noticed."""
    pytest.importorskip("tensorflow")
    builder, images = toys
    prepare(builder, tmp_path, "tfrecord")
    check_toys(tmp_path, images)
    (path,) = tmp_path.rglob("*.tfrecord*")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(bytes(images[3, 4, 5]), bytes(255 - images[3, 4, 5])))
    with pytest.raises(DatasetError, match=r"cannot read toys in .*1.0.0 \(toys-train.tfrecord.* is damaged\): move"):
        load_data("toys", data_dir=tmp_path)
    path.write_bytes(whole[: 12 + int.from_bytes(whole[:8], "little") + 4])  # the first record
    with pytest.raises(DatasetError, match="cannot read toys in .* is shorter"):
        load_data("toys", data_dir=tmp_path)


def test_tfrecord_set_is_read_without_tensorflow(toys, tmp_path):
    """In a process of its own: another test's packages may have imported it."""
    pytest.importorskip("tensorflow")
    prepare(toys[0], tmp_path, "tfrecord")
    assert run_program("load_prepared.py", "toys", tmp_path).strip() == "6, False"


def test_records_are_those_that_are_written(tmp_path):
    """Of lengths around that of the blocks of which the checksum is made."""
    random = np.random.default_rng(0)
    records = [random.bytes(length) for length in (4, 5, 4095, 4096, 4097, 4100, 8192, 20_000)]
    path = tmp_path / "records"
    writer = RecordWriter(str(path))
    for record in records:
        writer.write(record)
    writer.close()
    assert list(read_records([path, path])) == records * 2
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:7], b"\xff" * 8 + whole[8:], whole[:-9] + b"xxxxx" + whole[-4:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="records is damaged"):
            list(read_records([path]))


def test_latest_version_is_by_number(toys, tmp_path):
    for version in ("3.0.0", "10.0.0"):
        toys[0].VERSION = tfds.core.Version(version)
        prepare(toys[0], tmp_path)
    assert value("toys", tmp_path) == 10


def test_name_without_config_is_the_default(configured, tmp_path):
    """Whatever else is on disk."""
    prepare(configured, tmp_path, config="yellow")
    assert value("toys", tmp_path) == 3
    assert value("toys/yellow", tmp_path) == 6
    assert value("toys/red", tmp_path) == 3


def test_config_of_an_unknown_builder(configured, tmp_path):
    """Of one configuration it is that, of several the one that is named."""
    prepare(configured, tmp_path, config="yellow")
    forget()
    (tmp_path / "toys/.config/metadata.json").unlink()  # which older versions of TFDS do not write
    assert value("toys", tmp_path) == value("toys/yellow", tmp_path) == 6
    prepare(configured, tmp_path, config="red")
    (tmp_path / "toys/.config/metadata.json").unlink()
    with pytest.raises(DatasetError, match="toys has 2 configurations in .*: choose from toys/red, toys/yellow"):
        load_data("toys", data_dir=tmp_path)
    assert value("toys/red", tmp_path) == 3
    with pytest.raises(DatasetError, match="unknown data set 'toys/blue'"):
        load_data("toys/blue", data_dir=tmp_path)


def test_images_of_16_bits_are_refused(toys, tmp_path):
    """They would be read modulo 256."""
    toys[0].dtype = np.uint16
    prepare(toys[0], tmp_path)
    with pytest.raises(DatasetError, match="toys is no set of images of one size, .* of 8 bits"):
        load_data("toys", data_dir=tmp_path)


def test_unpublished_labels_are_none(toys, tmp_path):
    """TFDS has -1 for them, which is no class."""
    toys[0].labels = [-1] * 6
    prepare(toys[0], tmp_path)
    assert load_data("toys", data_dir=tmp_path).labels is None


def test_data_set_of_tfds_is_prepared_when_it_is_used(toys, tmp_path, capsys):
    for _ in range(2):
        assert load_data("toys", data_dir=tmp_path).images.shape == (6, 8, 12, 3)
    assert capsys.readouterr().out == f"toys: downloaded and prepared in {tmp_path}, once\n"


@pytest.mark.parametrize("tensorflow", [True, False])
def test_data_set_that_cannot_be_prepared_is_one_line(tensorflow, toys, tmp_path, monkeypatch):
    def fail(*_):
        raise ImportError("no decoder of pictures\nand more")

    monkeypatch.setattr(toys[0], "_generate_examples", fail)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: tensorflow or None)
    advice = "try again" if tensorflow else "most data sets need TensorFlow.*dcgan-jax.tfds."
    with pytest.raises(DatasetError, match=rf"cannot prepare toys in .* \(no decoder of pictures\): {advice}"):
        load_data("toys", data_dir=tmp_path)


def test_unreachable_tfds_set_is_one_line(tmp_path, monkeypatch):
    """Neither a large download nor a wait of minutes comes before the error."""
    monkeypatch.setattr("dcgan_jax.data.tfds._unreachable", lambda url: "no answer")
    with pytest.raises(DatasetError, match=r"cannot download https://.*cifar.* \(no answer\): connect to the network"):
        load_data("cifar10", data_dir=tmp_path)
    with pytest.raises(DatasetError, match="oxford_flowers102 is no set of images of one size"):
        load_data("oxford_flowers102", data_dir=tmp_path)
    for unknown in ("emnist/nope", "cats", "huggingface:cats", "no name"):
        with pytest.raises(DatasetError, match="unknown data set"):
            load_data(unknown, data_dir=tmp_path)
    assert not any(tmp_path.iterdir())
