"""The minimum time of a training step on an accelerator, by the roofline model of its matrix products.

    python -m benchmarks.roofline --layers 256

Nothing is measured. Products are those of the tutorial's networks with plain convolutions, as on GPU and TPU: zeros of
the padding are multiplied, and upsampling convolutions work on the small image. Every product reads its operands from
memory once and writes its result once; its time is the longer of those for computing and for moving data. Elementwise
operations are taken to be fused into adjacent products, except those of the optimizers, which move their state.

Williams, Waterman and Patterson, Roofline: an insightful visual performance model, doi:10.1145/1498765.1498785.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.common import markdown_table
from benchmarks.scaling import REDUCED_BYTES
from dcgan_jax import Discriminator, Generator
from dcgan_jax.models import Conv

BATCH_SIZES = (64, 256, 1024, 4096)
KINDS = ("forward", "kernel gradient", "input gradient")
_UPDATES = 5  # RMSprop, in float32, reads parameters, gradients and slots, and writes parameters and slots


class Device(NamedTuple):
    """An accelerator at one precision: its name, FLOP/s, memory bandwidth in bytes/s, bytes per number."""

    name: str
    flops: float
    bandwidth: float
    width: int


# NVIDIA H100 Tensor Core GPU data sheet, SXM5: 67, 989 and 1,979 TFLOP/s, the latter two with sparsity, which doubles
# them; 3.35 TB/s. Google Cloud, TPU v5e: 197 TFLOP/s in bfloat16, 819 GB/s; JAX's default precision multiplies float32
# there as one product of bfloat16, and on the H100 as TF32.
DEVICES = (
    Device("H100, float32", 67e12, 3.35e12, 4),
    Device("H100, TF32", 989.4e12 / 2, 3.35e12, 4),
    Device("H100, bfloat16", 1978.9e12 / 2, 3.35e12, 2),
    Device("TPU v5e, float32 as bfloat16", 197e12, 819e9, 4),
    Device("TPU v5e, bfloat16", 197e12, 819e9, 2),
)


class Layer(NamedTuple):
    """A dense or convolutional layer: multiply-adds, inputs and outputs of one image, and kernel elements."""

    name: str
    multiply_adds: int
    inputs: int
    outputs: int
    kernel: int


class Product(NamedTuple):
    """One matrix product of a step: the layer, one of `KINDS`, FLOPs, and how many numbers it reads and writes."""

    layer: str
    kind: str
    flops: int
    numbers: int

    def seconds(self, device: Device) -> tuple[float, float]:
        """Seconds for computing, and for moving data."""
        return self.flops / device.flops, self.numbers * device.width / device.bandwidth


def layers(module: nn.Module, prefix: str, *inputs: int) -> list[Layer]:
    """The layers of a network that takes [B, *inputs], in order."""
    found: list[Layer] = []

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out, layer = call(*args, **kwargs), context.module
        if isinstance(layer, Conv | nn.Dense) and context.method_name == "__call__":
            shape = layer.variables["params"]["kernel"].shape
            if isinstance(layer, Conv) and layer.upsample:
                shape = (3, 3, shape[2], 4 * shape[3])  # four phases on the small image
            read, written, kernel = math.prod(args[0].shape), math.prod(out.shape), math.prod(shape)
            name = f"{prefix} {layer.name}"
            found.append(Layer(name, written // shape[-1] * kernel, read, written, kernel))
        return out

    with nn.intercept_methods(record):
        jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *inputs), jnp.float32))
    return found


def products(batch_size: int) -> Iterator[Product]:
    """The products of a training step: forward and up to two gradients of each layer, in each pass."""
    g, d = layers(Generator(), "G", 100), layers(Discriminator(), "D", 28, 28, 1)

    def through(network: list[Layer], n: int, kinds: tuple[str, ...], first: bool = False) -> Iterator[Product]:
        """A pass over ``n`` images; the first layer's inputs have a gradient only if ``first``."""
        for i, layer in enumerate(network):
            for kind in kinds:
                if kind != "input gradient" or first or i:
                    numbers = n * (layer.inputs + layer.outputs) + layer.kernel
                    yield Product(layer.name, kind, 2 * n * layer.multiply_adds, numbers)

    yield from through(g, batch_size, KINDS[:1])  # fakes for the discriminator, in inference mode
    yield from through(d, 2 * batch_size, KINDS)  # real and fake
    yield from through(g, batch_size, KINDS)
    yield from through(d, batch_size, ("forward", "input gradient"), first=True)  # a frozen discriminator


def step_seconds(device: Device, batch_size: int) -> tuple[float, float]:
    """The minimum seconds of a step, and those of them that are bound by memory."""
    times = [each.seconds(device) for each in products(batch_size)]
    update = _UPDATES * REDUCED_BYTES / device.bandwidth
    return sum(map(max, times)) + update, sum(move for compute, move in times if move > compute) + update


def table() -> str:
    """By device and batch: minimum milliseconds of a step, maximum steps per second, and the share bound by memory."""
    rows = []
    for device in DEVICES:
        cells = [device.name, f"{device.flops / device.bandwidth:.0f}"]
        for batch_size in BATCH_SIZES:
            seconds, moving = step_seconds(device, batch_size)
            cells.append(f"{1e3 * seconds:.3g} ms, {1 / seconds:,.0f}/s, {moving / seconds:.0%}")
        rows.append(cells)
    return markdown_table(("computed, not measured", "FLOPs per byte", *(f"batch {n:,}" for n in BATCH_SIZES)), rows)


def intensity_table(width: int = 2) -> str:
    """Multiply-adds of an image and FLOPs per byte of each layer's products, for numbers of ``width`` bytes."""
    rows = []
    for layer in (*layers(Generator(), "G", 100), *layers(Discriminator(), "D", 28, 28, 1)):
        moved = [n * (layer.inputs + layer.outputs) + layer.kernel for n in BATCH_SIZES]
        each = [2 * n * layer.multiply_adds / (width * numbers) for n, numbers in zip(BATCH_SIZES, moved, strict=True)]
        rows.append((layer.name, f"{layer.multiply_adds / 1e6:.3g} M", *(f"{value:.3g}" for value in each)))
    return markdown_table(("layer", "multiply-adds", *(f"batch {n:,}" for n in BATCH_SIZES)), rows)


def layer_table(device: Device, batch_size: int) -> str:
    """Every product of a step: FLOPs, bytes, intensity, what bounds it, and its minimum time."""
    rows = []
    for each in products(batch_size):
        compute, move = each.seconds(device)
        moved = each.numbers * device.width
        bound = "memory" if move > compute else "compute"
        cells = (f"{each.flops / 1e9:.3g}", f"{moved / 1e6:.3g}", f"{each.flops / moved:.3g}")
        rows.append((each.layer, each.kind, *cells, bound, f"{1e6 * max(compute, move):.3g}"))
    return markdown_table(("layer", "product", "GFLOP", "MB", "FLOPs per byte", "bound", "microseconds"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="The least time of a training step on an accelerator, on paper.")
    parser.add_argument("--layers", type=int, metavar="BATCH", help="also every product at this batch size")
    args = parser.parse_args()
    if args.layers is not None and args.layers < 1:
        parser.error(f"--layers must be at least 1, got {args.layers}")
    print(f"{table()}\n\n{intensity_table()}")
    if args.layers is not None:
        for device in DEVICES:
            print(f"\n{device.name}, batch {args.layers:,}:\n\n{layer_table(device, args.layers)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
