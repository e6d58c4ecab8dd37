"""Train the digit classifier on MNIST's 60,000 training images and write its weights.

    python -m dcgan_jax.evaluation.train_classifier [--weights FILE]

The 10,000 test images are only counted at the end of each epoch: nothing is chosen by them.
"""

import argparse
import functools
import hashlib
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.ndimage import map_coordinates

from dcgan_jax.data import load_dataset, load_labels
from dcgan_jax.evaluation.classifier import WEIGHTS, DigitClassifier, classify

EPOCHS = 20
BATCH_SIZE = 128
LEARNING_RATE = 2e-3  # Adam's highest, after a warm-up of one epoch; then a cosine to 0


def augment(images: jax.Array, key: jax.Array) -> jax.Array:
    """Each image turned by up to 10 degrees, scaled and sheared by up to 10 %, shifted by up to 2 pixels.

    [B, 28, 28, 1] -> the same, by linear interpolation between pixels, with black around.
    """
    b, h, w, _ = images.shape
    angle, scale, shear, shift = jax.random.split(key, 4)
    angle = jax.random.uniform(angle, (b,), minval=-jnp.pi / 18, maxval=jnp.pi / 18)
    scale = 1 + jax.random.uniform(scale, (b, 2, 1), minval=-0.1, maxval=0.1)
    shear = jax.random.uniform(shear, (b,), minval=-0.1, maxval=0.1)
    shift = jax.random.uniform(shift, (b, 2, 1), minval=-2, maxval=2)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    matrix = scale * jnp.stack([jnp.stack([cos, shear - sin], -1), jnp.stack([sin, cos], -1)], -2)  # [B, 2, 2]
    middle = jnp.array([[(h - 1) / 2], [(w - 1) / 2]])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")).reshape(2, -1) - middle  # [2, H W]
    coordinates = matrix @ grid + middle + shift  # [B, 2, H W]
    moved = jax.vmap(lambda image, at: map_coordinates(image, list(at), order=1))(images[..., 0], coordinates)
    return moved.reshape(images.shape)


def train(images: np.ndarray, labels: np.ndarray, test: tuple[np.ndarray, np.ndarray], seed: int = 0) -> dict[str, Any]:
    """The variables after `EPOCHS` epochs; a line is printed for each.

    Args:
      images: uint8 [N, 28, 28, 1].
      labels: [N], 0 to 9.
      test: other images and labels, to report on.
      seed: of the first parameters, the order, the augmentation and the dropout.
    """
    batches = len(images) // BATCH_SIZE
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, batches, EPOCHS * batches)
    tx = optax.adam(schedule)
    init_key, run_key = jax.random.split(jax.random.key(seed, impl="threefry2x32"))
    variables: Any = DigitClassifier().init(init_key, jnp.zeros((1, 28, 28, 1)))
    carry = (variables, tx.init(variables))
    data = jax.device_put((images, labels.astype(np.int32)))
    for epoch in range(EPOCHS):
        began = time.perf_counter()
        carry, loss = _epoch(carry, data, jax.random.fold_in(run_key, epoch), tx)
        right = (classify(test[0], carry[0])[0].argmax(-1) == test[1]).sum()
        seconds = time.perf_counter() - began
        print(
            f"{epoch + 1}: loss {loss:.4f}, test accuracy {100 * right / len(test[1]):.2f} %, {seconds:.0f} s",
            flush=True,
        )
    return dict(carry[0])


@functools.partial(jax.jit, static_argnames="tx")
def _epoch(carry: Any, data: tuple[jax.Array, jax.Array], key: jax.Array, tx: optax.GradientTransformation) -> Any:
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
            logits, _ = DigitClassifier().apply(variables, x, train=True, rngs={"dropout": dropout_key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen]).mean()

        value, grads = jax.value_and_grad(loss)(variables)
        updates, opt_state = tx.update(grads, opt_state, variables)
        return (optax.apply_updates(variables, updates), opt_state), value

    carry, losses = jax.lax.scan(step, carry, (order, jnp.arange(len(order))))
    return carry, losses.mean()


def write_weights(path: Path, variables: dict[str, Any]) -> str:
    """Write the parameters as an ``.npz`` of arrays named by their place; the file's SHA-256."""
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    arrays = {jax.tree_util.keystr(at, simple=True, separator="/"): np.asarray(leaf) for at, leaf in leaves}
    with path.open("wb") as file:  # by name, NumPy would add a suffix
        np.savez(file, allow_pickle=False, **arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the .npz to write (default: the package's own)")
    path = parser.parse_args().weights
    path.touch()  # better now than after the training
    test = load_dataset(split="test"), load_labels(split="test")
    variables = train(load_dataset(), load_labels(), test)
    digest = write_weights(path, variables)
    wrong = (classify(test[0], variables)[0].argmax(-1) != test[1]).sum()
    print(f"{wrong} of 10,000 test images wrong; wrote {path} ({path.stat().st_size:,} bytes), SHA-256 {digest}")


if __name__ == "__main__":
    main()
