"""Data sets that take long to read, kept as arrays in the user's cache."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from dcgan_jax.data.common import Dataset
from dcgan_jax.files import replace_file

_TEXTS = ("classes", "notes", "altered")  # of a data set


def load_cached(key: str) -> tuple[Dataset, dict[str, str]] | None:
    """What `save_cached` kept, or None if there is none that is whole."""
    try:
        with _path(key).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            labels = arrays["labels"] if "labels" in arrays.files else None
            dataset = Dataset(arrays["images"], labels)._replace(**{name: tuple(about[name]) for name in _TEXTS})
            broken = dict(about["broken"])
    except Exception:  # whatever a damaged archive makes its parsers raise
        return None
    return (dataset, broken) if dataset.digest() == about["digest"] else None


def save_cached(key: str, dataset: Dataset, broken: dict[str, str]) -> None:
    """Keep a data set, and the names of the files that are not in it, with the reasons.

    Raises:
      OSError: if that cannot be written.
    """
    about = {name: getattr(dataset, name) for name in _TEXTS} | {"broken": broken, "digest": dataset.digest()}
    arrays: dict[str, Any] = {"images": dataset.images, "about": np.array(json.dumps(about))}
    if dataset.labels is not None:
        arrays["labels"] = dataset.labels
    path = _path(key)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # a path would get another suffix
            np.savez(file, **arrays)

    replace_file(path, write)


def _path(key: str) -> Path:
    return platformdirs.user_cache_path("dcgan-jax") / "data" / f"{key}.npz"
