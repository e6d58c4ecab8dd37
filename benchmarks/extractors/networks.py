"""Networks whose features images are measured in, each built unlike the two classifiers of `dcgan_jax.evaluation`."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dcgan_jax.evaluation.strided_classifier import Conv
from dcgan_jax.layers import upsample_conv2d


class Encoder(nn.Module):
    """Images to a code: [B, 28, 28, 1] in [0, 1] -> [B, 64] of any sign, with nothing known about digits.

    Two 5x5 convolutions with stride 2 and a leaky rectifier, and a dense layer: 180,064 parameters.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images
        for i, features in enumerate((24, 48), start=1):
            x = nn.leaky_relu(Conv(features, 5, stride=2, name=f"conv_{i}")(x), 0.2)
            # [B, 14, 14, 24], [B, 7, 7, 48]
        return nn.Dense(64, name="code")(x.reshape(x.shape[0], -1))


class Decoder(nn.Module):
    """A code [B, 64] to the logits of pixels, [B, 28, 28, 1]: what `Encoder` is trained with."""

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        x = nn.leaky_relu(nn.Dense(7 * 7 * 48, name="dense")(code), 0.2).reshape(-1, 7, 7, 48)
        x = nn.leaky_relu(_UpsampleConv(24, name="conv_1")(x), 0.2)  # [B, 14, 14, 24]
        return _UpsampleConv(1, name="conv_2")(x)  # [B, 28, 28, 1]


class ResidualClassifier(nn.Module):
    """Digits to classes: [B, 28, 28, 1] in [0, 1] -> logits [B, 10] and features [B, 96], at least -1.

    3x3 convolutions with GELU and means over 2x2 pixels, a residual block at 14x14 and one at 7x7, and a dense layer of
    features with ELU.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = images
        for i, features in enumerate((24, 48), start=1):
            x = _mean_pool(nn.gelu(Conv(features, 3, name=f"conv_{i}")(x)))
            inner = nn.gelu(Conv(features, 3, name=f"block_{i}a")(x))
            x = nn.gelu(x + Conv(features, 3, name=f"block_{i}b")(inner))
            # [B, 14, 14, 24], [B, 7, 7, 48]
        x = _mean_pool(x)  # [B, 3, 3, 48]
        x = nn.elu(nn.Dense(96, name="features")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="logits")(x), x


class _UpsampleConv(nn.Module):
    """5x5 convolution with a bias of images that are upsampled by 2: [B, H, W, in] -> [B, 2 H, 2 W, features]."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (5, 5, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return upsample_conv2d(x, kernel) + bias


def _mean_pool(x: jax.Array) -> jax.Array:
    """Means over 2x2 pixels; an odd last row or column is left out. [B, H, W, C] -> [B, H // 2, W // 2, C]."""
    b, h, w, c = x.shape
    return jnp.mean(x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))
