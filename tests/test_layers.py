"""Each layer agrees with its plain formulation: forward and both gradients, on odd and even sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, plain_conv2d, quick_jit

from dcgan_jax.layers import conv2d, dropout, upsample_conv2d

# Both sides sum up to 25 * 64 = 1,600 products in float32, each in its own order: errors of a few units of
# 6e-8, and through the transforms of Winograd's method up to ten times that. 1e-5 is the project's bound for a
# rewriting.
TOLERANCE = 1e-5

SIZES = [(28, 28), (7, 7), (4, 4), (5, 9), (3, 2), (1, 1)]


def plain_upsample_conv2d(x, kernel):
    return plain_conv2d(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), kernel)


def normal(*shape):
    """Drawn by NumPy, with another seed for each shape: JAX would compile a program for each."""
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def assert_same_function(ours, plain, x_shape, kernel_shape):
    x, kernel = normal(*x_shape), normal(*kernel_shape)
    cotangent = normal(*jax.eval_shape(plain, x, kernel).shape)

    @jax.jit
    def values_and_gradients(x, kernel, cotangent):
        each = []
        for f in (ours, plain):
            output, pull = jax.vjp(f, x, kernel)
            each.append((output, *pull(cotangent)))
        return each

    assert_close(*values_and_gradients(x, kernel, cotangent), TOLERANCE)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_conv2d_agrees_with_lax(size, stride):
    assert_same_function(
        lambda x, k: conv2d(x, k, stride),
        lambda x, k: plain_conv2d(x, k, stride),
        (2, *size, 8),
        (5, 5, 8, 6),
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_upsample_conv2d_agrees_with_both_steps(size):
    assert_same_function(upsample_conv2d, plain_upsample_conv2d, (2, *size, 8), (5, 5, 8, 6))


@pytest.mark.parametrize("channels", [(1, 64), (64, 1), (3, 3), (64, 32)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_conv2d_with_few_and_many_channels(channels, stride):
    assert_same_function(
        lambda x, k: conv2d(x, k, stride),
        lambda x, k: plain_conv2d(x, k, stride),
        (2, 14, 9, channels[0]),
        (5, 5, *channels),
    )


@pytest.mark.parametrize("k", [3, 5, 7])
def test_single_images_are_convolved_as_batches_are(k):
    """On a CPU by another algorithm, which must agree too where few pixels have all taps."""
    for size in ((7, 6), (2, 1)):
        assert_same_function(conv2d, plain_conv2d, (1, *size, 8), (k, k, 8, 6))
        assert_same_function(upsample_conv2d, plain_upsample_conv2d, (1, *size, 8), (k, k, 8, 6))


@pytest.mark.parametrize("f", [conv2d, upsample_conv2d])
def test_single_image_transforms_no_kernel(f):
    """It takes longer than the image. One copy, in another order, is made; a transformed one has six times the size."""
    x, kernel = jnp.zeros((1, 7, 7, 256)), jnp.zeros((5, 5, 256, 128))
    assert jax.jit(f).lower(x, kernel).compile().memory_analysis().temp_size_in_bytes < 2 * kernel.nbytes


@pytest.mark.parametrize("k", [1, 3, 7])
def test_other_kernel_sizes(k):
    assert_same_function(conv2d, plain_conv2d, (2, 7, 6, 8), (k, k, 8, 6))
    assert_same_function(upsample_conv2d, plain_upsample_conv2d, (2, 7, 6, 8), (k, k, 8, 6))


def test_layers_vmap_over_kernels():
    x, kernels = normal(3, 2, 6, 6, 8), normal(3, 5, 5, 8, 6)
    one_by_one = jnp.stack([plain_conv2d(*each) for each in zip(x, kernels, strict=True)])
    assert_close(jax.jit(jax.vmap(conv2d))(x, kernels), one_by_one, TOLERANCE)


@pytest.mark.parametrize(
    "f", [(conv2d, plain_conv2d), (upsample_conv2d, plain_upsample_conv2d)], ids=["conv", "upsample"]
)
def test_layers_differentiate_forward_and_twice(f):
    """The second derivative is that of a gradient penalty: a derivative in x, differentiated in the kernel."""
    x, kernel = normal(2, 6, 6, 8), normal(5, 5, 8, 6)

    def penalty(f, kernel):
        return jnp.square(jax.grad(lambda x: jnp.sin(f(x, kernel)).sum())(x)).sum()

    def derivatives(f, x, kernel):
        return jax.jvp(f, (x, kernel), (x, kernel))[1], jax.grad(penalty, 1)(f, kernel)

    ours, plain = (quick_jit(functools.partial(derivatives, each))(x, kernel) for each in f)
    assert_close(ours[0], plain[0], TOLERANCE)
    # The outputs are near 14 and pass through a sine: their own error of 1e-6 is amplified tenfold.
    assert_close(ours[1], plain[1], 10 * TOLERANCE)


def test_wrong_shapes_are_reported():
    with pytest.raises(ValueError, match=r"\(2, 6, 6, 8\) and \(5, 5, 7, 6\)"):
        conv2d(jnp.zeros((2, 6, 6, 8)), jnp.zeros((5, 5, 7, 6)))
    with pytest.raises(ValueError, match="odd"):
        upsample_conv2d(jnp.zeros((2, 6, 6, 8)), jnp.zeros((4, 4, 8, 6)))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_convolve_the_small_image(platform):
    """One plain convolution, before the upsampling."""
    x, kernel = jnp.zeros((2, 7, 7, 256)), jnp.zeros((5, 5, 256, 128))
    program = jax.jit(upsample_conv2d).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    convolutions = [line for line in program.splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) == 1
    assert "tensor<2x7x7x256xf32>, tensor<3x3x256x512xf32>" in convolutions[0]


def test_dropout_zeroes_its_share_and_keeps_mean(key):
    x = jnp.ones((1000, 10, 101))
    y = dropout(x, 0.4, key)
    n = x.size
    zeros = np.mean(np.asarray(y) == 0)
    assert abs(zeros - 0.4) < 5 * (0.4 * 0.6 / n) ** 0.5  # five standard deviations of a share
    assert abs(float(y.mean()) - 1) < 5 * (0.4 / 0.6 / n) ** 0.5
    assert np.unique(np.asarray(y)).size == 2
    assert_close(y[np.asarray(y) != 0].mean(), np.float32(1 / 0.6), 1e-4)


def test_dropout_of_elements_is_independent(key):
    kept = np.asarray(dropout(jnp.ones((4000, 2, 4)), 0.4, key) != 0, np.float64).reshape(4000, 8)
    correlation = np.corrcoef(kept, rowvar=False) - np.eye(8)
    assert np.abs(correlation).max() < 5 / 4000**0.5


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rate_out_of_range_is_refused(rate, key):
    with pytest.raises(ValueError, match=r"in \[0, 1\), got"):
        dropout(jnp.ones(3), rate, key)


def test_dropout_of_rate_zero_is_the_identity(key):
    x = normal(3, 5)
    assert dropout(x, 0.0, key) is x


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (4, 4)], ids=str)
def test_black_pixels_stay_zero_under_stride_2(size):
    """Exactly: an untrained discriminator, whose biases are 0, has the kink of its leaky rectifier there."""
    h, w = size
    x, kernel = normal(3, h, w, 16), normal(5, 5, 16, 8)
    corner = np.tri(h, h, -1)[:, None, :, None] * np.tri(w, w, -1)[None, :, None, :]  # the first i rows and j columns
    black = np.where(corner.reshape(h * w, 1, h, w, 1), x, np.float32(0)).reshape(-1, h, w, 16)
    plain = np.asarray(plain_conv2d(black, kernel, 2))
    assert (plain == 0).any()
    ours = jax.jit(conv2d, static_argnums=2)(black, kernel, 2)
    assert not np.any(np.asarray(ours)[plain == 0])
