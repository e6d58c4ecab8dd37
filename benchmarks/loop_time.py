"""Overhead of the training loop over the bare step, with logging, samples and checkpoints.

    python -m benchmarks.loop_time --batch-size 64 --steps 200
    python -m benchmarks.loop_time --steps 500 --sample-every 500 --checkpoint-every 500   # the defaults of train.py

The loop of ``train.py`` pauses every 20 steps for as many bare steps of the same compiled program on a copy of the
state, so that in each block both see the same load of a shared machine. Both are dispatched ahead of the device.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from benchmarks.common import add_json_flag, machine, summary, write_json
from dcgan_jax import TrainConfig, train
from dcgan_jax.training.device_loop import StepRunner

_BLOCK = 20


def measure(config: TrainConfig) -> dict[str, Any]:
    """Seconds per step of the loop's blocks and of the bare steps before each, and the loop's overhead."""
    advance = StepRunner.advance
    bare: list[float] = []
    in_loop: list[float] = []
    done, block_began = 0, 0.0

    def bare_block(runner: Any, state: Any) -> None:
        source = next(runner._sources)
        runner._sources = itertools.chain([source], runner._sources)
        state = jax.tree.map(lambda leaf: leaf.copy(), state)
        jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(_BLOCK):
            state, _ = runner._run_steps(state, source, runner._key, 1)
        jax.block_until_ready(state)
        bare.append((time.perf_counter() - began) / _BLOCK)

    def timed(runner: Any, state: Any, last: int) -> tuple[Any, int, int]:
        nonlocal done, block_began
        if done and done % _BLOCK == 0:  # the first block has the first dispatch in it, and is not counted
            jax.block_until_ready(state)
            if done > _BLOCK:
                in_loop.append((time.perf_counter() - block_began) / _BLOCK)
            bare_block(runner, state)
            block_began = time.perf_counter()
        state, before, after = advance(runner, state, last)
        done += after - before
        return state, before, after

    with mock.patch.object(StepRunner, "advance", timed):
        outcome = train(config)
        jax.block_until_ready(outcome.state)
    return {
        "machine": machine(),
        "batch_size": config.batch_size,
        "sample_every": config.sample_every,
        "checkpoint_every": config.checkpoint_every,
        "blocks": len(in_loop),
        "loop_seconds_per_step": summary(in_loop),
        "bare_seconds_per_step": summary(bare[: len(in_loop)]),
        "added": statistics.mean(in_loop) / statistics.mean(bare[: len(in_loop)]) - 1,
        "added_by_block": summary([a / b - 1 for a, b in zip(in_loop, bare, strict=False)]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="What the training loop adds to the bare step.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="of the loop, that are timed (default: 200)")
    parser.add_argument("--sample-every", type=int, default=50, help="steps between samples (default: 50)")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="and between checkpoints (default: 100)")
    add_json_flag(parser)
    args = parser.parse_args()
    if args.steps < _BLOCK or args.steps % _BLOCK:
        parser.error(f"--steps must be a multiple of {_BLOCK}")
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            steps=args.steps + 2 * _BLOCK,  # a first block, which compiles, and one that ends the last timed one
            batch_size=args.batch_size,
            workdir=str(Path(folder) / "run"),
            sample_every=args.sample_every,
            checkpoint_every=args.checkpoint_every,
            steps_per_call=1,
        )
        result = measure(config)
    loop_time, bare_time = result["loop_seconds_per_step"], result["bare_seconds_per_step"]
    print(
        f"batch {args.batch_size}, {result['blocks']} blocks of {_BLOCK} steps: {loop_time['median']:.4g} s a step in "
        f"the loop, {bare_time['median']:.4g} s bare; the loop adds {result['added']:.1%} in all, "
        f"{result['added_by_block']['median']:.1%} in the median block"
    )
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
