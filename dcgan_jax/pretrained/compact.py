"""The weights of a generator with classes in fewer numbers: those of an equal generator, without what is known of them.

The generator's dense layer takes noise and the learned vector of a class, and batch normalisation follows. Three
changes keep what the two compute, in inference and in training, but for roundings:

- The vectors become those of a basis, and the rows of the kernel that they meet the products of both: with ten
  classes ten rows, and not 50.
- The product of class 0 goes from all the classes to the mean: nine rows.
- So does the bias, which batch normalisation subtracts again: none.

With ten classes and 12,544 units 2,494,593 numbers are left of 3,021,941: 4.99 MB in float16, and not 6.04.
"""

from collections.abc import Mapping

import numpy as np

from dcgan_jax.models import EMBEDDING

_KERNEL = "generator/params/dense/kernel"
_BIAS = "generator/params/dense/bias"
_VECTORS = "generator/params/embedding/embedding"
_MEAN = "generator/batch_stats/norm_0/mean"


def compact(arrays: Mapping[str, np.ndarray], latent_size: int) -> dict[str, np.ndarray]:
    """The arrays of an equal generator, without its vectors and its first bias, and with a kernel of fewer rows.

    Args:
      arrays: of a `dcgan_jax.Generator` with classes, named as `dcgan_jax.interop.export_safetensors` names them.
      latent_size: dimensions of its noise.

    Returns:
      Arrays of the same names and types, but for those left out; the kernel is [latent_size + classes - 1, units].
    """
    kernel, vectors = arrays[_KERNEL].astype(np.float64), arrays[_VECTORS].astype(np.float64)
    products = vectors @ kernel[latent_size:]  # [classes, units]
    mean = arrays[_MEAN] - arrays[_BIAS].astype(np.float64) - products[0]
    changed = {_KERNEL: np.concatenate([kernel[:latent_size], products[1:] - products[0]]), _MEAN: mean}
    kept = {name: array for name, array in arrays.items() if name not in (_BIAS, _VECTORS)}
    return kept | {name: array.astype(arrays[name].dtype) for name, array in changed.items()}


def expand(arrays: Mapping[str, np.ndarray], classes: int) -> dict[str, np.ndarray]:
    """All arrays of the generator that `compact` has left some of; ``classes`` of them, at most 51.

    ``compact(expand(arrays, classes), latent_size)`` are ``arrays``, to the bit.
    """
    kernel = arrays[_KERNEL]
    rows = EMBEDDING - (classes - 1)  # whose numbers of the vectors are 0
    return {
        **arrays,
        _KERNEL: np.pad(kernel, [(0, rows), (0, 0)]),
        _BIAS: np.zeros(kernel.shape[1], kernel.dtype),
        _VECTORS: np.eye(classes, EMBEDDING, -1, kernel.dtype),  # class 0 is 0, class 1 the first of the basis
    }
