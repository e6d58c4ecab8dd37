"""What a run's bits depend on beside its config: versions, devices, and settings of the compiler from outside."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import jax

from dcgan_jax.versions import package_version

_PACKAGES = ("dcgan-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# What changes the compiled program or how it rounds. It cannot be set for one program alone, so it is recorded.
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
_HARMLESS_FLAGS = ("--xla_force_host_platform_device_count", "--xla_dump")  # the devices are recorded apart


def environment_info(devices: int) -> dict[str, Any]:
    """The environment of this process, as JSON holds it.

    Args:
      devices: the number of devices that share the run's batches.
    """
    # None in a JAX that does not have the option. Those with a context manager are attributes, the others are not.
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
    """What differs between two environments, as ``jax 0.10.2, now 0.10.3``; what one of them has not is left out."""
    changed = [name for name in now if name in saved and saved[name] != now[name]]
    return [f"{name} {_text(saved[name])}, now {_text(now[name])}" for name in changed]


def xla_flags() -> str | None:
    """The flags of XLA that change a program, wherever they are set, in a fixed order; None if there are none."""
    text = os.environ.get("XLA_FLAGS", "")
    if not text.lstrip().startswith("-"):  # XLA then takes it for the name of a file that holds the flags
        with contextlib.suppress(OSError, ValueError):
            text = Path(text).read_text(encoding="utf-8", errors="replace")
    flags = sorted(flag for flag in text.split() if not flag.startswith(_HARMLESS_FLAGS))
    return " ".join(flags) or None


def _threads() -> int:
    """The threads that XLA computes with on a CPU; of a variable that is no integer it takes no notice either."""
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
