"""Ends while an iterator of batches is in use, which the interpreter then finalizes."""

import jax
import numpy as np

from dcgan_jax import batches
from dcgan_jax.data import Dataset

images = np.zeros((16, 8, 8, 1), np.uint8)
iterator = batches(Dataset(images), jax.random.key(0), 4)
print(next(iterator)[0].shape)
