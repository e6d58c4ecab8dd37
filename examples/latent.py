"""The noise that draws a given digit: GAN inversion through a frozen generator, with `jax.grad`.

    python examples/latent.py runs/0001 --images 8 --steps 300

For each real test image, gradient descent on the squared error moves the noise until the generator of a run draws
something like it. The left half of each pair in ``latent.png`` is the test image, the right half the result.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dcgan_jax import GANState, generate, load_dataset, load_run, save_grid


def find_noise(state: GANState, images: jax.Array, key: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    """The noise [B, latent] in [-1, 1] whose images are nearest to ``images``, and each step's mean squared error."""
    tx = optax.adam(0.05)

    def error(z: jax.Array) -> jax.Array:
        return jnp.square(generate(state, z) - images).mean()

    def step(carry: tuple[jax.Array, optax.OptState], _: None) -> tuple[tuple[jax.Array, optax.OptState], jax.Array]:
        z, opt_state = carry
        value, grad = jax.value_and_grad(error)(z)
        updates, opt_state = tx.update(grad, opt_state)
        return (jnp.clip(jnp.asarray(optax.apply_updates(z, updates)), -1, 1), opt_state), value

    z = jax.random.uniform(key, (len(images), state.latent_size), minval=-1.0)
    (z, _), errors = jax.jit(lambda z: jax.lax.scan(step, (z, tx.init(z)), length=steps))(z)
    return z, errors


def main(run: Path, images: int, steps: int, out: Path = Path("latent.png")) -> jax.Array:
    state = load_run(run).state
    targets = jnp.asarray(load_dataset(split="test")[:images], jnp.float32) / 255
    z, errors = find_noise(state, targets, jax.random.key(0), steps)
    pairs = np.stack([targets, generate(state, z)], axis=1).reshape(-1, *targets.shape[1:])
    save_grid(out, pairs, columns=4)
    print(f"mean squared error from {errors[0]:.4f} to {errors[-1]:.4f}; pairs in {out}")
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("latent.png"))
    main(**vars(parser.parse_args()))
