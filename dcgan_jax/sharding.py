"""Arrays spread over devices: what the steps ask of the compiler, and nothing on one device."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def spread_like(z: jax.Array, images: jax.Array) -> jax.Array:
    """The noise ``z`` [B, latent], its rows on the devices that hold the rows of ``images`` [B, ...].

    Noise depends on no argument that is spread over devices, so without this every device would draw all of it, and
    all fakes from it.
    """
    pixel = images.reshape(images.shape[0], -1)[:, :1].astype(z.dtype)  # [B, 1]
    # The sum has the layout of its terms, and the bits of z: no pixel is NaN or infinite any more, so this one is 0.
    return z + 0 * jnp.nan_to_num(pixel)


def automatic(outputs: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that leaves it to the compiler how a function's own arrays are laid out, on any mesh.

    On a mesh whose axes are ``Explicit``, which `jax.make_mesh` makes by default, every operation would have to say how
    its result is laid out. Inside the function such axes are ``Auto``; outside, its results have a layout again.

    Args:
      outputs: given the mesh and, under their names, the layouts of the arguments (a `NamedSharding` for each leaf),
        those of the results. It is not called on other meshes.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            static = {name: value for name, value in given.items() if isinstance(value, int | np.integer)}
            arrays = {name: value for name, value in given.items() if name not in static}
            layouts = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, arrays)
            meshes = [layout.mesh for layout in jax.tree.leaves(layouts) if layout.mesh.explicit_axes]
            if not meshes:
                return function(**given)
            inside = jax.sharding.auto_axes(
                lambda arrays: function(**arrays, **static),
                axes=meshes[0].explicit_axes,
                out_sharding=outputs(meshes[0], layouts),
            )
            return inside(arrays)

        return wrapped

    return decorate


def as_the_state(mesh: Any, layouts: dict[str, Any]) -> tuple[Any, NamedSharding]:
    """Of a step: the new state is laid out as the old one, on every device if that was on none; so are the metrics."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    state = jax.tree.map(lambda layout: layout if layout.mesh.axis_names else everywhere, layouts["state"])
    return state, everywhere


def as_the_noise(mesh: Any, layouts: dict[str, Any]) -> NamedSharding:
    """Of images: each on the device of its noise."""
    return NamedSharding(mesh, PartitionSpec(*layouts["z"].spec[:1]))
