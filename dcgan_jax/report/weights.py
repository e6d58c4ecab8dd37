"""A generator for a browser: its weights in float16, and the directions of the noise that change images most."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.models import Generator, doublings
from dcgan_jax.report.render import ReportError
from dcgan_jax.sampling import sample_labels, sample_noise
from dcgan_jax.state import GANState

_EPSILON = 1e-3  # of the generator's batch normalisation
_SAMPLES = 32  # noise vectors over which the directions are averaged


class Weights(NamedTuple):
    """A generator in inference mode, with batch normalisation folded into the layers before it.

    Attributes:
      layers: a JSON object for each layer, in order: its sizes, and for kernel and bias the number of values and the
        scale by which they are divided.
      content: the values of all kernels and biases, float16, little-endian.
    """

    layers: list[dict[str, Any]]
    content: bytes


def generator_weights(state: GANState) -> Weights:
    """The weights of the state's generator; with classes, the first layer has a bias vector for each class.

    Raises:
      ReportError: if its generator is not `dcgan_jax.Generator`, or a weight is not finite.
    """
    module = state.generator.module
    if not isinstance(module, Generator):
        raise ReportError(f"an explorer needs the generator dcgan_jax.Generator, got {type(module).__name__}")
    params, stats = jax.device_get((state.generator.params, state.generator.batch_stats))
    height, width, _ = module.image_shape
    stages = doublings(height, width)
    layers, parts = [], []

    def add(kernel: np.ndarray, bias: np.ndarray, **sizes: Any) -> None:
        arrays = {}
        for name, values in (("kernel", kernel), ("bias", bias)):
            scale = float(np.abs(values).max()) or 1.0
            if not np.isfinite(scale):
                raise ReportError(f"the generator has weights that are NaN or infinite, in its layer {len(layers) + 1}")
            parts.append((values / scale).astype("<f2").tobytes())
            arrays[name] = {"length": values.size, "scale": scale}
        layers.append({**sizes, **arrays})

    def normalised(kernel: np.ndarray, bias: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        gain = params[name]["scale"] / np.sqrt(stats[name]["var"] + _EPSILON)
        return kernel * gain, (bias - stats[name]["mean"]) * gain + params[name]["bias"]

    def size(stage: int) -> dict[str, int]:
        return {"height": -(-height // 2 ** (stages - stage)), "width": -(-width // 2 ** (stages - stage))}

    kernel, bias = params["dense"]["kernel"], params["dense"]["bias"][None]  # [latent + 50, units], [1, units]
    if state.classes is not None:
        bias = bias + params["embedding"]["embedding"] @ kernel[state.latent_size :]  # [classes, units]
    kernel, bias = normalised(kernel[: state.latent_size], bias, "norm_0")
    add(kernel, bias, units=kernel.shape[1], **size(0))
    for i in range(1, stages + 3):
        kernel, bias = params[f"conv_{i}"]["kernel"], params[f"conv_{i}"]["bias"]  # [5, 5, in, out], [out]
        if i < stages + 2:
            kernel, bias = normalised(kernel, bias, f"norm_{i}")
        sizes = {"inputs": kernel.shape[2], "outputs": kernel.shape[3], "upsample": i <= stages}
        add(kernel, bias, **sizes, **size(min(i, stages)))
    return Weights(layers, b"".join(parts))


@jax_defaults()
def principal_directions(state: GANState, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The directions of the noise along which the images change most, on average over the noise.

    These are the first ``n`` eigenvectors of the mean of J^T J, where J is the Jacobian of an image with respect to its
    noise; noise and classes are drawn with ``key``.

    Returns:
      The directions [n, latent_size], of unit length; and the share of each [n] in the sum of squares of J.
    """
    z, labels = sample_noise(state, key, _SAMPLES), sample_labels(state, key, _SAMPLES)

    @jax.jit
    def mean_square(state: GANState, z: jax.Array) -> jax.Array:
        _, derivative = jax.linearize(lambda z: state.generator.infer(z, labels), z)
        basis = jnp.eye(state.latent_size, dtype=z.dtype)
        columns = jax.lax.map(lambda unit: derivative(jnp.broadcast_to(unit, z.shape)), basis)
        columns = columns.reshape(len(basis), -1)  # [latent, samples * pixels]
        return columns @ columns.T

    values, vectors = np.linalg.eigh(np.asarray(mean_square(state, z), np.float64))  # ascending
    directions = vectors.T[::-1][:n]
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    return directions * signs[:, None], values[::-1][:n] / max(values.sum(), np.finfo(float).tiny)
