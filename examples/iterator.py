"""Training from an iterator of your own: a Python generator here, a `grain` or `tf.data` one alike.

    python examples/iterator.py --steps 50 --batch-size 64

The step takes a batch wherever it comes from: uint8 in [0, 255] or floating point in [0, 1], on the host or a device.
While the device works, the next batch is already on its way to it.
"""

import argparse
import collections
import itertools
from collections.abc import Iterator

import jax
import numpy as np

from dcgan_jax import GANState, init_state, load_dataset, train_step


def shifted_digits(batch_size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random digits [B, 28, 28, 1], each moved by up to two pixels: an augmentation on the host."""
    data, random = load_dataset(), np.random.default_rng(seed)
    while True:
        images = data[random.integers(0, len(data), batch_size)]
        yield np.stack([np.roll(image, random.integers(-2, 3, 2), axis=(0, 1)) for image in images])


def prefetched(batches: Iterator[np.ndarray], ahead: int = 2) -> Iterator[jax.Array]:
    """The same batches, ``ahead`` of them put on the device before they are asked for."""
    queue = collections.deque(jax.device_put(batch) for batch in itertools.islice(batches, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(jax.device_put(batch) for batch in itertools.islice(batches, 1))


def main(steps: int, batch_size: int) -> GANState:
    key = jax.random.key(0)
    state = init_state(key)
    for i, images in enumerate(itertools.islice(prefetched(shifted_digits(batch_size)), steps)):
        state, metrics = train_step(state, images, jax.random.fold_in(key, i))
        if i % 10 == 0 or i == steps - 1:
            print(f"{i + 1}: D's loss {metrics['d_loss']:.3f}, G's {metrics['g_loss']:.3f}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
