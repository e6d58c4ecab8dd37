"""Train the classifier: on MNIST's 60,000 training images, whose weights are the package's, or on other images.

    python -m dcgan_jax.evaluation.train_classifier [--weights FILE]

The test images are only counted at the end of each epoch: nothing is chosen by them. `dcgan_jax.cli.train_classifier`
trains on other images.
"""

import argparse
import functools
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.ndimage import map_coordinates

from dcgan_jax.console import print_line
from dcgan_jax.data import load_dataset, load_labels
from dcgan_jax.evaluation.classifier import WEIGHTS, DigitClassifier, classify, named_arrays

EPOCHS = 20
BATCH_SIZE = 128
LEARNING_RATE = 2e-3  # Adam's peak, after a warm-up of one epoch; then a cosine decay to 0


def augment_digits(images: jax.Array, key: jax.Array) -> jax.Array:
    """Rotate each image by up to 10 degrees, scale and shear it by up to 10 %, and shift it by up to 2 pixels.

    [B, 28, 28, 1] -> the same shape, with bilinear interpolation and black outside of the image.
    """
    b = len(images)
    angle, scale, shear, shift = jax.random.split(key, 4)
    angle = jax.random.uniform(angle, (b,), minval=-jnp.pi / 18, maxval=jnp.pi / 18)
    scale = 1 + jax.random.uniform(scale, (b, 2, 1), minval=-0.1, maxval=0.1)
    shear = jax.random.uniform(shear, (b,), minval=-0.1, maxval=0.1)
    shift = jax.random.uniform(shift, (b, 2, 1), minval=-2, maxval=2)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    matrix = scale * jnp.stack([jnp.stack([cos, shear - sin], -1), jnp.stack([sin, cos], -1)], -2)  # [B, 2, 2]
    return _moved(images, matrix, shift, "constant")


def augment_pictures(images: jax.Array, key: jax.Array) -> jax.Array:
    """Scale each image by up to 10 % along each axis, and shift it by up to 2 pixels: [B, 28, 28, 1] -> the same shape.

    No rotation, shear or mirroring: classes may differ in orientation. The pixels of the edge are repeated outwards,
    because the background need not be black.
    """
    scale, shift = jax.random.split(key)
    scale = 1 + jax.random.uniform(scale, (len(images), 2, 1), minval=-0.1, maxval=0.1)
    shift = jax.random.uniform(shift, (len(images), 2, 1), minval=-2, maxval=2)
    return _moved(images, scale * jnp.eye(2), shift, "nearest")


def _moved(images: jax.Array, matrix: jax.Array, shift: jax.Array, mode: str) -> jax.Array:
    """Resample images: the pixel at x, from the middle, is read at ``matrix`` [B, 2, 2] x + ``shift`` [B, 2, 1]."""
    _, h, w, _ = images.shape
    middle = jnp.array([[(h - 1) / 2], [(w - 1) / 2]])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")).reshape(2, -1) - middle  # [2, H W]
    coordinates = matrix @ grid + middle + shift  # [B, 2, H W]
    moved = jax.vmap(lambda image, at: map_coordinates(image, list(at), order=1, mode=mode))(
        images[..., 0], coordinates
    )
    return moved.reshape(images.shape)


def train(
    images: np.ndarray,
    labels: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    seed: int = 0,
    *,
    classes: int = 10,
    epochs: int = EPOCHS,
    augment: Callable[[jax.Array, jax.Array], jax.Array] = augment_digits,
) -> dict[str, Any]:
    """Train a `DigitClassifier` and return its variables; a line is printed for each epoch.

    Args:
      images: uint8 [N, 28, 28, 1], N at least `BATCH_SIZE`.
      labels: [N], 0 to classes - 1.
      test: other images and labels, to report the accuracy on.
      seed: of the initial parameters, the order, the augmentation and the dropout.
      classes: the number of classes.
      epochs: passes over the images.
      augment: maps a batch of images in [0, 1] and a PRNG key to augmented images.
    """
    batches = len(images) // BATCH_SIZE
    warmup = min(batches, epochs * batches // 2)  # half of a single epoch
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, warmup, epochs * batches)
    tx = optax.adam(schedule)
    init_key, run_key = jax.random.split(jax.random.key(seed, impl="threefry2x32"))
    network = DigitClassifier(classes)
    variables: Any = network.init(init_key, jnp.zeros((1, 28, 28, 1)))
    carry = (variables, tx.init(variables))
    data = jax.device_put((images, labels.astype(np.int32)))
    for epoch in range(epochs):
        began = time.perf_counter()
        carry, loss = _epoch(carry, data, jax.random.fold_in(run_key, epoch), tx, network, augment)
        right = (classify(test[0], carry[0])[0].argmax(-1) == test[1]).sum()
        seconds = time.perf_counter() - began
        print_line(f"{epoch + 1}: loss {loss:.4f}, test accuracy {100 * right / len(test[1]):.2f} %, {seconds:.0f} s")
    return dict(carry[0])


@functools.partial(jax.jit, static_argnames=("tx", "network", "augment"))
def _epoch(
    carry: Any,
    data: tuple[jax.Array, jax.Array],
    key: jax.Array,
    tx: optax.GradientTransformation,
    network: DigitClassifier,
    augment: Callable[[jax.Array, jax.Array], jax.Array],
) -> Any:
    """One pass over the data in random order: the new variables and optimizer state, and the mean loss."""
    images, labels = data
    order_key, key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(images))
    order = order[: len(images) // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)

    def step(carry: Any, batch: tuple[jax.Array, jax.Array]) -> Any:
        variables, opt_state = carry
        chosen, i = batch
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, i))
        x = augment(images[chosen].astype(jnp.float32) / 255, augment_key)

        def loss(variables: Any) -> jax.Array:
            logits, _ = network.apply(variables, x, train=True, rngs={"dropout": dropout_key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen]).mean()

        value, grads = jax.value_and_grad(loss)(variables)
        updates, opt_state = tx.update(grads, opt_state, variables)
        return (optax.apply_updates(variables, updates), opt_state), value

    carry, losses = jax.lax.scan(step, carry, (order, jnp.arange(len(order))))
    return carry, losses.mean()


def write_weights(path: Path, variables: dict[str, Any]) -> str:
    """Write the parameters as an ``.npz`` of arrays named by path, and return the file's SHA-256."""
    arrays: dict[str, Any] = named_arrays(variables)
    with path.open("wb") as file:  # with a path NumPy would append its suffix
        np.savez(file, **arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the .npz to write (default: the package's own)")
    path = parser.parse_args().weights
    path.touch()  # to fail before the training rather than after it
    test = load_dataset(split="test"), load_labels(split="test")
    variables = train(load_dataset(), load_labels(), test)
    digest = write_weights(path, variables)
    wrong = (classify(test[0], variables)[0].argmax(-1) != test[1]).sum()
    print(f"{wrong} of 10,000 test images wrong; wrote {path} ({path.stat().st_size:,} bytes), SHA-256 {digest}")


if __name__ == "__main__":
    main()
