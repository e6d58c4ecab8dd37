"""XLA's options by which tests compile quickly, of the jaxlib that is installed."""

import importlib.metadata

# Compiling fusions by way of MLIR takes as long as all else. Newer jaxlibs have no other way, and XLA ends a process
# that is given an option it does not know.
_CAN_DO_WITHOUT = importlib.metadata.version("jaxlib").startswith("0.10.")
WITH_FUSIONS = {"xla_cpu_use_fusion_emitters": True} if _CAN_DO_WITHOUT else {}  # as users compile
WITHOUT_FUSIONS = {"xla_cpu_use_fusion_emitters": False} if _CAN_DO_WITHOUT else {}
# LLVM optimises little: for programs that compute for long. Without any of it steps in float64 take twice as long.
LITTLE_OPTIMISED = {"xla_backend_optimization_level": 1, **WITHOUT_FUSIONS}


def as_flags(options):
    """Options as the environment variable ``XLA_FLAGS`` has them."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
