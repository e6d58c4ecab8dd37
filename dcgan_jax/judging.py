"""The discriminator in a step: the augmentation of its inputs, its accuracy, and its penalty."""

from typing import Any

import jax
import jax.numpy as jnp

from dcgan_jax.augment import Adaptive
from dcgan_jax.losses import discriminator_accuracy, generator_accuracy, pair_accuracy
from dcgan_jax.state import GANState
from dcgan_jax.step_arguments import check_augmented, check_scalar, to_unit_range
from dcgan_jax.types import Images, Key, Labels, Logits, RealImages, Scalar


def augmented(state: GANState, images: Images, key: Key) -> Images:
    """Images [N, H, W, C] as the discriminator sees them."""
    if state.augment is None:
        return images
    key = jax.random.fold_in(key, 3)  # 1 and 2 are for the network's own streams and the penalty
    probability = () if state.augment_probability is None else (state.augment_probability,)
    return check_augmented(state.augment(images, key, *probability), images)


def adapted_probability(state: GANState, real_logits: Logits, fake_logits: Logits) -> Scalar | None:
    """The probability of an adaptive augmentation after an update with these logits [B, 1]."""
    if state.augment_probability is None or not isinstance(state.augment, Adaptive):
        return None
    called_real = pair_accuracy(real_logits, fake_logits if state.losses.pairwise else jnp.zeros_like(real_logits))
    return state.augment.adapt(state.augment_probability, called_real, real_logits.shape[0])


def judge_real(
    state: GANState, params: Any, images: RealImages | None, fake: Images, key: Key, labels: Labels | None
) -> Logits | None:
    """The logits [B, 1] of the step's real images in the generator's update, if its loss is pairwise."""
    if not state.losses.pairwise:
        return None
    if images is None:
        raise ValueError("a pairwise loss compares fakes with real images: pass images to generator_step")
    key = jax.random.fold_in(key, 4)
    seen = augmented(state, to_unit_range(images, fake), key)  # [B, H, W, C]
    return state.discriminator.train(params, seen, key, labels)[0]


def accuracy_of_discriminator(state: GANState, real_logits: Logits, fake_logits: Logits) -> Scalar:
    """Share of images classified correctly, or of pairs if the loss is pairwise, in [0, 1]."""
    count = pair_accuracy if state.losses.pairwise else discriminator_accuracy
    return count(real_logits, fake_logits)


def accuracy_of_generator(fake_logits: Logits, real_logits: Logits | None) -> Scalar:
    """Share of fakes classified as real, or that look more real than the paired image, in [0, 1]."""
    return generator_accuracy(fake_logits) if real_logits is None else pair_accuracy(fake_logits, real_logits)


def penalty_value(state: GANState, params: Any, real: Images, fake: Images, key: Key, labels: Labels | None) -> Scalar:
    """The penalty in the steps that have one, and 0 in the others.

    It is computed on every ``penalty_stride``-th image. With labels, the penalty must pass all of these images to its
    discriminator, in order, once or several times.
    """
    penalty, every, stride = state.losses.penalty, state.losses.penalty_every, state.losses.penalty_stride
    assert penalty is not None
    real, fake = real[::stride], fake[::stride]  # if the batch is sharded, each device has the same number
    labels = None if labels is None else labels[::stride]
    dropout_key, key = jax.random.split(jax.random.fold_in(key, 2))  # 1 is for the update's own streams

    def value(params: Any) -> Scalar:
        def discriminator(x: Images) -> Logits:
            if labels is not None and x.shape[0] % real.shape[0]:
                raise ValueError(
                    f"a penalty's discriminator judges images by their labels: give it all {real.shape[0]}, "
                    f"in their order, once or several times, got {x.shape[0]}"
                )
            of_x = None if labels is None else jnp.tile(labels, x.shape[0] // real.shape[0])
            return state.discriminator.train(params, augmented(state, x, dropout_key), dropout_key, of_x)[0]

        return every * check_scalar(penalty(discriminator, real, fake, key), "the penalty")

    if every == 1:
        return value(params)
    zero = jax.eval_shape(value, params)
    return jax.lax.cond(state.step % every == 0, value, lambda _: jnp.zeros(zero.shape, zero.dtype), params)
