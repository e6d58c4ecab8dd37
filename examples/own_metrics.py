"""Your own per-step metrics and your own noise: gradient norms, the gap between logits, Gaussian noise.

    python examples/own_metrics.py --steps 200 --batch-size 64

`init_state(metrics=...)` takes a function of an `Update` that returns a dict of arrays. `train_step` returns them
with its own, under ``d_`` for the discriminator's update and ``g_`` for the generator's. `init_state(noise=...)`
takes a function of a key and a shape, which `sample` and `evaluate` use too.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

from dcgan_jax import GANState, Update, init_state, load_dataset, train_step


def norms_and_gap(update: Update) -> dict[str, jax.Array]:
    """The gradient norm, the length of the step, and the gap between D's logits of real images and fakes."""
    change = optax.tree.sub(update.after.params, update.before.params)
    metrics = {"grad_norm": optax.tree.norm(update.grads), "change": optax.tree.norm(change)}
    if update.real_logits is not None:
        metrics["gap"] = update.real_logits.mean() - update.fake_logits.mean()
    return metrics


def gaussian(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Noise with mean 0 and variance 1, as in most GANs."""
    return jax.random.normal(key, shape, jnp.float32)


def main(steps: int, batch_size: int) -> GANState:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    state = init_state(key, metrics=norms_and_gap, noise=gaussian)
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, data[jax.random.randint(batch_key, (batch_size,), 0, len(data))], step_key)
        if i % 20 == 0 or i == steps - 1:
            print(f"{i + 1}: " + ", ".join(f"{name} {float(value):.4g}" for name, value in sorted(metrics.items())))
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
