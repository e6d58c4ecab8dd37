"""The state of a GAN in training: one pytree with two symmetric halves."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.optimizers import preset


class NetworkState(struct.PyTreeNode):
    """One network: its arrays, and the module and the optimizer they belong to.

    Attributes:
      params: the parameters, as ``module.init`` returns them.
      batch_stats: the moving statistics; ``{}`` for a module that has none.
      opt_state: the optimizer's.
      module: a Linen module called as ``module(x, train=...)``. Static.
      tx: an Optax transformation. Static.
    """

    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    module: nn.Module = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)

    def infer(self, x: jax.Array) -> jax.Array:
        """The network in inference mode: moving statistics, no dropout."""
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        return self.module.apply(variables, x, train=False)  # pyright: ignore[reportReturnType]

    def train(self, params: Any, x: jax.Array, dropout_key: jax.Array) -> tuple[jax.Array, Any]:
        """The network in training mode with these ``params``: its output and the updated ``batch_stats``."""
        output, updates = self.module.apply(
            {"params": params, "batch_stats": self.batch_stats},
            x,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        return output, updates.get("batch_stats", self.batch_stats)

    def update(self, grads: Any, batch_stats: Any) -> "NetworkState":
        """One update of the optimizer along ``grads``, with the new ``batch_stats``."""
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        return self.replace(params=params, batch_stats=batch_stats, opt_state=opt_state)


class GANState(struct.PyTreeNode):
    """Everything that training changes.

    Attributes:
      step: calls of ``train_step`` so far, an int32 scalar.
      generator: the half that draws.
      discriminator: the half that judges.
      latent_size: dimensions of the noise. Static.
    """

    step: jax.Array
    generator: NetworkState
    discriminator: NetworkState
    latent_size: int = struct.field(pytree_node=False)


def init_state(
    key: jax.Array,
    *,
    generator: nn.Module | None = None,
    discriminator: nn.Module | None = None,
    generator_tx: optax.GradientTransformation | None = None,
    discriminator_tx: optax.GradientTransformation | None = None,
    latent_size: int = 100,
) -> GANState:
    """A fresh state; the images' shape is that of the generator's output.

    Args:
      key: a PRNG key.
      generator: a Linen module ``(z [B, latent_size], train) -> images [B, H, W, C] in [0, 1]``.
        `Generator()` if None.
      discriminator: a Linen module ``(images [B, H, W, C], train) -> logits [B, 1]``. `Discriminator()` if None.
      generator_tx: any Optax transformation; the ``tutorial`` preset's if None.
      discriminator_tx: likewise.
      latent_size: dimensions of the noise; the tutorial's 100.
    """
    generator = Generator() if generator is None else generator
    discriminator = Discriminator() if discriminator is None else discriminator
    tutorial = preset("tutorial")
    generator_key, discriminator_key = jax.random.split(key)
    z = jnp.zeros((1, latent_size))
    # jit: the outputs that init throws away are then never computed.
    g_variables = jax.jit(generator.init)(generator_key, z)
    images = jax.eval_shape(generator.apply, g_variables, z)
    d_variables = jax.jit(discriminator.init)(discriminator_key, jnp.zeros(images.shape, images.dtype))
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=_network(generator, g_variables, generator_tx or tutorial.generator),
        discriminator=_network(discriminator, d_variables, discriminator_tx or tutorial.discriminator),
        latent_size=latent_size,
    )


def _network(module: nn.Module, variables: Any, tx: optax.GradientTransformation) -> NetworkState:
    params = variables["params"]
    return NetworkState(
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        module=module,
        tx=tx,
    )
