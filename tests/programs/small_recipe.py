"""A recipe of a small GAN for images of any shape, with or without classes: quick to compile, to run and to save."""

import math

import flax.linen as nn
import jax.numpy as jnp

from dcgan_jax import init_state


class SmallGenerator(nn.Module):
    """A user's own generator: one dense layer, batch norm, dropout."""

    shape: tuple[int, int, int] = (8, 8, 1)
    classes: int | None = None

    @nn.compact
    def __call__(self, z, train=False, labels=None):
        if self.classes:
            z = z + nn.Embed(self.classes, z.shape[-1])(labels)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(64)(z))
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        return nn.sigmoid(nn.Dense(math.prod(self.shape))(x)).reshape(-1, *self.shape)


class SmallDiscriminator(nn.Module):
    """A user's own discriminator: two dense layers and dropout."""

    classes: int | None = None

    @nn.compact
    def __call__(self, images, train=False, labels=None):
        x = nn.leaky_relu(nn.Dense(32)(images.reshape(images.shape[0], -1)))
        if self.classes:
            x = jnp.concatenate([x, nn.Embed(self.classes, 8)(labels)], axis=-1)
        return nn.Dense(1)(nn.Dropout(0.1, deterministic=not train)(x))


def init(key, shape, classes):
    """The first state of a run."""
    return init_state(
        key,
        generator=SmallGenerator(tuple(shape), classes),
        discriminator=SmallDiscriminator(classes),
        latent_size=5,
        classes=classes,
    )
