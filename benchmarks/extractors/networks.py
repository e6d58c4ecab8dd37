"""Networks whose features images are measured in, each built unlike `dcgan_jax.evaluation.classifier.DigitClassifier`.

That one has 3x3 convolutions, maxima over 2x2 pixels, and 128 rectified features in front of its answers.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dcgan_jax.layers import conv2d, upsample_conv2d

_INIT = nn.initializers.he_normal()


class StridedClassifier(nn.Module):
    """Digits to classes: [B, 28, 28, 1] in [0, 1] -> logits [B, 10] and features [B, 64] of any sign.

    Three 5x5 convolutions with stride 2 and SiLU, and a dense layer of features without a rectifier: 208,186
    parameters.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = images
        for i, features in enumerate((24, 48, 80), start=1):
            x = nn.silu(_Conv(features, 5, stride=2, name=f"conv_{i}")(x))
            # [B, 14, 14, 24], [B, 7, 7, 48], [B, 4, 4, 80]
        x = nn.Dense(64, name="features")(x.reshape(x.shape[0], -1))
        return nn.Dense(10, name="logits")(nn.silu(x)), x


class Encoder(nn.Module):
    """Images to a code: [B, 28, 28, 1] in [0, 1] -> [B, 64] of any sign, with nothing known about digits.

    Two 5x5 convolutions with stride 2 and a leaky rectifier, and a dense layer: 180,064 parameters.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images
        for i, features in enumerate((24, 48), start=1):
            x = nn.leaky_relu(_Conv(features, 5, stride=2, name=f"conv_{i}")(x), 0.2)
            # [B, 14, 14, 24], [B, 7, 7, 48]
        return nn.Dense(64, name="code")(x.reshape(x.shape[0], -1))


class Decoder(nn.Module):
    """A code [B, 64] to the logits of pixels, [B, 28, 28, 1]: what `Encoder` is trained with."""

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        x = nn.leaky_relu(nn.Dense(7 * 7 * 48, name="dense")(code), 0.2).reshape(-1, 7, 7, 48)
        x = nn.leaky_relu(_Conv(24, 5, upsample=True, name="conv_1")(x), 0.2)  # [B, 14, 14, 24]
        return _Conv(1, 5, upsample=True, name="conv_2")(x)  # [B, 28, 28, 1]


class ResidualClassifier(nn.Module):
    """Digits to classes: [B, 28, 28, 1] in [0, 1] -> logits [B, 10] and features [B, 96], at least -1.

    3x3 convolutions with GELU and means over 2x2 pixels, a residual block at 14x14 and one at 7x7, and a dense layer of
    features with ELU.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = images
        for i, features in enumerate((24, 48), start=1):
            x = _mean_pool(nn.gelu(_Conv(features, 3, name=f"conv_{i}")(x)))
            inner = nn.gelu(_Conv(features, 3, name=f"block_{i}a")(x))
            x = nn.gelu(x + _Conv(features, 3, name=f"block_{i}b")(inner))
            # [B, 14, 14, 24], [B, 7, 7, 48]
        x = _mean_pool(x)  # [B, 3, 3, 48]
        x = nn.elu(nn.Dense(96, name="features")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="logits")(x), x


class _Conv(nn.Module):
    """'Same' convolution with a bias, upsampled by 2 first if asked: [B, H, W, in] -> [B, h, w, features]."""

    features: int
    size: int
    stride: int = 1
    upsample: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", _INIT, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return (upsample_conv2d(x, kernel) if self.upsample else conv2d(x, kernel, self.stride)) + bias


def _mean_pool(x: jax.Array) -> jax.Array:
    """Means over 2x2 pixels; an odd last row or column is left out. [B, H, W, C] -> [B, H // 2, W // 2, C]."""
    b, h, w, c = x.shape
    return jnp.mean(x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))
