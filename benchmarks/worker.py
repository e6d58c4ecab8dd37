"""A worker process: runs steps of one system on request, and reports their time and memory.

``python -m benchmarks.worker MODULE BATCH_SIZE [VARIANT]`` reads requests from its standard input, one per line, and
answers each with one line of JSON: ``step`` runs one step, ``step 25`` runs 25 before it waits for the device;
``gemm`` measures the device's matrix products, ``gemm bfloat16 4096 8192`` those of a dtype and of these sizes.
The parent is `benchmarks.systems.Worker`.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence

from dcgan_jax import load_dataset
from dcgan_jax.errors import first_line


def peak_memory_mib() -> float:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def gemm_flops(dtype: str = "float32", sizes: Sequence[int] = (1024, 2048, 3072)) -> float:
    """The best rate of square matrix products on JAX's device, in FLOP/s (two for each multiply-add).

    Products of float32 have the precision of ``JAX_DEFAULT_MATMUL_PRECISION``.
    """
    import jax

    product = jax.jit(lambda a, b: a @ b)
    best = 0.0
    for n in sizes:
        a = jax.random.normal(jax.random.key(n), (n, n)).astype(dtype)
        jax.block_until_ready(product(a, a))
        for _ in range(3):
            began = time.perf_counter()
            jax.block_until_ready(product(a, a))
            best = max(best, 2 * n**3 / (time.perf_counter() - began))
    return best


def main() -> None:
    module, batch_size, *variant = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
    # Standard output is reserved for the answers; what libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        _serve(module, batch_size, variant, answer)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {first_line(error)}")
        raise


def _serve(module: str, batch_size: int, variant: list[str], answer: Callable[..., None]) -> None:
    step, device = importlib.import_module(f"benchmarks.peers.{module}").prepare(load_dataset()[:batch_size], *variant)
    began = time.perf_counter()
    step()
    answer(device=device, first_step=time.perf_counter() - began)
    for request in sys.stdin:
        word, *arguments = request.split()
        if word == "gemm":
            answer(flops=gemm_flops(arguments[0], [int(n) for n in arguments[1:]]) if arguments else gemm_flops())
        else:
            began = time.perf_counter()
            step(*(int(n) for n in arguments))
            answer(seconds=time.perf_counter() - began, memory=peak_memory_mib())


if __name__ == "__main__":
    main()
