"""What a run's bits depend on besides its config: versions, devices, and external compiler settings."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import jax

from dcgan_jax.versions import package_version

_PACKAGES = ("dcgan-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# These change the compiled program or its rounding. They cannot be set for one program alone, so they are recorded.
_VARIABLES = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
_OPTIONS = (
    "jax_default_matmul_precision",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_memory_fitting_level",
    "jax_optimization_level",
    "jax_allow_f16_reductions",
    "jax_compiler_enable_remat_pass",
    "jax_use_direct_linearize",
    "jax_threefry_gpu_kernel_lowering",
)
_HARMLESS_FLAGS = ("--xla_force_host_platform_device_count", "--xla_dump")  # the devices are recorded separately


def environment_info(devices: int) -> dict[str, Any]:
    """The environment of this process as a JSON object.

    Args:
      devices: the number of devices that share the run's batches.
    """
    # None if this JAX lacks the option. Only options with a context manager are attributes.
    values = {name: getattr(jax.config, name, jax.config.values.get(name)) for name in _OPTIONS}
    options = {name: value if isinstance(value, bool | float | None) else str(value) for name, value in values.items()}
    return {
        **{name: package_version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "devices": devices,
        "processor": _processor(),
        "threads": _threads(),
        "XLA_FLAGS": xla_flags(),
        **{name: os.environ.get(name) for name in _VARIABLES},
        **options,
    }


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The entries that differ between two environments, as ``jax 0.10.2, now 0.10.3``, of those that both have."""
    changed = [name for name in now if name in saved and saved[name] != now[name]]
    return [f"{name} {_text(saved[name])}, now {_text(now[name])}" for name in changed]


def xla_flags() -> str | None:
    """The flags in ``XLA_FLAGS``, or in the file it names, that change a program, sorted; None if there are none."""
    text = os.environ.get("XLA_FLAGS", "")
    if not text.lstrip().startswith("-"):  # XLA then reads the flags from the file of this name
        with contextlib.suppress(OSError, ValueError):
            text = Path(text).read_text(encoding="utf-8", errors="replace")
    flags = sorted(flag for flag in text.split() if not flag.startswith(_HARMLESS_FLAGS))
    return " ".join(flags) or None


def _threads() -> int:
    """The number of threads that XLA uses on a CPU; like XLA, it ignores a variable that is not an integer."""
    for name in ("PJRT_NPROC", "NPROC"):
        with contextlib.suppress(ValueError):
            return max(0, int(os.environ.get(name, "")))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name and its vector instructions, for which XLA compiles."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    instructions = fields.get("flags", "").split()
    vectors = next((name for name in ("avx512f", "avx2", "avx") if name in instructions), platform.machine())
    return f"{fields.get('model name', platform.machine())}, {vectors}"


def _text(value: Any) -> str:
    return "not set" if value is None else str(value)
