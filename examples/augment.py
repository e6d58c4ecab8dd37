"""Train on 200 pictures without the discriminator memorising them.

    python examples/augment.py --steps 400 --batch-size 32
    python examples/augment.py --steps 400 --batch-size 32 --augment none

Everything the discriminator sees, real images and fakes, is translated, recoloured and cut out; the generator's images
are not. The output shows the discriminator's mean logits of the pictures and of others that it has never seen: if the
first rise and the second do not, it memorises the pictures. On the command line: ``train --augment adaptive``.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

from dcgan_jax import GANState, init_state, load_dataset, train_step
from dcgan_jax.augment import adaptive, brightness, compose, contrast, cutout, translation

AUGMENTATIONS = {
    "none": None,
    "fixed": compose(translation(), brightness(), contrast(), cutout()),
    "adaptive": adaptive(translation(reflect=True), brightness(), contrast(), cutout(), target=0.8, images=20_000),
}


@jax.jit
def mean_logit(state: GANState, images: jax.Array) -> jax.Array:
    return state.discriminator.infer(images / 255).mean()


def main(steps: int, batch_size: int, augment: str = "adaptive", pictures: int = 200) -> GANState:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    seen, held_out = data[:pictures], data[pictures : 2 * pictures]
    adam = optax.adam(2e-4, b1=0.5)
    state = init_state(key, generator_tx=adam, discriminator_tx=adam, augment=AUGMENTATIONS[augment])
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, seen[jax.random.randint(batch_key, (batch_size,), 0, pictures)], step_key)
        if i % 50 == 0 or i == steps - 1:
            logits = f"{mean_logit(state, seen):.2f} and {mean_logit(state, held_out):.2f}"
            probability = f", augmented with {metrics['d_augment']:.2f}" if "d_augment" in metrics else ""
            print(f"{i + 1}: logits of the pictures and of others {logits}{probability}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--augment", choices=list(AUGMENTATIONS), default="adaptive")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    main(**vars(parser.parse_args()))
