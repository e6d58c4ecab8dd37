"""The programs for accelerators, as StableHLO: `jax.export` lowers them without such a device."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax import export

from dcgan_jax import Discriminator, Generator, init_state, train_step
from dcgan_jax.training.batch_source import DeviceImages
from dcgan_jax.training.device_loop import run_steps

PLATFORMS = pytest.mark.parametrize("platform", ["cuda", "tpu"])
TENSORS = re.compile(r": \(tensor<([^>]*)>, tensor<([^>]*)>\) -> tensor<([^>]*)>")


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


@functools.cache
def step_program(platform, batch_size, dtype=None):
    """`train_step` of the tutorial's GAN as StableHLO."""
    state = jax.eval_shape(
        lambda: init_state(
            jax.random.key(0), generator=Generator(dtype=dtype), discriminator=Discriminator(dtype=dtype)
        )
    )
    images = jax.ShapeDtypeStruct((batch_size, 28, 28, 1), jnp.uint8)
    exported = export.export(train_step, platforms=[platform])(state, images, shapes(jax.random.key(0)))
    return exported.mlir_module()


def products(program):
    """Each convolution and matrix product: its name, its two operands' and its output's shape, its line."""
    for line in program.splitlines():
        found = re.search(r"stablehlo\.(convolution|dot_general)", line)
        if found:
            tensors = TENSORS.search(line)
            assert tensors, line
            yield found[1], *([int(n) for n in t.split("x")[:-1]] for t in tensors.groups()), line


def multiply_adds(program):
    """All multiply-adds, but for those with the zeros that a stride puts between a gradient's pixels."""
    total = 0
    for name, left, right, out, line in products(program):
        if name == "dot_general":
            axes = re.search(r"contracting_dims = \[([\d, ]+)\]", line)
            assert axes
            total += math.prod(out) * math.prod(left[int(axis)] for axis in axes[1].split(","))
        else:
            kernel_axes = re.search(r"\]x\[(.*?)\]->", line)
            assert kernel_axes
            axes = kernel_axes[1].split(", ")
            if "lhs_dilate" in line:  # each pixel of the gradient meets each tap once
                total += math.prod(left) * math.prod(right) // right[axes.index("i")]
            else:
                total += math.prod(out) * math.prod(right) // right[axes.index("o")]
    return total


@PLATFORMS
def test_step_upsamples_inside_its_convolutions(platform):
    """Plain convolutions only, and none of them on an upsampled image."""
    convolutions = [shapes for name, *shapes, _ in products(step_program(platform, 8)) if name == "convolution"]
    forward = [(image[1:3], kernel) for image, kernel, _ in convolutions if image[0] in (8, 16) and kernel[0] in (3, 5)]
    on_14_pixels = [kernel for size, kernel in forward if size == [14, 14]]
    assert [3, 3, 128, 256] in on_14_pixels  # the generator's second: 64 features in each of four phases
    assert [3, 3, 256, 512] in [kernel for size, kernel in forward if size == [7, 7]]
    # No 5x5 kernel on 28x28 pixels has the 128 or 256 channels that were upsampled.
    assert {kernel[2] for size, kernel in forward if size == [28, 28] and kernel[0] == 5} <= {1, 32, 64}
    assert len(convolutions) == 4 + 4 + 7 + 4 + 4 + 4 + 8  # fakes; D, its gradients; G, D; through D; G's gradients


@PLATFORMS
def test_step_takes_1240_million_multiply_adds(platform):
    """Per example, as counted by hand from the layers."""
    discriminator = [14 * 14 * 25 * 64, 7 * 7 * 25 * 64 * 128, 4 * 4 * 25 * 128 * 256, 4 * 4 * 25 * 256 * 512, 8192]
    upsampling = [7 * 7 * 9 * 256 * 512, 14 * 14 * 9 * 128 * 256]  # 3x3 on the small image, for four phases
    generator = [100 * 12544, *upsampling, 28 * 28 * 25 * 64 * 32, 28 * 28 * 25 * 32]
    d, g = sum(discriminator), sum(generator)
    d_update = 2 * (3 * d - discriminator[0])  # real and fake; forward, into kernels and, but for the first, pixels
    g_update = 2 * d + 3 * g - generator[0]  # through D to the pixels only
    expected = g + d_update + g_update
    assert round(expected, -7) == 1_240_000_000

    counts = [multiply_adds(step_program(platform, batch_size)) for batch_size in (8, 16)]
    assert (counts[1] - counts[0]) / 8 == expected


@PLATFORMS
def test_step_calls_no_host_and_has_no_constants(platform):
    """Nothing is called on the host, and no large array is a constant of the program."""
    state = jax.eval_shape(lambda: init_state(jax.random.key(0)))
    exported = export.export(run_steps, platforms=[platform])(
        state,
        DeviceImages(jax.ShapeDtypeStruct((60_000, 28, 28, 1), jnp.uint8)),
        shapes(jax.random.key(0)),
        jax.ShapeDtypeStruct((), jnp.int32),
        batch_size=8,
        capacity=25,
    )
    program = exported.mlir_module()
    assert "tensor<60000x28x28x1xui8>" in program  # the data set is an argument, and stays bytes
    assert "callback" not in program
    assert "custom_call" not in program
    assert "infeed" not in program
    assert "outfeed" not in program
    assert len(exported.mlir_module_serialized) < 1_000_000
    assert program.count("stablehlo.while") >= 1  # many steps per call


@PLATFORMS
def test_bfloat16_step_multiplies_in_bfloat16(platform):
    """Every convolution and matrix product of images."""
    for name, left, *_, line in products(step_program(platform, 8, jnp.bfloat16)):
        if left[0] in (8, 16):
            assert "bf16" in line, name
    program = step_program(platform, 8, jnp.bfloat16)
    assert "xf64" not in program
