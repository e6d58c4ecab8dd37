"""Augmentations of the discriminator's inputs, real and fake, so that it does not memorise a small data set.

Each is a differentiable function ``(images [B, H, W, C], key) -> images``, because the generator learns through it. It
keeps shape and dtype, and the range [0, 1], except that colours may leave it: clipping would remove the gradient.
`translation`, `cutout`, `brightness`, `saturation` and `contrast` are those of Zhao et al., arXiv:2006.10738, with
their strengths; `compose` applies several in sequence, and `adaptive` applies each with a probability that follows the
discriminator.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from dcgan_jax.types import Images, Key, Scalar

Augment = Callable[[Images, Key], Images]

AUGMENTATIONS = ("translation", "color", "cutout", "flip", "adaptive")


def translation(ratio: float = 1 / 8, reflect: bool = False) -> Augment:
    """Shift each image by whole pixels, up to ``ratio`` of its sides, and fill the gap with black.

    With ``reflect`` the image is mirrored into the gap, as Karras et al., arXiv:2006.06676, do: where only some images
    are shifted, the generator may learn to draw black edges, as images with them look real to the discriminator.
    """
    return _Translation(_share(ratio, "ratio"), reflect)


def cutout(ratio: float = 1 / 2) -> Augment:
    """Black out a rectangle with ``ratio`` of each image's sides, centred anywhere in the image."""
    return _Cutout(_share(ratio, "ratio"))


def brightness(strength: float = 1 / 4) -> Augment:
    """Add a random number from ``-strength`` to ``strength`` to all pixels of each image."""
    return _Brightness(_share(strength, "strength"))


def saturation() -> Augment:
    """Scale the distance of colours from their grey by a random factor from 0 to 2 for each image."""
    return _Saturation()


def contrast(strength: float = 1 / 2) -> Augment:
    """Scale pixels' distances from their image's mean by a random factor from ``1 - strength`` to ``1 + strength``."""
    return _Contrast(_share(strength, "strength"))


def horizontal_flip() -> Augment:
    """Mirror each image, left to right, with probability 1/2."""
    return _Flip()


def compose(*augmentations: Augment) -> Augment:
    """Apply several augmentations in sequence, each with its own key.

    Raises:
      ValueError: if none is given.
    """
    return _Composed(_some(augmentations))


def adaptive(*augmentations: Augment, target: float = 0.8, images: int = 100_000) -> "Adaptive":
    """Apply each augmentation to each image with a probability that is kept in the state and adapted in each step.

    It rises while the discriminator classifies more than ``target`` of the real images as real, a sign that it
    memorises them, and falls otherwise, each time by the batch size divided by ``images`` (Karras et al.,
    arXiv:2006.06676).

    Args:
      augmentations: at least one.
      target: share of the real images, in (0, 1). The paper's mean sign of 0.6 is a share of 0.8.
      images: real images in which the probability can go from 0 to 1. The paper's is 500,000, and 100,000 for transfer
        learning.

    Raises:
      ValueError: if a number is out of range, or no augmentation is given.
    """
    if not 0 < target < 1:
        raise ValueError(f"target must be in (0, 1), got {target}")
    if images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    return Adaptive(_some(augmentations), target, images)


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """The augmentation that `adaptive` returns; its calls also take the probability."""

    augmentations: tuple[Augment, ...]
    target: float
    images: int

    def __call__(self, images: Images, key: Key, probability: Scalar) -> Images:
        """Apply each augmentation to each image [B, H, W, C] with this probability, a scalar."""
        for augment, each_key in zip(self.augmentations, _split(key, self.augmentations), strict=True):
            choice_key, augment_key = jax.random.split(each_key)
            chosen = _chosen(choice_key, images, probability)
            images = jnp.where(chosen, augment(images, augment_key), images)
        return images

    def adapt(self, probability: Scalar, called_real: Scalar, batch_size: int) -> Scalar:
        """The probability after a step in which this share of ``batch_size`` real images was classified as real."""
        change = jnp.sign(called_real - self.target) * (batch_size / self.images)
        return jnp.clip(probability + change, 0.0, 1.0)


def named_augmentation(names: str) -> Augment | Adaptive:
    """The augmentation for a comma-separated list of names from `AUGMENTATIONS`.

    ``color`` is brightness, saturation and contrast. ``adaptive`` makes the others adaptive; alone it stands for
    adaptive translation, color and cutout, which do not change a picture's meaning. Adaptive translation reflects.

    Raises:
      ValueError: for an unknown or a repeated name.
    """
    given = [name.strip() for name in names.split(",")]
    for name in given:
        if name not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {name!r}: choose from {', '.join(AUGMENTATIONS)}")
    if len(set(given)) < len(given):
        raise ValueError(f"an augmentation is there twice in {names}")
    chosen = [name for name in given if name != "adaptive"] or ["translation", "color", "cutout"]
    augmentations: list[Augment] = []
    for name in AUGMENTATIONS:  # in a fixed order, whatever the order of the names
        if name in chosen:
            augmentations += _of_name(name, reflect="adaptive" in given)
    return adaptive(*augmentations) if "adaptive" in given else compose(*augmentations)


def _of_name(name: str, reflect: bool) -> list[Augment]:
    match name:
        case "translation":
            return [translation(reflect=reflect)]
        case "color":
            return [brightness(), saturation(), contrast()]
        case "cutout":
            return [cutout()]
    return [horizontal_flip()]


# Classes rather than closures, so that they compare by value, share a compiled step and can be pickled.
@dataclasses.dataclass(frozen=True)
class _Translation:
    ratio: float
    reflect: bool

    def __call__(self, images: Images, key: Key) -> Images:
        n, height, width, _ = images.shape
        row_key, column_key = jax.random.split(key)
        rows = self._shifts(row_key, n, height).astype(images.dtype)  # [B, H, H]
        columns = self._shifts(column_key, n, width).astype(images.dtype)  # [B, W, W]
        # Products with shifted identity matrices: exact, and as fast forwards as backwards on any device.
        return jnp.einsum("bij,bjkc,blk->bilc", rows, images, columns, precision="highest")

    def _shifts(self, key: jax.Array, n: int, side: int) -> jax.Array:
        """Identity matrices shifted by at most ``ratio`` of ``side``, [n, side, side]."""
        most = round(side * self.ratio)
        shifts = jax.random.randint(key, (n, 1, 1), -most, most + 1, jnp.int32)
        places = jnp.arange(side, dtype=jnp.int32)[None]
        sources = places[:, :, None] + shifts  # [n, side, 1]
        if self.reflect:  # 0 1 2 3 2 1 0 1 ...
            sources = side - 1 - jnp.abs(side - 1 - sources % max(2 * side - 2, 1))
        return sources == places[:, None, :]


@dataclasses.dataclass(frozen=True)
class _Cutout:
    ratio: float

    def __call__(self, images: Images, key: Key) -> Images:
        n, height, width, _ = images.shape
        row_key, column_key = jax.random.split(key)
        rows = _within(row_key, n, height, self.ratio)  # [B, H]
        columns = _within(column_key, n, width, self.ratio)  # [B, W]
        cut = (rows[:, :, None] & columns[:, None, :])[..., None]  # [B, H, W, 1]
        return jnp.where(cut, jnp.zeros_like(images), images)


@dataclasses.dataclass(frozen=True)
class _Brightness:
    strength: float

    def __call__(self, images: Images, key: Key) -> Images:
        return images + _each(key, images, -self.strength, self.strength)


@dataclasses.dataclass(frozen=True)
class _Saturation:
    def __call__(self, images: Images, key: Key) -> Images:
        grey = images.mean(axis=-1, keepdims=True)  # [B, H, W, 1]
        return grey + (images - grey) * _each(key, images, 0.0, 2.0)


@dataclasses.dataclass(frozen=True)
class _Contrast:
    strength: float

    def __call__(self, images: Images, key: Key) -> Images:
        mean = images.mean(axis=(1, 2, 3), keepdims=True)  # [B, 1, 1, 1]
        return mean + (images - mean) * _each(key, images, 1 - self.strength, 1 + self.strength)


@dataclasses.dataclass(frozen=True)
class _Flip:
    def __call__(self, images: Images, key: Key) -> Images:
        return jnp.where(_chosen(key, images, 0.5), images[:, :, ::-1], images)


@dataclasses.dataclass(frozen=True)
class _Composed:
    augmentations: tuple[Augment, ...]

    def __call__(self, images: Images, key: Key) -> Images:
        for augment, each_key in zip(self.augmentations, _split(key, self.augmentations), strict=True):
            images = augment(images, each_key)
        return images


def _chosen(key: jax.Array, images: jax.Array, probability: jax.Array | float) -> jax.Array:
    """Whether each image is chosen, with this probability: [B, 1, 1, 1]."""
    return jax.random.uniform(key, (images.shape[0], 1, 1, 1), jnp.float32) < probability


def _each(key: jax.Array, images: jax.Array, low: float, high: float) -> jax.Array:
    """A random number for each image, [B, 1, 1, 1]."""
    return jax.random.uniform(key, (images.shape[0], 1, 1, 1), images.dtype, low, high)


def _within(key: jax.Array, n: int, side: int, ratio: float) -> jax.Array:
    """Which of ``side`` positions are within half of ``ratio * side`` of a random one, [n, side]."""
    size = round(side * ratio)
    starts = jax.random.randint(key, (n, 1), 0, side, jnp.int32) - size // 2
    places = jnp.arange(side, dtype=jnp.int32)[None]
    return (places >= starts) & (places < starts + size)


def _split(key: jax.Array, augmentations: Sequence[Augment]) -> jax.Array:
    return jax.random.split(key, len(augmentations))


def _some(augmentations: tuple[Augment, ...]) -> tuple[Augment, ...]:
    if not augmentations:
        raise ValueError("at least one augmentation is needed")
    for each in augmentations:
        if not callable(each):
            raise TypeError(f"an augmentation must be a function of images and a key, got {each!r}")
        if isinstance(each, Adaptive):
            raise ValueError("an adaptive augmentation cannot be a part of another: give all augmentations to one")
    return augmentations


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1 or math.isnan(value):
        raise ValueError(f"{name} must be in [0, 1], got {value}")
    return value
