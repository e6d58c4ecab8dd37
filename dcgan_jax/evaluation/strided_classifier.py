"""A second classifier of another architecture: a FID in the features of one network is only as good as that network.

It differs from `dcgan_jax.evaluation.classifier.DigitClassifier` in kernels, strides, nonlinearities, seed and
augmentation. docs/features.md compares the two on digits with known faults. Its weights ship with the package;
``python -m benchmarks.extractors.train strided``, in the repository, retrains them.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.classifier import ClassifierError, apply_in_batches, parse_weights
from dcgan_jax.files import read_verified
from dcgan_jax.layers import conv2d

WEIGHTS = Path(__file__).parent / "strided.npz"
_SHA256 = "ef0892e8ab71f0b177a3784a124dff671c5ed54a17f56c0fb44fdd6178bafff9"


class StridedClassifier(nn.Module):
    """Digits to classes: [B, 28, 28, 1] in [0, 1] -> logits [B, 10] and features [B, 64] of any sign.

    Three 5x5 convolutions with stride 2 and SiLU, and a linear layer of features: 208,186 parameters.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = images
        for i, features in enumerate((24, 48, 80), start=1):
            x = nn.silu(Conv(features, 5, stride=2, name=f"conv_{i}")(x))
            # [B, 14, 14, 24], [B, 7, 7, 48], [B, 4, 4, 80]
        x = nn.Dense(64, name="features")(x.reshape(x.shape[0], -1))
        return nn.Dense(10, name="logits")(nn.silu(x)), x


class Conv(nn.Module):
    """'Same' convolution with a bias: [B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), features]."""

    features: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return conv2d(x, kernel, self.stride) + bias


def load_strided_classifier(path: Path = WEIGHTS) -> dict[str, Any]:
    """The trained variables of `StridedClassifier` that ship with the package.

    Raises:
      ClassifierError: if the file is missing or damaged.
    """
    return parse_weights(read_verified(path, _SHA256, ClassifierError, "reinstall dcgan-jax"))


@jax_defaults()
def strided_features(images: np.ndarray) -> np.ndarray:
    """Features [N, 64] of images [N, 28, 28, 1], uint8 or in [0, 1], computed in batches.

    Raises:
      ClassifierError: if the package's weights cannot be used.
    """
    return apply_in_batches(StridedClassifier(), load_strided_classifier(), images)[1]
