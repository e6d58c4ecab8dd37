"""What the sources of data sets share."""

from dcgan_jax.errors import UserError

SPLITS = ("train", "test")
# The names of the archives, which Fashion-MNIST and KMNIST have taken over from MNIST.
IMAGES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}


class DatasetError(UserError):
    """A data set cannot be loaded."""
