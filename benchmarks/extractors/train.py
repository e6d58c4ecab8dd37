"""Train one of the further extractors on MNIST's 60,000 training images and write its weights.

    python -m benchmarks.extractors.train strided|autoencoder|third

The 10,000 test images are only counted at the end of each epoch: nothing is chosen by them.
"""

import argparse
import functools
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.extractors import NETWORKS, extract, weights_path
from benchmarks.extractors.networks import Decoder
from dcgan_jax.data import load_dataset, load_labels
from dcgan_jax.evaluation.train_classifier import write_weights

EPOCHS = {"strided": 5, "autoencoder": 2, "third": 5}
BATCH_SIZE = 128
LEARNING_RATE = 2e-3  # Adam's highest, after a warm-up of half an epoch; then a cosine to 0
SEEDS = {"strided": 1, "autoencoder": 2, "third": 3}  # the evaluation's classifier has 0


def jitter(images: jax.Array, key: jax.Array) -> jax.Array:
    """Each image scaled by up to 10 % and shifted by up to 2 pixels, along each axis: [B, 28, 28, 1], the same.

    Linear interpolation between pixels with black around, as two products with matrices of weights.
    """
    b, h, w, _ = images.shape
    scale_key, shift_key = jax.random.split(key)
    scale = 1 + jax.random.uniform(scale_key, (2, b, 1), minval=-0.1, maxval=0.1)
    shift = jax.random.uniform(shift_key, (2, b, 1), minval=-2, maxval=2)

    def weights(n: int, scale: jax.Array, shift: jax.Array) -> jax.Array:
        at = (jnp.arange(n) - (n - 1) / 2) * scale + (n - 1) / 2 + shift  # [B, n]
        return jnp.maximum(0, 1 - jnp.abs(at[:, :, None] - jnp.arange(n)))  # [B, n, n]

    rows, columns = weights(h, scale[0], shift[0]), weights(w, scale[1], shift[1])
    return jnp.einsum("bij,bjk,blk->bil", rows, images[..., 0], columns)[..., None]


def objective(name: str, variables: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """What is minimised: cross-entropy of the answers, or for the autoencoder that of the pixels, in nats an image."""
    if name == "autoencoder":
        logits = Decoder().apply(variables["decoder"], NETWORKS[name].apply(variables["network"], images))
        return optax.sigmoid_binary_cross_entropy(logits, images).sum((1, 2, 3)).mean()
    logits, _ = NETWORKS[name].apply(variables["network"], images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(name: str, images: np.ndarray, labels: np.ndarray, test: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """The network's variables after its `EPOCHS`; a line is printed for each.

    Args:
      name: one of `NETWORKS`.
      images: uint8 [N, 28, 28, 1].
      labels: [N], 0 to 9.
      test: other images and labels, to report on.
    """
    batches, epochs = len(images) // BATCH_SIZE, EPOCHS[name]
    tx = optax.adam(optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, batches // 2, epochs * batches))
    init_key, run_key = jax.random.split(jax.random.key(SEEDS[name], impl="threefry2x32"))
    network: nn.Module = NETWORKS[name]
    variables: Any = {"network": network.init(init_key, jnp.zeros((1, 28, 28, 1)))}
    if name == "autoencoder":
        variables["decoder"] = Decoder().init(init_key, jnp.zeros((1, 64)))
    carry = (variables, tx.init(variables))
    data = jax.device_put((images, labels.astype(np.int32)))
    for epoch in range(epochs):
        began, losses = time.perf_counter(), []
        order_key, step_key = jax.random.split(jax.random.fold_in(run_key, epoch))
        order = jax.random.permutation(order_key, len(images))
        for i in range(batches):
            chosen = order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            carry, loss = _step(carry, data, chosen, jax.random.fold_in(step_key, i), tx, name)
            losses.append(loss)
        logits, _ = extract(name, carry[0]["network"], test[0])
        right = "" if logits is None else f"test accuracy {100 * (logits.argmax(-1) == test[1]).mean():.2f} %, "
        seconds = time.perf_counter() - began
        print(f"{epoch + 1}: loss {np.mean(losses):.4f}, {right}{seconds:.0f} s", flush=True)
    return carry[0]["network"]


@functools.partial(jax.jit, static_argnames=("tx", "name"), donate_argnames="carry")
def _step(
    carry: Any,
    data: tuple[jax.Array, jax.Array],
    chosen: jax.Array,
    key: jax.Array,
    tx: optax.GradientTransformation,
    name: str,
) -> Any:
    """One update on the images with the numbers ``chosen`` [B]: the new variables and optimizer state, and the loss."""
    variables, opt_state = carry
    images, labels = data[0][chosen].astype(jnp.float32) / 255, data[1][chosen]
    if name != "autoencoder":  # its code should say where an image is
        images = jitter(images, key)
    loss, grads = jax.value_and_grad(lambda v: objective(name, v, images, labels))(variables)
    updates, opt_state = tx.update(grads, opt_state, variables)
    return (optax.apply_updates(variables, updates), opt_state), loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(NETWORKS))
    name = parser.parse_args().network
    test = load_dataset(split="test"), load_labels(split="test")
    variables = train(name, load_dataset(), load_labels(), test)
    path = weights_path(name)
    digest = write_weights(path, variables)
    logits, _ = extract(name, variables, test[0])
    wrong = "" if logits is None else f"{(logits.argmax(-1) != test[1]).sum()} of 10,000 test images wrong; "
    print(f"{wrong}wrote {path} ({path.stat().st_size:,} bytes), SHA-256 {digest}")


if __name__ == "__main__":
    main()
