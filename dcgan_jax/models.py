"""Generator and discriminator as Flax Linen modules.

The architecture is that of R. Atienza's "GAN by Example using Keras on Tensorflow Backend"
(dcgan_mnist.py). Both modules are pure through ``init`` and ``apply``::

    variables = Generator().init(key, z)
    images = Generator().apply(variables, z)
    images, updates = Generator().apply(
        variables, z, train=True, rngs={"dropout": key}, mutable=["batch_stats"])

Parameters are initialised as in Keras: kernels Glorot-uniform, biases zero. All kernels have the canonical 5x5 shape
[5, 5, in, out], whichever implementation computes the convolution.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.layers import conv2d, dropout, upsample_conv2d
from dcgan_jax.types import Images, Labels, Logits, Maps, NewMaps, Noise

DTYPES = ("float32", "bfloat16")  # that the networks can compute in

_ZEROS = nn.initializers.zeros_init()
_KERNEL_SIZE = 5  # the tutorial's, in every convolution
_KERNEL_INIT = nn.initializers.glorot_uniform()
EMBEDDING = 50  # size of the class vector that is joined to the noise
_WIDEST = 8  # times `width`, the most channels of a map; beyond it the deepest layers would hold nearly all parameters


class Conv(nn.Module):
    """5x5 'same' convolution with a bias: [B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), features].

    With ``upsample`` the images are first upsampled by 2 with nearest neighbours: -> [B, 2 H, 2 W, features].
    """

    features: int
    stride: int = 1
    upsample: bool = False
    dtype: DTypeLike | None = None
    plain: bool = False

    @nn.compact
    def __call__(self, x: Maps) -> NewMaps:
        shape = (_KERNEL_SIZE, _KERNEL_SIZE, x.shape[-1], self.features)
        kernel = self.param("kernel", _KERNEL_INIT, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, narrow = promote_dtype(x, kernel, dtype=self.dtype)
        if self.upsample:
            x = upsample_conv2d(x, kernel.astype(at_least_float32(x.dtype)), self.plain)
        else:
            x = conv2d(x, narrow, self.stride, self.plain)
        return _add_bias(x, bias)


class Generator(nn.Module):
    """Noise to images: ``[B, latent] -> [B, *image_shape]``, each pixel in [0, 1].

    A dense layer makes the smallest map. Each of the convolutions after it doubles the size and halves the channels:
    twice for images up to 32 pixels, and once more for each doubling beyond (the rule of Radford et al.,
    arXiv:1511.06434), with at most 8 times ``width`` channels. The maps have the same sizes as the discriminator's.

    With the defaults and 100 latent dimensions it has 2,394,241 parameters, 25,536 of them batch statistics.
    With ``train=True`` batch normalisation uses the batch's own statistics and updates the moving ones
    (pass ``mutable=["batch_stats"]``), and dropout is on (pass a ``dropout`` rng).

    Attributes:
      image_shape: height, width (multiples of 4) and channels of the images.
      dropout_rate: rate of the dropout after the dense layer.
      dtype: what the layers compute in; that of their inputs if None. Parameters, statistics and images stay float32.
      plain: compute with XLA's own convolutions on every platform, which converters to other formats need.
      width: channels of the last map but two, even; all maps scale with it. The tutorial's 64.
      classes: the number of classes, for images by class: ``labels`` [B] from 0 to ``classes`` - 1, each with a learned
        vector that is joined to the noise (Mirza and Osindero, arXiv:1411.1784); None takes no labels.

    Raises:
      ValueError: if the image's height or width is not a multiple of 4, or ``width`` is odd or below 2.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    dropout_rate: float = 0.4
    dtype: DTypeLike | None = None
    plain: bool = False
    classes: int | None = None
    width: int = 64

    @nn.compact
    def __call__(self, z: Noise, train: bool = False, labels: Labels | None = None) -> Images:
        height, width, channels = self.image_shape
        if height < 4 or width < 4 or height % 4 or width % 4:
            raise ValueError(f"image height and width must be multiples of 4, got {self.image_shape}")
        if self.width < 2 or self.width % 2:
            raise ValueError(f"the generator's width must be an even number of at least 2, got {self.width}")

        def normalise(name: str, x: jax.Array) -> jax.Array:
            # The tutorial's momentum (0.9) and Keras's default epsilon (1e-3).
            norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3, dtype=self.dtype, name=name)
            return nn.relu(norm(x))

        def conv(name: str, features: int, upsample: bool = False) -> Conv:
            return Conv(features, upsample=upsample, dtype=self.dtype, plain=self.plain, name=name)

        if self.classes is not None:
            embedding = nn.Embed(self.classes, EMBEDDING, dtype=self.dtype, name="embedding")
            z = jnp.concatenate([z, embedding(_checked(labels)).astype(z.dtype)], axis=-1)  # [B, latent + 50]
        stages = doublings(height, width)
        h, w, features = -(-height // 2**stages), -(-width // 2**stages), self.width * min(2**stages, _WIDEST)
        x = nn.Dense(h * w * features, dtype=self.dtype, kernel_init=_KERNEL_INIT, name="dense")(z)
        x = normalise("norm_0", x)  # statistics of each unit, not of each channel
        x = x.reshape(-1, h, w, features)  # [B, 7, 7, 256]
        if train:
            x = dropout(x, self.dropout_rate, self.make_rng("dropout"))
        for i in range(1, stages + 1):
            scale = 2 ** (stages - i)
            x = conv(f"conv_{i}", self.width * min(scale, _WIDEST), upsample=True)(x)
            x = x[:, : -(-height // scale), : -(-width // scale)]  # [B, 14, 14, 128], [B, 28, 28, 64]
            x = normalise(f"norm_{i}", x)
        x = normalise(f"norm_{stages + 1}", conv(f"conv_{stages + 1}", self.width // 2)(x))  # [B, 28, 28, 32]
        x = conv(f"conv_{stages + 2}", channels)(x)  # [B, 28, 28, 1]
        return nn.sigmoid(x.astype(at_least_float32(x.dtype)))


class Discriminator(nn.Module):
    """Images to logits: [B, H, W, C] in [0, 1] -> [B, 1], above 0 where the image looks real.

    Convolutions with stride 2 halve the image to at most 4 pixels: three for images up to 32 pixels, and one more for
    each doubling beyond, each with twice the channels of the one before, up to 8 times ``width``. One with stride 1
    follows.

    With 28x28x1 images it has 4,311,553 parameters. It has no batch normalisation; with ``train=True``
    dropout is on (pass a ``dropout`` rng).

    Attributes:
      dropout_rate: rate of the dropout after each convolution.
      dtype: what the layers compute in; that of their inputs if None. Parameters stay float32.
      plain: as in `Generator`.
      width: channels of the first map; all maps scale with it. The tutorial's 64.
      classes: the number of classes, for logits that say whether an image looks real and of its class in ``labels``
        [B]. The logit is increased by the product of a learned class vector and the mean of the last map over its
        pixels (the projection of Miyato and Koyama, arXiv:1802.05637, with a mean in place of their sum: with the sum,
        a step of Muon moves the logit 16 times as far, and the discriminator learned less); None takes no labels.
    """

    dropout_rate: float = 0.4
    dtype: DTypeLike | None = None
    plain: bool = False
    classes: int | None = None
    width: int = 64

    @nn.compact
    def __call__(self, images: Images, train: bool = False, labels: Labels | None = None) -> Logits:
        x = images
        halvings = doublings(*images.shape[1:3]) + 1
        widest = self.width * _WIDEST
        layers = [(self.width * min(2**i, _WIDEST), 2) for i in range(halvings)] + [(widest, 1)]
        for i, (features, stride) in enumerate(layers, start=1):
            conv = Conv(features, stride, dtype=self.dtype, plain=self.plain, name=f"conv_{i}")
            x = nn.leaky_relu(conv(x), negative_slope=0.2)
            if train:
                x = dropout(x, self.dropout_rate, self.make_rng("dropout"))
            # [B, 14, 14, 64], [B, 7, 7, 128], [B, 4, 4, 256], [B, 4, 4, 512]
        maps = x
        x = x.reshape(x.shape[0], -1)  # [B, 8192], by row, column, channel
        logits = nn.Dense(1, dtype=self.dtype, kernel_init=_KERNEL_INIT, name="dense")(x)  # [B, 1]
        if self.classes is not None:
            embed = nn.Embed(self.classes, widest, dtype=self.dtype, embedding_init=_ZEROS, name="class_vectors")
            logits += (embed(_checked(labels)) * maps.mean((1, 2))).sum(-1, keepdims=True)
        return logits


def _add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """[..., C] of any dtype and [C] -> the sum in the dtype of ``x``, computed in at least float32.

    So is the gradient of the bias: accumulated in bfloat16, as XLA would on a CPU, a sum of many numbers stagnates.
    """
    return (x.astype(at_least_float32(x.dtype)) + bias[(None,) * (x.ndim - 1)]).astype(x.dtype)


def _checked(labels: Labels | None) -> Labels:
    if labels is None:
        raise ValueError("a network with classes needs the labels of its batch")
    return labels


def doublings(height: int, width: int) -> int:
    """How often the generator doubles its smallest map: twice up to 32 pixels, and once more for each doubling beyond.

    Further doublings leave at least 4 pixels on its shorter side.
    """
    n = 2
    while max(height, width) > 8 * 2**n and min(height, width) >= 8 * 2**n:
        n += 1
    return n
