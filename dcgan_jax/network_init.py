"""The initial variables of both networks, and checks of what they return."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.errors import InvalidRngError, ScopeCollectionNotFound

from dcgan_jax.errors import first_line
from dcgan_jax.prng import flax_defaults

Labels = jax.Array | jax.ShapeDtypeStruct | None


def given_labels(labels: Labels) -> dict[str, Any]:
    """The labels as an argument of a module, if there are any: a module without classes need not accept them."""
    return {} if labels is None else {"labels": labels}


def init_variables(
    key: jax.Array, generator: nn.Module, discriminator: nn.Module, latent_size: int, classes: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The initial variables of both networks, of the collections that a state holds.

    Raises:
      ValueError: if the images are not [B, H, W, C] or the logits not [B, 1], or a network draws random numbers in
        inference mode or reads other collections.
      TypeError: if a network does not return one floating-point array.
    """
    generator_key, discriminator_key = jax.random.split(key)
    z = jnp.zeros((1, latent_size), jnp.float32)
    with flax_defaults():
        labels = None if classes is None else jnp.zeros(1, jnp.int32)
        two = None if classes is None else jax.ShapeDtypeStruct((2,), jnp.int32)
        g_variables = _init(generator, generator_key, z, labels)
        images = _output(generator, g_variables, jax.ShapeDtypeStruct((2, latent_size), jnp.float32), two)
        if len(images.shape) != 4 or images.shape[0] != 2:
            raise ValueError(f"the generator must return images [B, H, W, C], got shape {images.shape} with B = 2")
        one = jnp.zeros((1, *images.shape[1:]), images.dtype)
        d_variables = _init(discriminator, discriminator_key, one, labels)
        logits = _output(discriminator, d_variables, images, two)
        if logits.shape != (2, 1):
            raise ValueError(f"the discriminator must return logits [B, 1], got shape {logits.shape} with B = 2")
    return g_variables, d_variables


def _init(module: nn.Module, key: jax.Array, x: jax.Array, labels: jax.Array | None) -> dict[str, Any]:
    """The variables that a module's ``init`` returns for an input of one row."""
    shapes = jax.eval_shape(functools.partial(_run_init, module), key, x, labels)
    return jitted_init(_Network(module, shapes), key, x, labels)


class _Network(struct.PyTreeNode):
    """A module and the shapes of its variables, which are static.

    Equal modules may have variables of other shapes, as where a cell of a notebook changes a global that they read.
    """

    module: nn.Module = struct.field(pytree_node=False)
    shapes: Any = struct.field(pytree_node=False)


@jax.jit
def jitted_init(network: _Network, key: jax.Array, x: jax.Array, labels: jax.Array | None) -> dict[str, Any]:
    """As the module's ``init``: compiled once for equal networks, and without the outputs that are not needed."""
    return _run_init(network.module, key, x, labels)


def _run_init(module: nn.Module, key: jax.Array, x: jax.Array, labels: jax.Array | None) -> dict[str, Any]:
    variables = module.init(key, x, train=False, **given_labels(labels))
    return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


def _output(module: nn.Module, variables: Any, x: jax.ShapeDtypeStruct, labels: Labels) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a module's output for a batch of two in inference mode."""
    try:
        output = jax.eval_shape(functools.partial(module.apply, train=False), variables, x, **given_labels(labels))
    except ScopeCollectionNotFound as error:
        raise ValueError(
            f"{type(module).__name__} reads variables of another collection than params and batch_stats, and steps "
            f"carry no others: make them constants of the module ({first_line(error)})"
        ) from error
    except InvalidRngError as error:
        raise ValueError(
            f"{type(module).__name__} draws random numbers in inference mode, where images and logits are functions of "
            "the input alone: draw only if train"
        ) from error
    if not isinstance(output, jax.ShapeDtypeStruct) or not jnp.issubdtype(output.dtype, jnp.floating):
        raise TypeError(f"{type(module).__name__} must return one floating-point array, got {output}")
    return output
