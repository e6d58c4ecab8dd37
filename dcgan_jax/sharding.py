"""How the steps shard their own arrays over devices; on one device this changes no bit."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def shard_like(z: jax.Array, images: jax.Array) -> jax.Array:
    """Shard the noise ``z`` [B, latent] along its rows like ``images`` [B, ...]; its values are unchanged.

    The noise depends on no sharded argument, so otherwise every device would draw all of it, and compute all fakes from
    it.
    """
    pixel = images.reshape(images.shape[0], -1)[:, :1].astype(z.dtype)  # [B, 1]
    # The sum is sharded like its terms, and has the bits of z: after nan_to_num the product is exactly 0.
    return z + 0 * jnp.nan_to_num(pixel)


def with_auto_axes(outputs: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: inside the function an ``Explicit`` mesh has ``Auto`` axes, so that XLA chooses the shardings.

    `jax.make_mesh` makes ``Explicit`` axes by default, with which every operation would have to name the sharding of
    its result. The function's results have explicit shardings again.

    Args:
      outputs: ``(mesh, shardings of the arguments by name, a NamedSharding for each leaf) -> shardings of the
        results``. It is called only for ``Explicit`` meshes.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            static = {name: value for name, value in given.items() if isinstance(value, int | np.integer)}
            arrays = {name: value for name, value in given.items() if name not in static}
            shardings = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, arrays)
            meshes = [each.mesh for each in jax.tree.leaves(shardings) if each.mesh.explicit_axes]
            if not meshes:
                return function(**given)
            inside = jax.sharding.auto_axes(
                lambda arrays: function(**arrays, **static),
                axes=meshes[0].explicit_axes,
                out_sharding=outputs(meshes[0], shardings),
            )
            return inside(arrays)

        return wrapped

    return decorate


def state_shardings(mesh: Any, shardings: dict[str, Any]) -> tuple[Any, NamedSharding]:
    """For a step: the new state is sharded like the old, or replicated if that was on no mesh; metrics replicated."""
    replicated = NamedSharding(mesh, PartitionSpec())
    state = jax.tree.map(lambda each: each if each.mesh.axis_names else replicated, shardings["state"])
    return state, replicated


def image_sharding(mesh: Any, shardings: dict[str, Any]) -> NamedSharding:
    """For `generate`: each image is on the device of its noise."""
    return NamedSharding(mesh, PartitionSpec(*shardings["z"].spec[:1]))
