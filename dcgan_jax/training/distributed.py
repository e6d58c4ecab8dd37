"""Data parallelism: each batch is shared by the devices of one process or of several.

In a job of several processes every process runs the same program on its own devices. Only the primary process reads
and writes the run directory, and it broadcasts what it restores to the others.
"""

import json
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dcgan_jax.errors import UserError, first_line

_AXIS = "data"  # the mesh axis along which the batch is split; all else is replicated
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# JAX recognises by these that SLURM's srun started a process. Processes started by salloc and sbatch have only some.
_SRUN = ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")

T = TypeVar("T")


class DevicesError(UserError):
    """The requested devices are not available."""


class PrimaryProcessError(RuntimeError):
    """The primary process of the job failed; it reports its error itself."""


class JobFailedError(RuntimeError):
    """A process of the job failed while others wait for it; the message is one line that says why."""


def init_distributed() -> None:
    """Join the other processes of the job. It must be called before any other use of JAX.

    The job is described by SLURM, Open MPI, Kubernetes or a TPU pod, or by ``JAX_COORDINATOR_ADDRESS`` (host:port of
    the first process), ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``.

    Raises:
      DevicesError: if none of them describes the job, or the other processes do not join.
    """
    count, index = (_integer(name) for name in _VARIABLES[1:])
    if _is_shell_of_salloc():
        tasks = os.environ["SLURM_NTASKS"]
        raise DevicesError(
            f"`distributed` would wait for the {tasks} tasks of this SLURM job, and this process is the only one: "
            "start all of them with srun"
        )
    try:
        jax.distributed.initialize(num_processes=count, process_id=index)
    except Exception as error:  # whatever the cluster's own tools raise
        raise DevicesError(f"`distributed` finds no job to join ({first_line(error)}): {_remedy()}") from error


def _integer(name: str) -> int | None:
    """An environment variable's value, None if it is unset. Raises: DevicesError if it is not an integer."""
    text = os.environ.get(name)
    try:
        return int(text) if text else None
    except ValueError as error:
        raise DevicesError(f"`distributed`: {name} must be an integer, got {text!r}") from error


def _is_shell_of_salloc() -> bool:
    """Whether this is a SLURM job's interactive step, which is one task with the whole job's ``SLURM_NTASKS``.

    JAX would take it for one of those tasks, and wait minutes for the others, which are never started.
    """
    if any(map(os.environ.get, (*_VARIABLES, "OMPI_MCA_orte_hnp_uri"))):  # these describe the job instead
        return False
    is_step = "SLURM_JOB_ID" in os.environ and all(name in os.environ for name in _SRUN)
    return is_step and os.environ.get("SLURM_STEP_NUM_TASKS") == "1" != os.environ["SLURM_NTASKS"]


def _remedy() -> str:
    """Advice for a process that could not join a job."""
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if not missing:
        return f"start a process for each JAX_PROCESS_ID, and look whether they reach {os.environ[_VARIABLES[0]]}"
    if len(missing) == len(_VARIABLES) and "SLURM_JOB_ID" in os.environ:
        if any(name not in os.environ for name in _SRUN):
            return "this is a SLURM job, and srun has not started this process: start it with srun"
        return "look whether srun has started all of its tasks, and whether they reach each other"
    return f"set {', '.join(missing)}"


def check_devices() -> None:
    """Raises: DevicesError if JAX finds no device, or not the kind that ``JAX_PLATFORMS`` names."""
    try:
        jax.devices()
    except Exception as error:  # whatever the backends raise
        raise DevicesError(f"JAX finds no device ({first_line(error)})") from error


def is_primary() -> bool:
    """Whether this process reads and writes files; always true in a job of one process."""
    return jax.process_index() == 0


def data_mesh(count: int | None = None) -> Mesh:
    """A mesh with the axis ``data`` of ``count`` devices of this machine, or of all devices of the job if None.

    Raises:
      DevicesError: if there are fewer, or ``count`` is not all of them in a job of several processes.
    """
    devices = jax.devices()
    if count is not None and jax.process_count() > 1 and count != len(devices):
        raise DevicesError(f"`devices` must be all, or {len(devices)}, in a job of several processes, got {count}")
    if count is not None and count > len(devices):
        raise DevicesError(f"`devices` must be at most {len(devices)}, those of this machine, got {count}")
    return jax.make_mesh((count or len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """A sharding that splits the first axis evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec(_AXIS))


def batches_sharding(mesh: Mesh) -> NamedSharding:
    """A sharding that splits the second axis evenly over the devices, for stacked batches [K, B, ...]."""
    return NamedSharding(mesh, PartitionSpec(None, _AXIS))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The tree's arrays (no typed PRNG keys) on every device; all processes must pass the same values."""
    if jax.process_count() > 1:
        return multihost_utils.host_local_array_to_global_array(jax.device_get(tree), mesh, PartitionSpec())
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def local_replica(tree: Any) -> Any:
    """A replicated tree's arrays on this process's first device, for computations on it alone."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def run_on_primary(work: Callable[[], T]) -> T | None:
    """Call ``work`` on the primary process; returns its result there, None on the others.

    Raises:
      PrimaryProcessError: on the others, if ``work`` raises. The primary raises the error itself.
    """
    if jax.process_count() == 1:
        return work()
    result, error = None, None
    if is_primary():
        try:
            result = work()
        except BaseException as raised:  # Ctrl-C too: the others wait
            error = raised
    failed = bool(multihost_utils.broadcast_one_to_all(np.bool_(error is not None)))
    if error:
        raise error
    if failed:
        raise PrimaryProcessError
    return result


def run_on_each(work: Callable[[], T]) -> T:
    """Call ``work`` on every process of a job; returns its result if it succeeds on all.

    Raises:
      UserError: if ``work`` raises one, on this process or another.
    """
    if jax.process_count() == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except UserError as raised:
        error = raised
    failed = bool(multihost_utils.process_allgather(np.bool_(error is not None)).any())
    if error:
        raise error
    if failed:
        raise UserError("another process of this job failed: what it printed says why")
    return result  # pyright: ignore[reportReturnType]


def broadcast_json(value: Any) -> Any:
    """The primary's JSON-serialisable value on all processes; the others pass None."""
    if jax.process_count() == 1:
        return value
    text = json.dumps(value).encode() if is_primary() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    data = np.frombuffer(text, np.uint8) if is_primary() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())


def broadcast_arrays(tree: Any) -> Any:
    """The primary's arrays on all processes, as NumPy arrays; each passes a tree of the same structure and shapes."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def preemption_signal(call: int) -> signal.Signals | None:
    """SIGTERM if any process of the job received it and all should stop after this dispatch, else None.

    Every process must call it after every dispatch, with their number so far.
    """
    return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(call) else None
