"""Read the data set NAME that TFDS prepared in DATA_DIR; print its number of images, and if TensorFlow was imported."""

import sys

from dcgan_jax.data import load_data

print(f"{len(load_data(sys.argv[1], data_dir=sys.argv[2]).images)}, {'tensorflow' in sys.modules}")
