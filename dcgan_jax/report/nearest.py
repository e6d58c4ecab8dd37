"""The training pictures that are nearest to a run's samples, which show in a report whether samples are copies."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.console import counted, print_line
from dcgan_jax.data import Dataset
from dcgan_jax.data.stacked import STACKED
from dcgan_jax.errors import UserError, first_line
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from dcgan_jax.evaluation.images import EvaluationError, choose
from dcgan_jax.evaluation.nearest import nearest_images
from dcgan_jax.evaluation.real_images import load_test_split
from dcgan_jax.images import as_picture, grid_images, read_grid
from dcgan_jax.report.render import ReportError
from dcgan_jax.report.source import Source
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.run_files import GRID
from dcgan_jax.training.setup import check_unchanged, load_images

_HELD_OUT = 500  # pictures, as many as the discriminator is evaluated on
_PIXELS = 2**24  # values of held-out pictures, at most: 64 MB in float32
_PERCEPTUAL = 5_000  # training pictures compared in features, at most: 25 s on a CPU core of 2025


def nearest_pictures(source: Source, max_bytes: int) -> dict[str, Any] | None:
    """The newest samples of a run, each with the training picture that is nearest to it.

    The images are loaded as the run's config says, and must match those recorded for the run. Never raises: without
    them, the rest of the report is still written.

    Args:
      source: the run.
      max_bytes: of the pictures in base64; pairs that do not fit are left out.

    Returns:
      ``about``, an explanation or the reason why the pictures are left out; ``facts``, names and values; ``pairs`` of
      two PNGs in base64 and their distance, the nearest first. None for a run without samples.
    """
    if not source.grids:
        return None
    try:
        return _nearest(source, max_bytes)
    except Exception as error:  # missing or damaged files, too little memory, a device in use
        why = first_line(error).replace("`", "")
        return {"about": f"Left out: {why}", "facts": [], "pairs": []}


def _nearest(source: Source, max_bytes: int) -> dict[str, Any]:
    step, path = source.grids[-1]
    fakes = grid_images(read_grid(path), source.record.image_shape, GRID)
    data = _training_images(source)
    held_out, train = _held_out(source.config, data), data.images
    if source.config.mirror:
        train = np.concatenate([train, train[:, :, ::-1]])
    network, how = _features(len(train))
    queries = fakes if held_out is None else np.concatenate([fakes, held_out])
    numbers, distances = nearest_images(queries, train, network)
    order = np.argsort(distances[:GRID], kind="stable")
    pairs, left = [], max_bytes
    for i in order:
        pair = [_png(fakes[i]), _png(train[numbers[i]]), f"{distances[i]:.2f}"]
        left -= sum(map(len, pair)) + 20  # and their separators
        if left < 0:
            break
        pairs.append(pair)
    facts = [(f"Median distance of {GRID} samples", f"{np.median(distances[:GRID]):.2f}")]
    if held_out is not None:
        of = f"Of {counted(len(held_out), 'held-out picture')}"
        facts.append((of, f"{np.median(distances[GRID:]):.2f}"))
    return {"about": _about(step, how, source.config.mirror, held_out is not None), "facts": facts, "pairs": pairs}


def _about(step: int, how: str, mirror: bool, held_out: bool) -> str:
    told = (
        "Samples that are much nearer than held-out pictures are copies."
        if held_out
        else "A run with held-out pictures would have their distance beside it."
    )
    mirrored = "; mirrored pictures are among them" if mirror else ""
    return (
        f"Each sample at step {step:,}, and to its right the training picture that is nearest to it{mirrored}; the "
        f"nearest first. Below them is their Euclidean distance {how}. {told}"
    )


def _training_images(source: Source) -> Dataset:
    """Raises: ReportError if they would be downloaded; as `load_images` and `check_unchanged`."""
    config, run_dir = source.config, source.reals.parent
    if config.dataset not in ("mnist", STACKED) and not Path(config.dataset).is_absolute():
        raise ReportError(f"{config.dataset} is the name of a data set, and a report downloads none")
    data = load_images(config, source.record)
    check_unchanged(config, source.record, data, run_dir, "restore them")
    return data


def _held_out(config: TrainConfig, data: Dataset) -> np.ndarray | None:
    """At most 500 real images that the run is not trained on; None if there are none or they cannot be loaded."""
    try:
        held_out = load_test_split(config.dataset, data._replace(labels=None, classes=()), config.reading())
    except UserError:
        return None
    if held_out is None:
        return None
    most = max(min(_HELD_OUT, _PIXELS // held_out.images[0].size), 1)
    return held_out.images[choose(len(held_out.images), most)]


def _features(count: int) -> tuple[EfficientNetLite | None, str]:
    """The network in whose features ``count`` training pictures are compared, or None for pixels; and a description."""
    pixels = "of pixels, in units of a white one"
    if count > _PERCEPTUAL:
        return None, f"{pixels} (features are compared of at most {_PERCEPTUAL:,} training pictures)"
    try:
        network = load_efficientnet_lite()
    except EvaluationError:
        return None, f"{pixels} (in features of a network, with the extra perceptual)"
    print_line(f"computing the features of {counted(count, 'training picture')}", error=True)
    return network, "in the features of a network that was trained on ImageNet"


def _png(image: np.ndarray) -> str:
    """uint8 [H, W, C] as a PNG in base64."""
    content = io.BytesIO()
    as_picture(image).save(content, format="png", optimize=True)
    return base64.b64encode(content.getvalue()).decode()
