"""Overhead of data parallelism: one global batch on one device, on several simulated on one CPU, and in processes.

    python -m benchmarks.scaling --batch-size 64
    python -m benchmarks.scaling --model            # what a step would cost on up to 4,096 devices; measures nothing

All use the same cores, so nothing can become faster: only the overhead is measured, in turn within rounds as in
`benchmarks.step_time`.
"""

import argparse
import math
import socket
import sys
import time
from typing import Any

from benchmarks.common import add_json_flag, machine, markdown_table, ratio_cell, seconds_cell, summary, write_json
from benchmarks.systems import OURS, System, Worker

_SETTLE_SECONDS = 0.3
_DEVICES = (2, 4, 8)
_PROCESSES = (2, 4)


# Of a step with plain convolutions, as on GPU and TPU: the multiply-adds of its program, zeros of padding included; the
# bytes of both networks' gradients in float32; and about the number of all-reduces in the compiled program.
MULTIPLY_ADDS = 1_240_000_000  # per example
REDUCED_BYTES = 4 * (2_368_705 + 4_311_553)
ALL_REDUCES = 10
_FLOPS, _BANDWIDTH, _LATENCY = 20e12, 25e9, 20e-6


def predict(batch_size: int, devices: int, flops: float, bandwidth: float, latency: float) -> tuple[float, float]:
    """Seconds of a step for computing and for exchanging gradients, by a ring for bandwidth and a tree for latency."""
    compute = math.ceil(batch_size / devices) * 2 * MULTIPLY_ADDS / flops
    if devices == 1:
        return compute, 0.0
    ring = 2 * (devices - 1) / devices * REDUCED_BYTES / bandwidth
    return compute, ring + ALL_REDUCES * latency * math.log2(devices)


def model_table(flops: float = _FLOPS, bandwidth: float = _BANDWIDTH, latency: float = _LATENCY) -> str:
    """Milliseconds per step by global batch and devices, and the share spent computing."""
    counts = (1, 8, 64, 512, 4096)
    header = ["global batch", *(f"{n:,} device{'s' if n > 1 else ''}" for n in counts)]
    rows = []
    for batch_size in (256, 4096, 65_536, 1_048_576):
        cells = []
        for n in counts:
            compute, exchange = predict(batch_size, n, flops, bandwidth, latency)
            total = compute + exchange
            time = f"{total:.1f} s" if total >= 1 else f"{1e3 * total:.0f} ms"
            cells.append(f"{time}, {compute / total:.0%}" if n <= batch_size else "-")
        rows.append([f"{batch_size:,}", *cells])
    device = f"{flops / 1e12:g} TFLOP/s, {bandwidth / 1e9:g} GB/s and {1e6 * latency:g} us a hop for each device:"
    return f"{device}\n\n{markdown_table(header, rows)}"


def systems() -> dict[str, list[System]]:
    """The processes of each way to share a batch."""

    def sharded(**environment: object) -> System:
        return System("this_project_sharded", (), tuple((k, str(v)) for k, v in environment.items()))

    ways = {"one device": [OURS]}
    for n in _DEVICES:
        ways[f"{n} devices"] = [sharded(XLA_FLAGS=f"--xla_force_host_platform_device_count={n}", JAX_PLATFORMS="cpu")]
    for n in _PROCESSES:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": n, "JAX_PLATFORMS": "cpu"}
        ways[f"{n} processes"] = [sharded(**job, JAX_PROCESS_ID=i) for i in range(n)]
    return ways


def measure(batch_size: int, rounds: int) -> dict[str, Any]:
    """Seconds per step of each way, and their ratios to those of one device in the same round."""
    seconds: dict[str, list[float]] = {}
    workers: dict[str, list[Worker]] = {}
    try:
        for name, processes in systems().items():
            print(f"{name}: starting and compiling", file=sys.stderr, flush=True)
            workers[name] = [Worker(system, batch_size, wait=False) for system in processes]
            for worker in workers[name]:
                worker.wait_until_ready()
            seconds[name] = []
        for i in range(rounds + 1):  # the first warms up
            for name, together in workers.items():
                time.sleep(_SETTLE_SECONDS)
                for worker in together:
                    worker.send("step")
                took = max(worker.receive()["seconds"] for worker in together)
                if i:
                    seconds[name].append(took)
    finally:
        for together in workers.values():
            for worker in reversed(together):  # the first process of a job last: the others print errors when it ends
                worker.close()
    one = seconds["one device"]
    return {
        "machine": machine(),
        "batch_size": batch_size,
        "rounds": rounds,
        "ways": {
            name: {
                "seconds_per_step": {**summary(times), "all": times},
                "times_one_device": summary([a / b for a, b in zip(times, one, strict=True)]),
            }
            for name, times in seconds.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    rows = [
        (name, seconds_cell(way["seconds_per_step"]), ratio_cell(way["times_one_device"]))
        for name, way in result["ways"].items()
    ]
    header = ("shared by", "seconds per step, median (range)", "times one device's, median (range)")
    processor = f"{result['machine']['processor']}, {result['machine']['cores']} cores"
    return f"Global batch {result['batch_size']}, {processor}:\n\n{markdown_table(header, rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the step on a batch that devices or processes share.")
    parser.add_argument("--batch-size", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", action="store_true", help="print the model's table")
    parser.add_argument("--flops", type=float, default=_FLOPS, help="of a device, for the model")
    parser.add_argument("--bandwidth", type=float, default=_BANDWIDTH, help="bytes per second and device")
    parser.add_argument("--latency", type=float, default=_LATENCY, help="seconds from one device to another")
    add_json_flag(parser)
    args = parser.parse_args()
    if args.model:
        print(model_table(args.flops, args.bandwidth, args.latency))
        return 0
    if args.batch_size < 8 or args.batch_size % 8:
        parser.error(f"--batch-size must be a multiple of 8, got {args.batch_size}")
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}")
    result = measure(args.batch_size, args.rounds)
    print(table(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
