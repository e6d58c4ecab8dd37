"""What the CPU of this machine can do."""

import functools
from pathlib import Path

_DESCRIPTION = Path("/proc/cpuinfo")


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has bfloat16 multiplication instructions that XLA uses: AVX512-BF16 or AMX.

    It reads the CPU flags that Linux reports, so it is False on other systems.
    """
    try:
        described = _DESCRIPTION.read_text()
    except OSError:
        return False
    flags = next((line for line in described.splitlines() if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags
