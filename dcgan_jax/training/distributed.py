"""The devices that share each batch: one, those of a machine, or those of several processes. JAX does the work.

In a job of several processes every one of them runs the same program on its own devices, and the first alone reads
and writes the run folder: what it finds there, it sends to the others.
"""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dcgan_jax.errors import first_line

AXIS = "data"  # of the mesh: the batch is split along it, all else is on every device
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class DevicesError(ValueError):
    """The devices asked for cannot be had; the message is one line that says why."""


class FirstProcessError(RuntimeError):
    """The first process of the job met an error, and tells it itself."""


class BrokenJobError(RuntimeError):
    """A process of the job cannot go on, and the others wait for it; the message is one line that says why."""


def join_job() -> None:
    """Join the other processes of the job, before JAX is used for anything else.

    The job is what SLURM, Open MPI, Kubernetes or a TPU pod says it is, or ``JAX_COORDINATOR_ADDRESS`` (host:port of
    the first process), ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``.

    Raises:
      DevicesError: if none of them says what the job is, or the others do not come.
    """
    try:
        count, index = (int(text) if (text := os.environ.get(name)) else None for name in _VARIABLES[1:])
        jax.distributed.initialize(num_processes=count, process_id=index)
    except Exception as error:  # of whatever the cluster's own tools raise
        reason = first_line(error)
        raise DevicesError(f"--distributed finds no job to join ({reason}): set {', '.join(_VARIABLES)}") from error


def check_devices() -> None:
    """Raises: DevicesError if JAX finds no device, or not the kind that ``JAX_PLATFORMS`` names."""
    try:
        jax.devices()
    except Exception as error:  # of whatever the backends raise
        raise DevicesError(f"JAX finds no device ({first_line(error)})") from error


def is_first() -> bool:
    """Whether this is the process that reads and writes files; always so in a job of one."""
    return jax.process_index() == 0


def data_mesh(count: int | None = None) -> Mesh:
    """A mesh with the axis ``data`` of ``count`` devices of this machine, or of all devices of the job if None.

    Raises:
      DevicesError: if there are fewer, or the job has several processes and not all its devices are wanted.
    """
    devices = jax.devices()
    if count is not None and jax.process_count() > 1 and count != len(devices):
        raise DevicesError(f"--devices must be all, or {len(devices)}, in a job of several processes, got {count}")
    if count is not None and count > len(devices):
        raise DevicesError(f"--devices must be at most {len(devices)}, those of this machine, got {count}")
    return jax.make_mesh((count or len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def split(mesh: Mesh) -> NamedSharding:
    """Rows spread evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The tree's arrays, none of them of PRNG keys, on every device; each process gives the same ones."""
    if jax.process_count() > 1:
        return multihost_utils.host_local_array_to_global_array(jax.device_get(tree), mesh, PartitionSpec())
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def own(tree: Any) -> Any:
    """A replicated tree's arrays as this process's first device holds them, to compute with alone."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def from_first(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do it on the first process; what it returns, as JSON holds it, on all.

    Raises:
      FirstProcessError: on the others, if the first has raised an error.
    """
    if jax.process_count() == 1:
        return work()
    text, error = b"", None
    if is_first():
        try:
            text = json.dumps(work()).encode()
        except BaseException as raised:  # Ctrl-C too: the others wait
            error = raised
    length = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if error else len(text))))
    if error:
        raise error
    if length < 0:
        raise FirstProcessError
    data = np.frombuffer(text, np.uint8) if is_first() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())


def arrays_from_first(tree: Any) -> Any:
    """The first process's arrays on all, as NumPy arrays; each gives a tree of the same structure and shapes."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def notice(call: int) -> signal.Signals | None:
    """SIGTERM, if any process of the job has had it and this is the call at which all of them should stop.

    Each process has to ask at every call to the devices, which it counts from 1.
    """
    return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(call) else None
