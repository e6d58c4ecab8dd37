"""What steps do with their arguments first: pin the key, check batch and labels, scale images."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.prng import pin_key
from dcgan_jax.sampling import check_labels
from dcgan_jax.state import check_is_state


def with_checked_arguments(step: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for steps that pins the key and checks the number of images and labels.

    The key gives the same numbers whatever JAX's settings are (`dcgan_jax.prng.pin_key`). The batch has ``batch_size``
    rows if the step has that argument, else those of ``images``.
    """
    signature = inspect.signature(step)
    needs_images = (
        "images" in signature.parameters and signature.parameters["images"].default is inspect.Parameter.empty
    )

    @functools.wraps(step)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        check_is_state(given["state"])
        images = given.get("images")
        if images is not None or needs_images:
            _check_images(images)
        rows = 0 if images is None else images.shape[0]
        batch_size = given.get("batch_size", rows)
        if batch_size < 1:
            raise ValueError(f"a batch must have at least one image, got {batch_size}")
        if images is not None and rows != batch_size:
            raise ValueError(f"images must have batch_size = {batch_size} rows, got {rows}")
        check_labels(given["state"], given.get("labels"), batch_size)
        return step(**{**given, "key": pin_key(given["key"])})

    return checked


def _check_images(images: Any) -> None:
    """Raises: TypeError unless images are an array, and no scalar; `to_unit_range` compares their shape."""
    is_key = hasattr(images, "dtype") and jnp.issubdtype(images.dtype, jax.dtypes.prng_key)
    if is_key or not getattr(images, "shape", ()):
        got = "a PRNG key: images come before the key" if is_key else type(images).__name__
        raise TypeError(f"images must be an array [B, H, W, C], got {got}")


def to_unit_range(images: jax.Array, fake: jax.Array) -> jax.Array:
    """Real images in [0, 1], in the dtype of the fakes.

    Raises:
      ValueError: if their shape is not that of the fakes.
      TypeError: if they are neither uint8 nor floating point.
    """
    if images.shape != fake.shape:
        raise ValueError(f"real images must have the generator's shape {fake.shape}, got {images.shape}")
    if images.dtype == jnp.uint8:
        return images.astype(fake.dtype) / 255
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(fake.dtype)
    raise TypeError(f"real images must be uint8 or floating point in [0, 1], got {images.dtype}")


def check_scalar(value: jax.Array, what: str) -> jax.Array:
    """The value of a caller's loss. Raises: ValueError or TypeError unless it is one floating-point number."""
    if not isinstance(value, jax.Array | float | np.ndarray | np.generic | int):
        raise TypeError(f"{what} must return a floating-point scalar, got {type(value).__name__}")
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise TypeError(f"{what} must return a floating-point scalar, got {jnp.result_type(value)}")
    if jnp.shape(value):
        raise ValueError(f"{what} must return a scalar, got an array of shape {jnp.shape(value)}: take its mean")
    return value


def check_augmented(augmented: jax.Array, images: jax.Array) -> jax.Array:
    """An augmentation's output. Raises: TypeError or ValueError unless its shape and dtype are those of ``images``."""
    if not isinstance(augmented, jax.Array):
        raise TypeError(f"an augmentation must return images, got {type(augmented).__name__}")
    if (augmented.shape, augmented.dtype) != (images.shape, images.dtype):
        raise ValueError(
            f"an augmentation must keep shape and dtype, {images.shape} and {images.dtype}, and returned "
            f"{augmented.shape} and {augmented.dtype}"
        )
    return augmented
