"""Shared by export and import: the two networks by name, their arrays by name, and optional packages."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from dcgan_jax import versions
from dcgan_jax.errors import UserError
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState, NetworkState

NETWORKS = ("generator", "discriminator")
_COLLECTIONS = ("params", "batch_stats")


class WeightsError(UserError):
    """Networks or weights cannot be exported or imported."""


class ShapeError(WeightsError):
    """Weights are those of networks for images of another shape."""


def check_shape(shape: Sequence[int], state: GANState, source: str) -> None:
    """Check the shape [H, W, C] of the images that weights were trained on: arrays for others may have equal shapes.

    Raises: ShapeError if the state's images have another.
    """
    if tuple(shape) != image_shape(state):
        given, ours = ("x".join(map(str, each)) for each in (shape, image_shape(state)))
        raise ShapeError(f"{source} has networks for images of {given}, and these are for {ours}")


def require(module: str) -> Any:
    """Import a module of a package of the extra ``export``.

    Raises:
      WeightsError: if the package, or one that it imports, is not installed.
    """
    return versions.require(module, "export", "this", WeightsError)


def check_networks(*networks: str) -> None:
    """Raises: ValueError for names that are not of networks."""
    for network in networks:
        if network not in NETWORKS:
            raise ValueError(f"network must be {' or '.join(NETWORKS)}, got {network!r}")


def network_state(state: GANState, network: str) -> NetworkState:
    """The ``generator`` or the ``discriminator`` of a state. Raises: ValueError for another name."""
    check_networks(network)
    return state.generator if network == "generator" else state.discriminator


def input_shape(state: GANState, network: str) -> tuple[int, ...]:
    """The shape of a network's input without the batch: [latent], or [H, W, C]."""
    return (state.latent_size,) if network == "generator" else image_shape(state)


def what_decides(state: GANState) -> str:
    """The end of messages on arrays of other networks: the settings that the package's own follow from."""
    modules = (network_state(state, network).module for network in NETWORKS)
    if not all(isinstance(module, Generator | Discriminator) for module in modules):
        return ""
    return ": layers and their sizes follow from the images, `conditional`, `width` and `latent_size`"


def network_variables(state: GANState) -> dict[str, dict[str, Any]]:
    """The parameters and moving statistics of both networks as one tree: ``generator/params/conv_1/kernel``."""
    return {
        network: {collection: getattr(network_state(state, network), collection) for collection in _COLLECTIONS}
        for network in NETWORKS
    }


def named_arrays(state: GANState) -> dict[str, jax.Array]:
    """The arrays of `network_variables` by their `leaf_name`."""
    leaves = jax.tree_util.tree_leaves_with_path(network_variables(state))
    return {leaf_name(at): leaf for at, leaf in leaves}


def leaf_name(path: Any) -> str:
    """A leaf's path in a tree, as ``generator/params/conv_1/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


@contextlib.contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """A context in which these loggers log only critical messages."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
