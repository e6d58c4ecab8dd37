"""Ask for a data set that would be downloaded, and print whether that imported TensorFlow.

    load_without_tensorflow.py DATA_DIR

With ``http_proxy`` set to an address that nothing listens on, the download fails.
"""

import sys

from dcgan_jax.data import DatasetError, load_dataset

try:
    load_dataset("fashion_mnist", data_dir=sys.argv[1])
except DatasetError:
    print("reported,", "tensorflow" in sys.modules)
