"""Your own training loop over batches that a thread gathers ahead, resumable bit for bit.

    python examples/iterator.py --steps 50 --batch-size 64
    python examples/iterator.py --steps 50 --batch-size 64 --dataset images.npy   # stays in its file if it is large

A batch depends only on the key and the step number, so no position in the data has to be saved. The step also takes
batches from elsewhere, such as `grain` or `tf.data`: uint8 in [0, 255] or floating point in [0, 1].
"""

import argparse

import jax

from dcgan_jax import GANState, batches, init_state, load_data, train_step
from dcgan_jax.data import Dataset


def train_on(state: GANState, images: Dataset, key: jax.Array, steps: int, batch_size: int) -> GANState:
    """The state after ``steps`` steps in total, starting from any step."""
    first = int(state.step)
    for step, (batch, _) in zip(range(first, steps), batches(images, key, batch_size, first), strict=False):
        state, metrics = train_step(state, batch, jax.random.fold_in(key, step))
        if step % 10 == 0 or step == steps - 1:
            print(f"{step + 1}: D's loss {metrics['d_loss']:.3f}, G's {metrics['g_loss']:.3f}")
    return state


def main(steps: int, batch_size: int, dataset: str = "mnist") -> GANState:
    key, data = jax.random.key(0), load_data(dataset, labels=False, image_size=(28, 28), channels=1, stream=None)
    halfway = train_on(init_state(key), data, key, steps // 2, batch_size)
    return train_on(halfway, data, key, steps, batch_size)  # as from a checkpoint


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dataset", default="mnist")
    main(**vars(parser.parse_args()))
