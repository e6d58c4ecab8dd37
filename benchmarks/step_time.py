"""Time the whole training step of this project and of its peers, in turn: A B C A B C ...

    python -m benchmarks.step_time --batch-size 64 --against torch keras-tensorflow keras-torch flax-plain
    python -m benchmarks.step_time --batch-size 64 --against recommended    # the preset, beside the tutorial's

Each system runs in its own process and idles while another is timed, so all see the same load of a shared machine;
ratios are taken within a round. A turn is a warm-up step, as it follows a pause, and then ``--steps-per-turn`` timed
ones. All do the same work: real MNIST images already in memory, float32, fakes in inference mode, the discriminator's
update on real and fake, the generator's through a frozen discriminator, dropout on.
"""

import argparse
import statistics
import sys
import time
from typing import Any

from benchmarks.common import add_json_flag, machine, markdown_table, ratio_cell, seconds_cell, summary, write_json
from benchmarks.systems import OURS, PEERS, Worker, missing_packages

_SETTLE_SECONDS = 0.3  # thread pools of the last turn spin for a moment
_LONG_STEP_SECONDS = 5.0  # a system this slow is timed once in each of the first two rounds only


def minimum_multiply_adds() -> int:
    """The minimum multiply-adds of a step per example of the batch, without Winograd's or Karatsuba's savings.

    The generator's upsampling convolutions work on the small image. Only the discriminator's skip zeros of the padding.
    """

    def met(size: int, stride: int) -> int:
        """Pairs of an output and one of 5 taps that fall on a pixel, along one axis ('same' padding)."""
        outputs = -(-size // stride)
        before = max((outputs - 1) * stride + 5 - size, 0) // 2
        return sum(0 <= i * stride + t - before < size for i in range(outputs) for t in range(5))

    shapes = [(28, 2, 1, 64), (14, 2, 64, 128), (7, 2, 128, 256), (4, 1, 256, 512)]
    d = [met(size, stride) ** 2 * c_in * c_out for size, stride, c_in, c_out in shapes] + [8192]
    upsampling = [7 * 7 * 9 * 256 * 4 * 128, 14 * 14 * 9 * 128 * 4 * 64]
    g = [100 * 12544, *upsampling, 28 * 28 * 25 * 64 * 32, 28 * 28 * 25 * 32]
    d_update = 2 * (3 * sum(d) - d[0])  # real and fake: forward, gradients of kernels and, except the first, of inputs
    g_update = 2 * sum(d) + 3 * sum(g) - g[0]  # through the discriminator to the pixels only
    return sum(g) + d_update + g_update


def measure(batch_size: int, against: list[str], rounds: int, steps_per_turn: int) -> dict[str, Any]:
    """Measure everything that the table shows, as JSON."""
    systems = {"dcgan-jax": OURS, **{peer: PEERS[peer] for peer in against}}
    workers: dict[str, Worker] = {}
    seconds: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    rates: list[float] = []
    try:
        for name, system in systems.items():
            _say(f"{name}: starting and compiling")
            workers[name] = Worker(system, batch_size)
            seconds[name] = []
        for i in range(rounds):
            for name, worker in workers.items():
                if i >= 2 and statistics.median(seconds[name]) > _LONG_STEP_SECONDS:
                    continue
                time.sleep(_SETTLE_SECONDS)
                answers = worker.turn(steps_per_turn, _LONG_STEP_SECONDS)
                seconds[name].append(statistics.mean(each["seconds"] for each in answers) / systems[name].steps)
                memory[name] = answers[-1]["memory"]
            time.sleep(_SETTLE_SECONDS)
            rates.append(workers["dcgan-jax"].ask("gemm")["flops"])
            _say(f"round {i + 1} of {rounds}: " + ", ".join(f"{n} {s[-1]:.2f} s" for n, s in seconds.items()))
    finally:
        for worker in workers.values():
            worker.close()

    ours = seconds["dcgan-jax"]
    flops = 2 * minimum_multiply_adds() * batch_size
    rows = {
        name: {
            "device": workers[name].device,
            "seconds_per_step": {**summary(times), "all": times},
            "times_ours": summary([theirs / mine for theirs, mine in zip(times, ours, strict=False)]),
            "compile_seconds": max(0.0, workers[name].first_step - systems[name].steps * statistics.median(times)),
            "peak_memory_mib": memory[name],
        }
        for name, times in seconds.items()
    }
    return {
        "machine": machine(),
        "batch_size": batch_size,
        "rounds": rounds,
        "steps_per_turn": steps_per_turn,
        "systems": rows,
        "gemm_gflops": summary([rate / 1e9 for rate in rates]),
        "gflops": summary([flops / each / 1e9 for each in ours]),
        "share_of_gemm_peak": summary([flops / each / rate for each, rate in zip(ours, rates, strict=True)]),
    }


def table(result: dict[str, Any]) -> str:
    """A Markdown table, a row for each system."""
    header = ("system", "seconds per step, median (range)", "times ours, median (range)", "compile", "peak memory")
    rows = [
        (
            name,
            seconds_cell(system["seconds_per_step"]),
            ratio_cell(system["times_ours"]),
            f"{system['compile_seconds']:.1f} s",
            f"{system['peak_memory_mib'] / 1024:.2f} GiB",
        )
        for name, system in result["systems"].items()
    ]
    return markdown_table(header, rows)


def report(result: dict[str, Any]) -> str:
    """The table between a line on the machine and a line on its matrix products."""
    rate, peak, share = result["gflops"], result["gemm_gflops"], result["share_of_gemm_peak"]
    return (
        f"Batch {result['batch_size']}, {result['machine']['processor']}, {result['machine']['cores']} cores:\n\n"
        f"{table(result)}\n\n"
        f"dcgan-jax does its {minimum_multiply_adds() / 1e6:.0f} million multiply-adds per example at "
        f"{rate['median']:.0f} GFLOP/s: {share['median']:.0%} ({share['min']:.0%}-{share['max']:.0%}) of the "
        f"{peak['median']:.0f} GFLOP/s of matrix products in the same rounds."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the training step of this project and of its peers.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--against", nargs="*", default=[], choices=list(PEERS), metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=10, help="turns of each system (default: 10)")
    parser.add_argument("--steps-per-turn", type=int, default=4, help="steps that a turn counts (default: 4)")
    add_json_flag(parser)
    args = parser.parse_args()
    if not 1 <= args.batch_size <= 60_000 or min(args.rounds, args.steps_per_turn) < 1:
        parser.error("--batch-size must be between 1 and 60000, --rounds and --steps-per-turn at least 1")
    missing = sorted({package for peer in args.against for package in missing_packages(PEERS[peer])})
    if missing:
        parser.error(f"{', '.join(missing)} not installed: pip install '.[bench]', or leave out the peers that need it")
    result = measure(args.batch_size, list(dict.fromkeys(args.against)), args.rounds, args.steps_per_turn)
    print(report(result))
    if args.json:
        write_json(args.json, result)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
