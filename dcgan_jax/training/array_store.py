"""A pytree of arrays in a directory, by Orbax. Its digests, and its place among a run's files, are `checkpoint`'s."""

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
    """Within, Orbax logs neither the files it writes, nor errors at length before it raises them.

    From then on nothing is printed of what is left when it has raised one: its coroutines and its threads, for which it
    does not wait, would each print a traceback when they end.
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
    """Within, arrays may be transferred in all threads: a guard's context is of one thread, and Orbax has its own."""
    with futures.ThreadPoolExecutor(1) as new_thread:  # in this one the values are those of its contexts
        given = new_thread.submit(lambda: {name: jax.config.values[name] for name in _GUARDS}).result()
    for name in given:
        jax.config.update(name, "allow")
    try:
        yield
    finally:
        for name, value in given.items():
            jax.config.update(name, value)


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    message = record.getMessage()  # with the task's file, or the error of its future
    return "orbax" not in message and "tensorstore" not in message


@_only_errors_that_are_raised()
@_transfers_allowed()
def save_tree(path: Path, tree: Any) -> None:
    """Write a pytree of arrays to the directory ``path``; in a job of several processes the primary alone does.

    Raises: whatever Orbax does; `failure_reason` makes one line of it.
    """
    if jax.process_count() == 1:
        from orbax.checkpoint import v1  # imported when used: it takes about a second

        # Otherwise other threads would wait five minutes for a directory that could not be made, and this process for
        # them.
        directories_first = v1.options.AsyncOptions(create_directories_asynchronously=False)
        with v1.Context(async_options=directories_first):
            v1.save(str(path.absolute()), tree)
        return
    import orbax.checkpoint as ocp

    # The newer interface makes every process of a job save; with this one the primary saves alone.
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path.absolute(), args=ocp.args.PyTreeSave(jax.device_get(tree)))


def verify_tree(path: Path, tree: Any) -> None:
    """Compare what was written with what should have been: Orbax takes a directory that it cannot list for empty.

    Raises:
      ValueError: if an array differs; or whatever Orbax raises if it cannot read one.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree)
    written = jax.device_get(jax.tree.leaves(load_tree(path, like)))
    for (at, leaf), read in zip(jax.tree_util.tree_leaves_with_path(tree), written, strict=True):
        if jax.device_get(leaf).tobytes() != read.tobytes():
            raise ValueError(f"{jax.tree_util.keystr(at)} is not read as it was written")


@_only_errors_that_are_raised()
@_transfers_allowed()
def load_tree(path: Path, like: Any) -> Any:
    """Read what `save_tree` wrote, with the shapes, types and shardings of ``like``. Raises: as there."""
    from orbax.checkpoint import v1

    alone = v1.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    with v1.Context(multiprocessing_options=alone):
        return v1.load(str(path.absolute()), like)


def describe_tree(tree: Any) -> dict[str, str]:
    """The type and shape of each array of a pytree by its path, as ``generator/params/Dense_0/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = ((jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves)
    return {path: f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in named}


def first_difference(one: dict[str, str], other: dict[str, str], in_one: str, in_other: str) -> str | None:
    """The first array that two trees of `describe_tree` do not share, in words; None if they are the same."""
    for path in [*one, *other]:
        first, second = one.get(path, "not there"), other.get(path, "not there")
        if first != second:
            return f"{path} is {first} {in_one}, and {second} {in_other}"
    return None


def failure_reason(error: Exception) -> str:
    """What an error of the operating system, of Orbax or of TensorStore means, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    number = re.search(r"os_error_code='(\d+)'", str(error))  # in a long message of TensorStore
    if number:
        return os.strerror(int(number[1]))
    return "no space left on the disk" if "RESOURCE_EXHAUSTED" in str(error) else first_line(error)
