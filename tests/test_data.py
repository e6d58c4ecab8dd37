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
from dcgan_jax.data import DatasetError
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
        (
            ("cifar",),
            "unknown data set 'cifar': choose from mnist, fashion_mnist, kmnist, stacked_mnist, a Parquet or Arrow",
        ),
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
