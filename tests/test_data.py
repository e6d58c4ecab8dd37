"""The embedded MNIST, the downloads of other data sets from a server in this process, and damaged archives."""

import gzip
import hashlib
import http.server
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from helpers import run_program

from dcgan_jax import load_dataset
from dcgan_jax.data import DatasetError, load_data
from dcgan_jax.data.idx import parse_idx
from dcgan_jax.data.mnist import ARCHIVES, SHA256, read_archive
from dcgan_jax.data.tfds import _CONTENT_SHA256


def archive(content: bytes) -> bytes:
    """Return compressed content without the time, which would change the test's name from second to second."""
    return gzip.compress(content, mtime=0)


def idx_archive(images):
    header = np.array([0x803, *images.shape], ">u4").tobytes()
    return archive(header + images.tobytes())


def test_mnist_is_part_of_the_package():
    train, test = load_dataset("mnist"), load_dataset("mnist", "test")
    assert (train.shape, test.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert train.dtype == test.dtype == np.uint8
    assert (train.min(), train.max()) == (0, 255)
    # The mean and standard deviation that MNIST is usually normalised with.
    assert abs(train.mean() / 255 - 0.1307) < 1e-4
    assert abs(train.std() / 255 - 0.3081) < 1e-4


def test_mnist_loads_in_under_a_second():
    """The best of three times: another process may use the processor."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        load_dataset("mnist")
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1


def test_digests_are_those_of_tfds():
    import tensorflow_datasets as tfds

    recorded = {url.rsplit("/", 1)[-1]: info.checksum for url, info in tfds.builder_cls("mnist").url_infos.items()}
    assert recorded == SHA256


def test_damaged_archive_is_reported(tmp_path):
    name = "t10k-images-idx3-ubyte.gz"
    shutil.copy(ARCHIVES / name, tmp_path / name)
    path, archive = read_archive(name, tmp_path)
    assert path == tmp_path / name
    assert len(parse_idx(archive, path, 3)) == 10_000
    damaged = bytearray(archive)
    damaged[100_000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"t10k-images-idx3-ubyte.gz is damaged.*reinstall dcgan-jax"):
        read_archive(name, tmp_path)
    with pytest.raises(DatasetError, match=r"cannot read .*train-images.*reinstall dcgan-jax"):
        read_archive("train-images-idx3-ubyte.gz", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar",), "unknown data set 'cifar': choose from mnist, fashion_mnist, kmnist, the path of"),
        (("mnist", "validation"), "unknown split 'validation' of mnist: choose from train, test"),
    ],
)
def test_unknown_name_is_reported_with_the_known(arguments, message):
    with pytest.raises(DatasetError) as error:
        load_dataset(*arguments)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        archive(b""),
        archive(b"123"),
        archive(b"\0" * 16),
        idx_archive(np.zeros((2, 3, 4), np.uint8))[:-9],
    ],
    ids=["empty", "not compressed", "of nothing", "of three bytes", "of zeros", "cut off"],
)
def test_other_archives_than_idx_are_refused(content, tmp_path):
    with pytest.raises(DatasetError, match="x.gz"):
        parse_idx(content, tmp_path / "x.gz", 3)


class Site(http.server.BaseHTTPRequestHandler):
    """A server of one archive."""

    content = idx_archive(np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8))
    status = 200
    requests = 0

    def do_GET(self):
        type(self).requests += 1
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """Serve an archive as KMNIST's; TFDS then has its address, size and digest."""
    import tensorflow_datasets as tfds

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    handler = type("Handler", (Site,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/kmnist/train-images-idx3-ubyte.gz"
        digest = hashlib.sha256(Site.content).hexdigest()
        info = tfds.download.checksums.UrlInfo(
            size=tfds.core.utils.Size(len(Site.content)),
            checksum=digest,
            filename="train-images-idx3-ubyte.gz",
        )
        monkeypatch.setattr(tfds.builder_cls("kmnist"), "url_infos", {url: info})
        yield handler
        server.shutdown()
        thread.join()


def test_archive_is_downloaded_once(site, tmp_path):
    first = load_dataset("kmnist", data_dir=tmp_path)
    assert first.shape == (7, 28, 28, 1)
    requests = site.requests
    assert requests > 0
    np.testing.assert_array_equal(load_dataset("kmnist", data_dir=tmp_path), first)
    assert site.requests == requests


def test_damaged_download_is_reported(site, tmp_path):
    load_dataset("kmnist", data_dir=tmp_path)
    (archive,) = [p for p in tmp_path.rglob("*.gz") if p.is_file()]
    content = bytearray(archive.read_bytes())
    content[50] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match="damaged.*delete it"):
        load_dataset("kmnist", data_dir=tmp_path)


def test_download_of_other_content_is_refused(site, tmp_path):
    site.content = Site.content[:-1] + b"x"
    with pytest.raises(DatasetError, match="cannot download"):
        load_dataset("kmnist", data_dir=tmp_path)


def test_refusing_server_is_reported_at_once(site, tmp_path):
    site.status = 503
    began = time.perf_counter()
    with pytest.raises(DatasetError, match="the server answered 503"):
        load_dataset("kmnist", data_dir=tmp_path)
    assert time.perf_counter() - began < 5


def test_archive_placed_by_hand_is_verified(site, tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    by_hand = manual / "train-images-idx3-ubyte.gz"
    by_hand.write_bytes(Site.content)
    assert load_dataset("kmnist", data_dir=tmp_path).shape == (7, 28, 28, 1)
    assert site.requests == 0
    by_hand.write_bytes(Site.content[:-1])
    with pytest.raises(DatasetError, match=r"manual/train-images-idx3-ubyte.gz is damaged or another file"):
        load_dataset("kmnist", data_dir=tmp_path)


def test_same_content_in_another_gzip_is_accepted(tmp_path, monkeypatch):
    """As Debian packages Fashion-MNIST; any other content is refused."""
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    content = gzip.decompress(idx_archive(images))
    name = ("fashion_mnist", "train-images-idx3-ubyte.gz")
    monkeypatch.setitem(_CONTENT_SHA256, name, hashlib.sha256(content).hexdigest())
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    for level in (1, 9):
        (manual / name[1]).write_bytes(gzip.compress(content, level))
        np.testing.assert_array_equal(load_dataset("fashion_mnist", data_dir=tmp_path)[..., 0], images)
    for other in (gzip.compress(content[:-1] + b"x"), b"no gzip"):
        (manual / name[1]).write_bytes(other)
        with pytest.raises(DatasetError, match="is damaged or another file"):
            load_dataset("fashion_mnist", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
@pytest.mark.parametrize("network", ["refusing", "silent"])
def test_no_network_is_reported_within_5_seconds(name, network, tmp_path, monkeypatch):
    """With what to do instead: place the archive by hand, or use MNIST."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        if network == "silent":
            proxy.listen()  # connections are accepted and never answered
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        began = time.perf_counter()
        with pytest.raises(DatasetError) as error:
            load_dataset(name, data_dir=tmp_path)
        assert time.perf_counter() - began < 5
    message = str(error.value)
    assert "train-images-idx3-ubyte.gz" in message
    assert str(tmp_path / "downloads" / "manual") in message
    assert "or use mnist, which needs no network" in message
    assert "\n" not in message


def test_tensorflow_is_not_imported(tmp_path):
    """In a process of its own: another test's packages may have imported it."""
    out = run_program("load_without_tensorflow.py", tmp_path, http_proxy="http://127.0.0.1:9")
    assert out.strip() == "reported, False"


@pytest.fixture
def toys():
    """A data set that TFDS knows, of six pictures of three classes, and what is in it."""
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), np.uint8)

    class Toys(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        url_infos = None

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=(8, 12, 3), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=["ball", "doll", "kite"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, image in enumerate(images):
                yield i, {"image": image, "label": [0, 2, 0, 0, 2, 2][i]}

    yield Toys, images
    tfds.core.registered._DATASET_REGISTRY.pop("toys", None)


def test_prepared_data_set_of_tfds_is_read(toys, tmp_path):
    """Any image classification set in array_record, with the names of its classes, without TensorFlow."""
    builder, images = toys
    builder(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    dataset = load_data("toys", data_dir=tmp_path)
    assert dataset.classes == ("ball", "kite")  # none is a doll
    found = sorted(zip(dataset.labels.tolist(), map(bytes, dataset.images), strict=True))
    assert found == sorted(zip([0, 1, 0, 0, 1, 1], map(bytes, images), strict=True))
    with pytest.raises(DatasetError, match="toys has no split test: it has train"):
        load_data("toys", "test", data_dir=tmp_path)
    for path in tmp_path.rglob("*.array_record*"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DatasetError, match="cannot read toys in .*: prepare it with file_format='array_record'"):
        load_data("toys", data_dir=tmp_path)


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
