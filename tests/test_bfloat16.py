"""bfloat16 on a CPU that multiplies it: the same layers, and no digit lost but by rounding."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import plain_conv2d

from dcgan_jax import Generator, processor
from dcgan_jax.bfloat16_conv import conv2d_bfloat16
from dcgan_jax.layers import conv2d, upsample_conv2d
from dcgan_jax.models import Conv
from dcgan_jax.training.announce import announce_start
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.distributed import data_mesh

ROUNDING = 2.0**-8  # of a bfloat16, which has 8 significant bits, to the nearest
# Sums of up to 25 * 64 products in float32, relative to the largest output.
SUMS = 1e-5

# Size, stride, k, channels: patches, cells, rows of a small image, phases of a stride, odd sizes.
CASES = [
    ((14, 14), 1, 3, 16, 32),
    ((7, 9), 1, 5, 16, 128),
    ((7, 9), 1, 5, 16, 32),
    ((4, 4), 1, 5, 16, 32),
    ((3, 2), 1, 5, 32, 16),
    ((14, 7), 2, 5, 16, 32),
    ((10, 9), 3, 7, 8, 16),
]


def narrow_normal(*shape):
    """Normal numbers that bfloat16 holds, as float32."""
    drawn = np.random.default_rng(shape).standard_normal(shape, np.float32)
    return jnp.asarray(drawn, jnp.bfloat16).astype(jnp.float32)


def of_bfloat16(f):
    """A function of float32 arrays computed in bfloat16, without rounding them: they hold bfloat16 numbers."""
    return lambda *arrays: f(*(array.astype(jnp.bfloat16) for array in arrays))


def assert_rounded(narrow, exact, roundings=1):
    narrow, exact = np.asarray(narrow, np.float64), np.asarray(exact, np.float64)
    bound = roundings * ROUNDING * np.abs(exact) + SUMS * np.abs(exact).max()
    assert (np.abs(narrow - exact) <= bound).all(), (np.abs(narrow - exact) / bound).max()


@pytest.mark.parametrize("size, stride, k, c_in, c_out", CASES, ids=str)
def test_only_the_result_is_rounded(size, stride, k, c_in, c_out):
    """Forward and both gradients: products are added up in float32."""
    x, kernel = narrow_normal(2, *size, c_in), narrow_normal(k, k, c_in, c_out)
    dy = narrow_normal(*jax.eval_shape(functools.partial(plain_conv2d, stride=stride), x, kernel).shape)

    @jax.jit
    def values(x, kernel, dy):
        def both(f, *arrays):
            y, pull = jax.vjp(lambda x, kernel: f(x, kernel, stride), *arrays[:2])
            return y, *pull(arrays[2])

        return of_bfloat16(functools.partial(both, conv2d_bfloat16))(x, kernel, dy), both(plain_conv2d, x, kernel, dy)

    for narrow, exact in zip(*values(x, kernel, dy), strict=True):
        assert narrow.dtype == jnp.bfloat16
        assert_rounded(narrow, exact)


def test_differentiates_forward_and_twice():
    """The second derivative is that of a gradient penalty."""
    x, kernel = narrow_normal(2, 8, 8, 16), narrow_normal(5, 5, 16, 128)

    def derivatives(f, x, kernel):
        tangent = jax.jvp(f, (x, kernel), (x, kernel))[1]
        penalty = jax.grad(lambda kernel: jax.vjp(f, x, kernel)[1](f(x, kernel))[0].astype(jnp.float32).sum())
        return tangent, penalty(kernel)

    narrow = jax.jit(of_bfloat16(functools.partial(derivatives, lambda x, kernel: conv2d_bfloat16(x, kernel, 2))))
    exact = jax.jit(functools.partial(derivatives, lambda x, kernel: plain_conv2d(x, kernel, 2)))
    ours, theirs = narrow(x, kernel), exact(x, kernel)
    assert_rounded(ours[0], theirs[0], roundings=3)  # two products and their sum
    # Through y, which is rounded, and its products: relative to the largest, as terms of either sign cancel.
    gap = np.abs(np.asarray(ours[1], np.float64) - np.asarray(theirs[1], np.float64)).max()
    assert gap <= 4 * ROUNDING * np.abs(np.asarray(theirs[1])).max()


def test_vmaps_over_kernels_and_over_images():
    x, kernels = narrow_normal(3, 2, 6, 6, 8), narrow_normal(3, 5, 5, 8, 128)
    conv = of_bfloat16(lambda x, kernel: conv2d_bfloat16(x, kernel, 1))
    for axes in ((0, 0), (0, None), (None, 0)):
        images, taps = (array if axis == 0 else array[0] for array, axis in zip((x, kernels), axes, strict=True))
        one_by_one = [
            plain_conv2d(*(array[i] if axis == 0 else array for array, axis in zip((images, taps), axes, strict=True)))
            for i in range(3)
        ]
        assert_rounded(jax.jit(jax.vmap(conv, axes))(images, taps), jnp.stack(one_by_one))


@pytest.mark.parametrize("upsample", [False, True], ids=["conv", "upsample"])
def test_layers_err_no_more_than_plain_ones(upsample, monkeypatch):
    """Than those which round the kernel's taps and then convolve the large image, as other frameworks do."""
    monkeypatch.setattr("dcgan_jax.cpu_conv.multiplies_bfloat16", lambda: True)
    x = narrow_normal(4, 7, 7, 32)
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal((5, 5, 32, 48), np.float32))
    large = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2) if upsample else x
    exact = np.asarray(plain_conv2d(large, kernel), np.float64)
    plain = plain_conv2d(large, kernel.astype(jnp.bfloat16).astype(jnp.float32)).astype(jnp.bfloat16)
    narrow = x.astype(jnp.bfloat16)
    ours = upsample_conv2d(narrow, kernel) if upsample else conv2d(narrow, kernel.astype(jnp.bfloat16))

    def error(y):
        return np.sqrt(np.mean(np.square(np.asarray(y, np.float64) - exact)))

    assert ours.dtype == jnp.bfloat16
    assert error(ours) <= 1.001 * error(plain)


def test_bias_has_the_gradient_of_a_sum_in_float32():
    """Added up in bfloat16, ones stop at 256."""
    conv = Conv(8, dtype=jnp.bfloat16)
    x = jnp.zeros((2, 28, 28, 8))
    params = conv.init(jax.random.key(0), x)["params"]
    grads = jax.jit(jax.grad(lambda params: conv.apply({"params": params}, x).astype(jnp.float32).sum()))(params)
    np.testing.assert_array_equal(grads["bias"], 2 * 28 * 28)


@pytest.mark.parametrize(
    "flags, multiplies",
    [("fpu avx512f avx512_bf16", True), ("fpu amx_tile amx_bf16", True), ("fpu avx2 avx512f", False), (None, False)],
)
def test_what_the_processor_multiplies(flags, multiplies, tmp_path, monkeypatch):
    described = tmp_path / "cpuinfo"
    if flags is not None:
        described.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: spectre_v1 amx_bf16_is_no_flag\n")
    monkeypatch.setattr(processor, "_DESCRIPTION", described)
    assert processor.multiplies_bfloat16.__wrapped__() is multiplies


@pytest.mark.parametrize(
    "multiplies, said",
    [(True, "in bfloat16, which this processor multiplies"), (False, "computing in float32, rounded to bfloat16")],
)
def test_a_run_says_how_it_computes(multiplies, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dcgan_jax.training.announce.multiplies_bfloat16", lambda: multiplies)
    state = SimpleNamespace(ema=None)
    announce_start(TrainConfig(dtype="bfloat16"), tmp_path, None, state, data_mesh())
    assert said in capsys.readouterr().out
    announce_start(TrainConfig(), tmp_path, None, state, data_mesh())
    assert "bfloat16" not in capsys.readouterr().out


def test_generator_in_bfloat16_draws_the_same_images(monkeypatch):
    """As one that computes in float32: within a few roundings of a pixel."""
    z = jax.random.uniform(jax.random.key(1), (4, 10), minval=-1)
    variables = jax.jit(Generator(width=16).init)(jax.random.key(0), z)
    exact = jax.jit(Generator(width=16).apply)(variables, z)
    for multiplies in (False, True):
        monkeypatch.setattr("dcgan_jax.cpu_conv.multiplies_bfloat16", lambda multiplies=multiplies: multiplies)
        images = jax.jit(lambda variables, z: Generator(width=16, dtype=jnp.bfloat16).apply(variables, z))(variables, z)
        assert images.dtype == jnp.float32
        np.testing.assert_allclose(images, exact, atol=4 * ROUNDING)
