"""MNIST, embedded in the package. By LeCun, Cortes and Burges, CC BY-SA 3.0."""

from pathlib import Path

from dcgan_jax.data.common import DatasetError
from dcgan_jax.files import read_verified

ARCHIVES = Path(__file__).parent / "mnist_archives"
# As recorded by TFDS in url_checksums/mnist.txt.
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def read_archive(filename: str, archives: Path = ARCHIVES) -> tuple[Path, bytes]:
    """One of MNIST's archives: its path and its verified bytes.

    Raises:
      DatasetError: if it is missing or damaged.
    """
    path = archives / filename
    return path, read_verified(path, SHA256[filename], DatasetError, "reinstall dcgan-jax")
