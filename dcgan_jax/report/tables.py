"""The tables of a report, and the commands that repeat and resume its runs."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from dcgan_jax.console import counted
from dcgan_jax.evaluation.comparability import Comparability
from dcgan_jax.report.charts import finite
from dcgan_jax.report.source import Source, describe_images, short_names
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.history import calls_of, comparable_evaluations, describe_weights
from dcgan_jax.training.progress import format_duration
from dcgan_jax.training.record import RunRecord

_SCORES = {
    "fid": "FID (lower is better)",
    "second_fid": "FID by a second classifier",
    "kid_x1000": "KID times 1,000 (lower is better)",
    "modes": "Modes, of 1,000",
    "mode_kl": "KL of the modes (lower is better)",
    "kid": "KID (lower is better)",
    "precision": "Precision",
    "recall": "Recall",
    "class_score": "Class score (1 to the number of classes)",
    "confident": "Share whose class is sure",
    "class_kl": "Classes: KL to uniform",
    "missing": "Classes that are missing",
    "nearest": "Distance to the nearest training image",
    "shares": "Share of each class",
    "as_asked": "Share drawn as asked",
    "swd_mean": "Sliced Wasserstein distance (lower is better)",
    "swd": "The same at each size",
    "diversity": "Mean distance of two images",
}
_COLLAPSE = {
    "healthy_until": "No sign of a collapse up to step",
    "good_picture": "Last grid of samples with variety, at step",
    "bad_pictures": "Grids without variety since",
    "fooled": "Last steps in a row in which the discriminator called every image real",
}
_MISSING = "-"


def tables(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """JSON objects with ``title``, ``about``, ``columns``, ``rows`` of strings and ``open``; none for empty tables."""
    names = short_names(sources) if len(sources) > 1 else ["Value"]
    result = [
        _evaluations(sources),
        _table("Collapse detector", "As of the newest checkpoint.", names, [_collapse(source) for source in sources]),
        _table("Timing", "", names, [_timing(source.sessions) for source in sources]),
        _table("Config", "", names, [_config(source) for source in sources]),
        _table(
            "Environment",
            "Of the process that wrote the newest checkpoint.",
            names,
            [_texts(source.checkpoint.get("environment")) for source in sources],
        ),
    ]
    failed = result[0]["about"]  # without rows, if no evaluation could be scored
    return [{**table, "open": i < 3} for i, table in enumerate(result) if table["rows"] or (i == 0 and failed)]


def commands(source: Source) -> list[dict[str, str]]:
    """The commands that resume, repeat and sample a run, each with a label."""
    program, run_dir = "python -m dcgan_jax", shlex.quote(source.name)
    steps, recipe = source.config.steps, _recipe_flag(source.record)
    more = f" --steps {2 * steps}" if source.step >= steps else ""
    return [
        {
            "label": "Train on, to twice the steps" if more else "Resume",
            "command": f"{program} train --workdir {run_dir} --resume{more}{recipe}",
        },
        {"label": "Repeat from the start", "command": " ".join([program, "train", *_flags(source.config)]) + recipe},
        {"label": "Draw images", "command": f"{program} sample {run_dir}{recipe}"},
    ]


def describe_data(config: TrainConfig, record: RunRecord) -> str:
    """The images that a run is trained on, in a few words."""
    return describe_images(config, record) + (", by class" if config.conditional else "")


def facts(source: Source) -> list[tuple[str, str]]:
    """Names and values of the main facts at the top of a report."""
    config = source.config
    kind, name = ("Recipe", source.record.recipe) if source.record.recipe else ("Preset", config.preset)
    result = [
        ("Step", f"{source.step:,} of {config.steps:,}"),
        ("Data", describe_data(config, source.record)),
        (kind, f"{name}, {counted(config.batch_size, 'image')} a step"),
    ]
    for group, rows in comparable_evaluations(source.history).items():
        best, step = min((row["evaluation"]["scores"][group.figure], row["step"]) for row in rows)
        result.append((f"Best {group.name}", f"{best:.4g} at step {step:,}, of {group}"))
    overfitting = [(step, calls["overfitting"]) for step, calls in calls_of(source.history) if "overfitting" in calls]
    if overfitting:
        step, r = overfitting[-1]
        result.append(("Overfitting", f"r {r:.2f} at step {step:,}: 0 none, 1 all memorised"))
    result += list(_collapse(source).items())[:1]
    return result


def _config(source: Source) -> dict[str, str]:
    """The run's config, and what it recorded at its start."""
    return _texts(dataclasses.asdict(source.config) | dataclasses.asdict(source.record))


def _evaluations(sources: Sequence[Source]) -> dict[str, Any]:
    """A table of the last evaluation of each run and its floor."""
    columns, about, values = [], [], []
    several = len({source.data for source in sources}) > 1
    for name, source in zip(short_names(sources), sources, strict=True):
        if not source.history.evaluations:
            continue
        row = source.history.evaluations[-1]
        step, evaluation = row["step"], row["evaluation"]
        prefix = f"{name}: " if len(sources) > 1 else ""
        if evaluation is None:
            about.append(f"{prefix}the evaluation at step {step:,} failed: the images could not be scored.")
            done = [each for each in source.history.evaluations if each["evaluation"] is not None]
            if not done:
                continue
            step, evaluation = done[-1]["step"], done[-1]["evaluation"]
        weights = describe_weights(str(row.get("weights", "last")))
        kind = f"{Comparability.of(evaluation)}{f', of {source.data}' if several else ''}"
        about.append(f"{prefix}{kind} at step {step:,}, {weights}.")
        columns += [f"{prefix}images", f"{prefix}real images"] if prefix else ["Images", "Real images"]
        values += [evaluation["scores"], evaluation["floor"]]
    labels = {name: _SCORES.get(name, name.replace("_", " ")) for scores in values for name in scores}
    order = [name for name in _SCORES if name in labels] + [name for name in labels if name not in _SCORES]
    rows = [[labels[name], *(_score(scores.get(name)) for scores in values)] for name in order]
    return {"title": "Last evaluation", "about": " ".join(about), "columns": ["Score", *columns], "rows": rows}


def _score(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_score, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_score(each)}" for name, each in value.items())
    number = finite(value)
    return str(value) if number is None else f"{number:.4g}"


def _collapse(source: Source) -> dict[str, str]:
    state = source.checkpoint.get("collapse")
    if not isinstance(state, dict) or not state:
        return {}
    rows = {"Collapse": "detected" if state.get("collapsed") else "none seen"}
    rows |= {label: f"{state[name]:,}" for name, label in _COLLAPSE.items() if isinstance(state.get(name), int)}
    blocks = state.get("blocks") or []
    if blocks:
        accuracy, loss = (sum(values) / len(blocks) for values in zip(*blocks, strict=True))
        rows["Mean accuracy of the discriminator, lately"] = f"{accuracy:.3f}"
        rows["Mean loss of the discriminator, lately"] = f"{loss:.3f}"
    return rows


def _timing(sessions: Sequence[dict[str, Any]]) -> dict[str, str]:
    """All sessions together, and the last one."""
    if not sessions:
        return {}
    last, total = sessions[-1], sum(finite(session.get("seconds")) or 0 for session in sessions)
    rows = {"Sessions": f"{len(sessions):,}", "Time in all": format_duration(total)}
    for name, label in (
        ("steps_per_second", "Steps a second, last session"),
        ("compile_seconds", "Seconds to compile"),
    ):
        if (value := finite(last.get(name))) is not None:
            rows[label] = f"{value:.3g}"
    for name, label in (
        ("peak_memory_bytes", "Memory, at most"),
        ("device_peak_memory_bytes", "Device memory, at most"),
    ):
        sizes = [size for session in sessions if (size := finite(session.get(name))) is not None]
        if sizes:
            rows[label] = f"{max(sizes) / 2**30:.2f} GiB"
    return rows


def _texts(values: Any) -> dict[str, str]:
    """A JSON object as rows; none if it is not an object."""
    return {name: _text(value) for name, value in values.items()} if isinstance(values, dict) else {}


def _text(value: Any) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return ", ".join(map(_text, value)) or "none"
    return str(value)


def _table(title: str, about: str, names: Sequence[str], runs: Sequence[dict[str, str]]) -> dict[str, Any]:
    labels = dict.fromkeys(label for run in runs for label in run)
    rows = [[label, *(run.get(label, _MISSING) for run in runs)] for label in labels]
    return {"title": title, "about": about, "columns": ["Name", *names], "rows": rows}


def _recipe_flag(record: RunRecord) -> str:
    """The flag for a run's recipe, of which only the name is recorded; never its copy in the run directory."""
    if not record.recipe:
        return ""
    file = record.recipe.partition(":")[0]
    return f" --recipe {shlex.quote(file if file.endswith('.py') else 'FILE.py')}"


def _flags(config: TrainConfig) -> list[str]:
    """The flags that differ from their defaults, except that of the run directory."""
    flags = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name == "workdir":
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else f"--no-{flag.removeprefix('--')}")
        else:  # with an equals sign argparse takes a value that begins with a hyphen, such as --range=-1,1
            text = shlex.quote(str(value))
            flags += [f"{flag}={text}"] if str(value).startswith("-") else [flag, text]
    return flags
