"""Checks of values, which shapes and types do not show: those that networks return and those of images.

`train_step` is compiled and cannot look at values. Call these outside of `jax.jit`, once before training.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcgan_jax.judging import augmented
from dcgan_jax.prng import seed_key
from dcgan_jax.sampling import check_labels, sample, sample_labels
from dcgan_jax.scales import scale_remedy
from dcgan_jax.state import GANState, check_is_state

_BATCH = 16  # large enough that logits of one sign are not a coincidence
_DIM = 1 / 8  # of white: real images without a brighter pixel are on another scale
_SCALES = (1.0, -10.0, 1e3)  # of the discriminator's test images: logits grow with them, probabilities do not


def check_images(images: ArrayLike, like: tuple[int, ...] | None = None) -> None:
    """Check that real images are in the form that `train_step` takes.

    Args:
      images: a batch or a whole data set [N, H, W, C], on the host or on a device.
      like: the shape that each image [H, W, C] must have; any if None.

    Raises:
      TypeError: if they are neither uint8 nor floating point.
      ValueError: if they have another shape, are not finite, or are not in [0, 255] (uint8) or [0, 1] (floating point);
        also if all their values are below an eighth of white, or equal.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or (like is not None and images.shape[1:] != tuple(like)):
        expected = "[N, H, W, C]" if like is None else f"[N, {', '.join(map(str, like))}]"
        raise ValueError(f"real images must be {expected} with N at least 1, got {list(images.shape)}")
    if images.dtype == np.uint8:
        _check_bytes(images)
    elif jnp.issubdtype(images.dtype, jnp.floating):
        _check_floats(images)
    else:
        raise TypeError(f"real images must be uint8 or floating point in [0, 1], got {images.dtype}")
    if (images == images.flat[0]).all():
        raise ValueError(f"all pixels of the real images are the same, {images.flat[0]}: there is nothing to learn")


def _check_bytes(images: np.ndarray) -> None:
    if (high := int(images.max())) < _DIM * 255:
        raise ValueError(f"uint8 images must be in [0, 255], got none above {high}: scale them, or pass floats")


def _check_floats(images: np.ndarray) -> None:
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("real images must be finite, got NaN or infinity")
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"floating-point images must be in [0, 1], got {low:.6g} to {high:.6g}: {scale_remedy(low, high)}"
        )
    if high < _DIM:
        raise ValueError(f"floating-point images must be in [0, 1], got none above {high:.3g}: were they scaled twice?")


def check_state(state: GANState, images: ArrayLike | None = None, labels: ArrayLike | None = None) -> None:
    """Check that the networks return what the steps expect, and check the real images if they are given.

    It calls both networks on a few images, in inference mode.

    Args:
      state: from `init_state`, or later.
      images: real images, as for `check_images`.
      labels: their classes, integers [N], for a state with classes.

    Raises:
      ValueError: if a number of the state is not finite, the generator's images are not in [0, 1] (a final tanh gives
        [-1, 1]), an augmentation changes the range of images, or the discriminator returns probabilities instead of
        logits (a final sigmoid or softmax), or a label is not in [0, classes); and as `check_images`.
      TypeError: if the labels are not integers; and as `check_images`.
    """
    check_is_state(state)
    if labels is not None:
        _check_label_values(state, np.asarray(labels), len(np.asarray(labels if images is None else images)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        # An optimizer's state may hold infinity: the lowest loss so far, before the first step.
        if bool((jnp.isnan(leaf) if "/opt_state/" in name else ~jnp.isfinite(leaf)).any()):
            raise ValueError(f"{name} has numbers that are NaN or infinite")
    fakes = np.asarray(sample(state, seed_key(0), _BATCH), np.float32)
    low, high = float(fakes.min()), float(fakes.max())
    if not 0 <= low <= high <= 1:  # NaN too
        remedy = "end it in a sigmoid" + (", or (tanh + 1) / 2" if low >= -1 and high <= 1 else "")
        raise ValueError(f"the generator's images must be in [0, 1], got {low:.3g} to {high:.3g}: {remedy}")
    if low == high and low in (0, 1):  # a last layer that starts at zero draws grey, and has a gradient
        raise ValueError(
            f"the generator's images are {low:.3g} everywhere, and it has no gradient: a softmax over one channel is "
            "always 1"
        )
    if images is not None:
        check_images(images, fakes.shape[1:])
    _check_augment(state, fakes.shape)
    noise = np.asarray(jax.random.uniform(seed_key(1), fakes.shape), np.float32)
    infer, labels = jax.jit(state.discriminator.infer), sample_labels(state, seed_key(1), _BATCH)
    logits = np.concatenate([np.asarray(infer(scale * noise, labels), np.float32) for scale in _SCALES])
    low, high = float(logits.min()), float(logits.max())
    if low == high == 1:
        raise ValueError(
            "the discriminator returns 1 for every image: it must return logits, so remove the softmax at its end"
        )
    if 0 <= low < high <= 1:
        raise ValueError(
            f"the discriminator's outputs are all in [0, 1] ({low:.3g} to {high:.3g}), as probabilities are: it must "
            "return logits, so remove the sigmoid at its end"
        )


def _check_label_values(state: GANState, labels: np.ndarray, n: int) -> None:
    """Raises: ValueError or TypeError unless the labels are integers [n] in [0, classes), n at least 1."""
    check_labels(state, jnp.asarray(labels), n)
    low, high = labels.min(), labels.max()
    if low < 0 or high >= (state.classes or 0):
        raise ValueError(
            f"labels must be in [0, {state.classes}), the state's classes, got {low} to {high}: count classes from 0"
        )


def _check_augment(state: GANState, shape: tuple[int, ...]) -> None:
    """Raises: ValueError if the augmentation does not keep grey images [N, H, W, C] in about [0, 1]."""
    if state.augment is None:
        return
    probability = state.augment_probability
    applied = state if probability is None else state.replace(augment_probability=jnp.ones_like(probability))
    seen = np.asarray(augmented(applied, jnp.full(shape, 0.5, jnp.float32), seed_key(2)), np.float32)
    low, mean, high = float(seen.min()), float(seen.mean()), float(seen.max())
    if not (-1 <= low <= high <= 2 and 0 < mean < 1):  # NaN too; colours may leave [0, 1] by some tenths
        raise ValueError(
            f"an augmentation must keep images in [0, 1], and of grey ones, 0.5 everywhere, it makes {low:.3g} to "
            f"{high:.3g}, {mean:.3g} on average: return images of the range that it is given"
        )
