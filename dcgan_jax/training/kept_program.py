"""A run's compiled step, kept beside JAX's compiled programs, so that a later start neither traces nor lowers it.

JAX's own cache is asked by the lowered program, and saves the compiler's time alone. Tracing and lowering a step, all
in Python, then take longer than all else until the first step.
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
    """The file in which a step is kept, in the folder of JAX's compiled programs; None if these are not kept.

    Its name is a digest of all that decides the program: this package's source, the versions, the device and the
    settings of `environment_info`, JAX's own settings, the shapes, types and devices of the arguments, and the
    identity. What somebody has put in the place of a function in memory is not told apart.

    Args:
      identity: what else decides the program, as JSON: the run's config, say.
      arguments: what the step is called with.
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
    """The step of a file; if there is none that can be read, it is compiled and kept there.

    Args:
      path: from `program_file`.
      arguments: what it is called with, the state first. It returns the next state, and a dict of metrics.
      lower: lowers it for such arguments.
      devices: those that it is for, of which there may be more.
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
    # What a CPU has read from JAX's cache can be serialised again, and lacks functions then, with JAX 0.10.
    if not hits:
        _write(path, step)
    return step


def _read(path: Path, arguments: tuple[Any, ...], devices: Sequence[Any]) -> Compiled | None:
    """The step that `_write` has kept, to be called with such arguments; None if it cannot be read."""
    try:
        content = path.read_bytes()
        digest, content = content[:_DIGEST].decode(), content[_DIGEST:]
        if hashlib.sha256(content).hexdigest() != digest:
            return None
        names, _, program = content.partition(b"\n")
        result = jax.tree.structure((arguments[0], dict.fromkeys(json.loads(names), 0)))
        given = jax.tree.structure((arguments, {}))
        return deserialize_and_load(program, given, result, execution_devices=devices)
    except Exception:  # whatever is wrong with it, the step is compiled as it would be without one
        return None


def _write(path: Path, step: Compiled) -> None:
    """Keep a compiled step, whole or not at all; without a word if it cannot be: the next start compiles again."""
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
