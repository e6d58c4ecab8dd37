"""A run's compiled step, stored in JAX's compilation cache, so that a later start neither traces nor lowers it.

JAX's own cache is keyed by the lowered program, and saves only compile time. Tracing and lowering a step, all in
Python, then take longer than everything else before the first step.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.stages import Compiled, Lowered

import dcgan_jax
from dcgan_jax.files import replace_file
from dcgan_jax.training.environment import environment_info

_DIGEST = 64  # characters of SHA-256 in hexadecimal


def program_file(identity: Mapping[str, Any], arguments: tuple[Any, ...], devices: int) -> Path | None:
    """The file for a compiled step in JAX's compilation cache; None if that is disabled or not a local directory.

    Its name is a digest of everything that determines the program: this package's source, `environment_info`, JAX's
    settings, the shapes, dtypes and shardings of the arguments, and the identity. Functions that were replaced in
    memory are not detected.

    Args:
      identity: what else determines the program, as a JSON object, such as the run's config.
      arguments: the arguments of the step.
      devices: the number of devices that share the run's batches.
    """
    values = jax.config.values
    folder = values["jax_compilation_cache_dir"]
    if not folder or "://" in folder or not values["jax_enable_compilation_cache"]:
        return None
    shapes = [(str(jax.typeof(leaf)), str(getattr(leaf, "sharding", None))) for leaf in jax.tree.leaves(arguments)]
    known = [_source_digest(), environment_info(devices), sorted(values.items()), shapes, dict(identity)]
    name = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    return Path(folder) / f"{name}.step"


def compile_kept(
    path: Path, arguments: tuple[Any, ...], lower: Callable[[], Lowered], devices: Sequence[Any]
) -> Compiled:
    """Load the compiled step from a file, or compile it and write the file if that is missing or unreadable.

    Args:
      path: from `program_file`.
      arguments: the arguments of the step, the state first. It returns the next state and a dict of metrics.
      lower: lowers the step for these arguments.
      devices: the devices that the step runs on.
    """
    kept = _read(path, arguments, devices)
    if kept is not None:
        return kept
    hits = []

    def listen(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        step = lower().compile()
    finally:
        jax.monitoring.unregister_event_listener(listen)
    # With JAX 0.10, a program that a CPU has read from JAX's cache lacks functions after it is serialised again.
    if not hits:
        _write(path, step)
    return step


def _read(path: Path, arguments: tuple[Any, ...], devices: Sequence[Any]) -> Compiled | None:
    """The step that `_write` has stored, for these arguments; None if it cannot be read."""
    try:
        content = path.read_bytes()
        digest, content = content[:_DIGEST].decode(), content[_DIGEST:]
        if hashlib.sha256(content).hexdigest() != digest:
            return None
        names, _, program = content.partition(b"\n")
        result = jax.tree.structure((arguments[0], dict.fromkeys(json.loads(names), 0)))
        given = jax.tree.structure((arguments, {}))
        return deserialize_and_load(program, given, result, execution_devices=devices)
    except Exception:  # whatever is wrong with the file, the step is compiled instead
        return None


def _write(path: Path, step: Compiled) -> None:
    """Write a compiled step atomically; errors are ignored, as the next start can compile it again."""
    with contextlib.suppress(Exception):
        program, _, result = serialize(step)
        _, metrics = jax.tree.unflatten(result, [0] * result.num_leaves)
        content = json.dumps(sorted(metrics)).encode() + b"\n" + program
        digest = hashlib.sha256(content).hexdigest().encode()
        replace_file(path, lambda partial: partial.write_bytes(digest + content))


@functools.cache
def _source_digest() -> str:
    """SHA-256 of this package's modules."""
    digest, folder = hashlib.sha256(), Path(dcgan_jax.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
