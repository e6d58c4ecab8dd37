"""Saving and loading a pytree of arrays with Orbax; `checkpoint` adds digests and the rest of a run's state."""

import contextlib
import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import jax

from dcgan_jax.errors import first_line

_GUARDS = tuple(
    "jax_transfer_guard" + direction for direction in ("", "_host_to_device", "_device_to_device", "_device_to_host")
)


@contextlib.contextmanager
def _only_errors_that_are_raised() -> Iterator[None]:
    """Within this context, Orbax logs neither the files it writes, nor errors that it also raises.

    For the rest of the process, coroutines and threads that Orbax leaves behind after an error print no tracebacks
    when they end.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(_is_not_of_orbax)
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        source = unraisable.object.cr_code.co_filename if inspect.iscoroutine(unraisable.object) else ""
        if "orbax" not in source and str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    if getattr(report, "__name__", "") != report_others.__name__:
        sys.unraisablehook = report_others
    try:
        yield
    except BaseException:
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        raise
    logger.setLevel(level)


@contextlib.contextmanager
def _transfers_allowed() -> Iterator[None]:
    """Within this context, transfer guards are off in all threads: Orbax transfers arrays in threads of its own."""
    with futures.ThreadPoolExecutor(1) as new_thread:  # this thread may have values of a context instead
        given = new_thread.submit(lambda: {name: jax.config.values[name] for name in _GUARDS}).result()
    for name in given:
        jax.config.update(name, "allow")
    try:
        yield
    finally:
        for name, value in given.items():
            jax.config.update(name, value)


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    message = record.getMessage()  # names the task's file, or its future's error
    return "orbax" not in message and "tensorstore" not in message


@_only_errors_that_are_raised()
@_transfers_allowed()
def save_tree(path: Path, tree: Any) -> None:
    """Write a pytree of arrays to the directory ``path``; in a job of several processes only the primary writes.

    Raises: whatever Orbax raises; `failure_reason` describes it in one line.
    """
    if jax.process_count() == 1:
        from orbax.checkpoint import v1  # imported only when used, as it takes about a second

        # Otherwise, if the directory cannot be created, other threads wait five minutes for it, and this process for
        # them.
        directories_first = v1.options.AsyncOptions(create_directories_asynchronously=False)
        with v1.Context(async_options=directories_first):
            v1.save(str(path.absolute()), tree)
        return
    import orbax.checkpoint as ocp

    # The newer interface makes every process of a job save; with this one only the primary does.
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path.absolute(), args=ocp.args.PyTreeSave(jax.device_get(tree)))


def verify_tree(path: Path, tree: Any) -> None:
    """Compare the written arrays with ``tree``: Orbax treats a directory that it cannot list as empty.

    Raises:
      ValueError: if an array differs; or whatever Orbax raises if it cannot read one.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree)
    written = jax.tree.leaves(load_tree(path, like))
    for (at, leaf), read in zip(jax.tree_util.tree_leaves_with_path(tree), written, strict=True):
        if _bytes(leaf) != _bytes(read):
            raise ValueError(f"{jax.tree_util.keystr(at)} is not read as it was written")


def _bytes(leaf: jax.Array) -> bytes:
    """The numbers of an array, or of a PRNG key, as in the state of an optimizer that adds noise."""
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.device_get(jax.random.key_data(leaf) if is_key else leaf).tobytes()


@_only_errors_that_are_raised()
@_transfers_allowed()
def load_tree(path: Path, like: Any) -> Any:
    """Read what `save_tree` wrote, with the shapes, dtypes and shardings of ``like``. Raises: as `save_tree`."""
    from orbax.checkpoint import v1

    alone = v1.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    with v1.Context(multiprocessing_options=alone):
        return v1.load(str(path.absolute()), like)


def describe_tree(tree: Any) -> dict[str, str]:
    """The dtype and shape of each array of a pytree, by paths such as ``generator/params/Dense_0/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = ((jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves)
    return {path: f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in named}


def first_difference(one: dict[str, str], other: dict[str, str], in_one: str, in_other: str) -> str | None:
    """A description of the first array that differs between two results of `describe_tree`; None if they are equal."""
    for path in [*one, *other]:
        first, second = one.get(path, "not there"), other.get(path, "not there")
        if first != second:
            return f"{path} is {first} {in_one}, and {second} {in_other}"
    return None


def failure_reason(error: Exception) -> str:
    """The reason of an error of the operating system, Orbax or TensorStore, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    number = re.search(r"os_error_code='(\d+)'", str(error))  # in a long message of TensorStore
    if number:
        return os.strerror(int(number[1]))
    return "no space left on the disk" if "RESOURCE_EXHAUSTED" in str(error) else first_line(error)
