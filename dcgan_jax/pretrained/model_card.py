"""The model card of a folder for the Hugging Face Hub: what the Hub reads of it, and what people do."""

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dcgan_jax.evaluation.classifier import SHA256
from dcgan_jax.evaluation.comparability import MODES, PERCEPTUAL, PIXELS, Comparability

# The repositories of data sets on the Hub, as the card links them.
_ON_HUB = {
    "mnist": "ylecun/mnist",
    "stacked_mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
# The scores that a card has: the Hub's name of the metric, and that of the score.
_SCORES = {
    "fid": ("fid", "FID"),
    "second_fid": ("fid", "FID by a second classifier"),
    "kid": ("kid", "KID"),
    "kid_x1000": ("kid", "KID times 1,000"),
    "precision": ("precision", "precision"),
    "recall": ("recall", "recall"),
    "swd_mean": ("swd", "sliced Wasserstein distance times 1,000"),
    "modes": ("modes", "modes, of 1,000"),
    "mode_kl": ("kl", "KL of the modes"),
}
_FEATURES = {
    SHA256: "in the features of a classifier of digits",
    MODES: "by a classifier of digits",
    PERCEPTUAL: "in the features of EfficientNet-Lite0",
    PIXELS: "by their pixels",
}

_BODY = """
# {name}

Images of {shape}, drawn by a DCGAN that dcgan-jax trained{trained_on}.

![Images of the seeds {seeds}](samples.png)

## Draw

```
hf download USER/{repository} --local-dir {folder}    # of the package huggingface_hub
dcgan-jax sample {folder} --samples 16
```

```python
import jax
from dcgan_jax import load_pretrained, sample

state = load_pretrained({text})
images = sample(state, jax.random.key(0), 16)  # [16, {indices}] in [0, 1]
```

## Training

| | |
|---|---|
{rows}

## Scores

{scores}
The networks' weights are in `model.safetensors`, their sizes in `config.json`.
"""


class Metric(NamedTuple):
    """One score of a card.

    Attributes:
      kind: the Hub's name of the metric, such as ``fid``.
      name: what it is, in which features and of how many images.
      value: of the images.
      floor: of as many real ones, or None.
    """

    kind: str
    name: str
    value: float
    floor: float | None


def metrics_of(evaluations: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """The main scores of evaluations, each as `Evaluation.to_json` writes it."""
    found = []
    for evaluation in evaluations:
        compared = Comparability.of(dict(evaluation))
        features = _FEATURES.get(compared.features, f"in the features {compared.features[:12]}")
        for score, (kind, name) in _SCORES.items():
            value, floor = (evaluation[part].get(score) for part in ("scores", "floor"))
            if _is_number(value):
                name = f"{name} of {compared.samples:,} images, {features}"
                found.append(Metric(kind, name, float(value), float(floor) if _is_number(floor) else None))
    return found


def model_card(name: str, config: Mapping[str, Any], metrics: Iterable[Metric], license_id: str, seeds: str) -> str:
    """The text of ``README.md``: the front matter that the Hub reads, and what people do.

    Args:
      name: of the folder.
      config: as ``config.json`` has it.
      metrics: of these weights; without any the card has no results.
      license_id: one of the Hub's, such as ``mit``.
      seeds: of the images of ``samples.png``, in words.
    """
    metrics = list(metrics)
    training = config["training"]
    dataset = training.get("dataset")
    h, w, c = config["image_shape"]
    rows = [
        (key.replace("_", " "), value) for key, value in training.items() if value is not None and value is not False
    ]
    body = _BODY.format(
        name=name,
        folder=shlex.quote(f"./{name}"),  # a folder named as packaged weights is taken for these without its path
        text=_quoted(f"./{name}"),
        repository=repository_name(name),
        shape=f"{h}x{w} pixels, {'in colours' if c == 3 else 'grey'}"
        + (f", of {len(config['classes'])} classes" if config["classes"] else ""),
        trained_on=f" on {dataset}" if dataset else "",
        seeds=seeds,
        indices=", ".join(map(str, config["image_shape"])),
        rows="\n".join(f"| {key} | {_code(value)} |" for key, value in rows),
        scores=_table(metrics),
    )
    return "\n".join(["---", *_front_matter(name, dataset, metrics, license_id), "---"]) + "\n" + body


def _front_matter(name: str, dataset: str | None, metrics: list[Metric], license_id: str) -> list[str]:
    """YAML, whose texts are in JSON's quotes."""
    lines = [f"license: {json.dumps(license_id)}", "library_name: dcgan-jax", "tags:"]
    lines += [f"- {tag}" for tag in ("dcgan-jax", "dcgan", "gan", "jax", "flax")]
    if dataset in _ON_HUB:
        lines += ["datasets:", f"- {_ON_HUB[dataset]}"]
    lines.append("pipeline_tag: unconditional-image-generation")
    if not metrics:
        return lines
    lines += [
        "model-index:",
        f"- name: {_quoted(name)}",
        "  results:",
        "  - task:",
        "      type: unconditional-image-generation",
        "      name: Unconditional image generation",
        "    dataset:",
        f"      type: {_quoted(_ON_HUB.get(dataset or '', dataset or 'own'))}",
        f"      name: {_quoted(dataset or 'own pictures')}",
        "    metrics:",
    ]
    for metric in metrics:
        # Not in exponents: YAML 1.1 reads 1e-05 as a text.
        lines += [
            f"    - type: {metric.kind}",
            f"      value: {metric.value:.6f}",
            f"      name: {_quoted(metric.name)}",
        ]
    return lines


def _table(metrics: list[Metric]) -> str:
    if not metrics:
        return "None is on record of these weights.\n"
    rows = [
        f"| {each.name} | {each.value:.4g} | {'' if each.floor is None else f'{each.floor:.4g}'} |" for each in metrics
    ]
    note = "A FID that is not in the features of Inception is not comparable with one that is."
    return "\n".join(["| | images | real images |", "|---|---|---|", *rows, "", note, ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _code(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else f"{value:,}" if type(value) is int else str(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def repository_name(name: str) -> str:
    """The name of a folder as the Hub takes it for a repository: of ASCII letters and digits, ``_``, ``-``, ``.``."""
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:96].strip("-.")
    plain = re.sub(r"\.git$", "-git", plain)
    return re.sub(r"([-.])\1+", r"\1", plain) or "dcgan"  # it takes no -- and ..


def hub_dataset(dataset: str | None) -> str | None:
    """The name of a data set as it may be published; None for a path, which is of someone's machine."""
    return None if dataset is None or Path(dataset).is_absolute() else dataset
