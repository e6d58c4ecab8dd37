"""One system in a process of its own: a step each time it is asked, and what the step took.

``python -m benchmarks.worker MODULE BATCH_SIZE [VARIANT]`` reads requests from its standard input, a word a line, and
answers each with one line of JSON: ``step`` runs one step; ``gemm`` measures the device's matrix products.
The parent is `benchmarks.systems.Worker`.
"""

import importlib
import json
import os
import resource
import sys
import time

from dcgan_jax import load_dataset


def peak_memory_mib() -> float:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def gemm_flops() -> float:
    """The best rate of float32 matrix products on JAX's device, in FLOP/s (two for each multiply-add)."""
    import jax

    product = jax.jit(lambda a, b: a @ b)
    best = 0.0
    for n in (1024, 2048, 3072):
        a = jax.random.normal(jax.random.key(n), (n, n))
        jax.block_until_ready(product(a, a))
        for _ in range(3):
            began = time.perf_counter()
            jax.block_until_ready(product(a, a))
            best = max(best, 2 * n**3 / (time.perf_counter() - began))
    return best


def main() -> None:
    module, batch_size, *variant = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
    # What the libraries print goes to the standard error; the answers have the standard output for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    step, device = importlib.import_module(f"benchmarks.peers.{module}").prepare(load_dataset()[:batch_size], *variant)
    began = time.perf_counter()
    step()
    answer(device=device, first_step=time.perf_counter() - began)
    for request in sys.stdin:
        if request.strip() == "gemm":
            answer(flops=gemm_flops())
        else:
            began = time.perf_counter()
            step()
            answer(seconds=time.perf_counter() - began, memory=peak_memory_mib())


if __name__ == "__main__":
    main()
