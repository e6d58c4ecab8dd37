"""Cost of streaming images from a file: memory, and step time compared with images in memory, also with a cold cache.

    python -m benchmarks.streaming --json benchmarks/results/streaming.json   # 12.3 GB of free disk, removed at the end
    python -m benchmarks.streaming --report                                   # the table of what was measured

The images are 64x64x3. Memory is the peak of a process that trains on 1,000,000 of them, compared with one that trains
on 1,000 in memory with the same networks. Steps are timed in one process, in alternating blocks: from memory, from the
file, and from the file after its cached pages were dropped (``posix_fadvise``). Networks are the tutorial's for images
of that size, unless ``--width`` makes them narrower.
"""

import argparse
import dataclasses
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.common import (
    add_json_flag,
    machine,
    markdown_table,
    ratio_cell,
    read_result,
    summary,
    write_json,
)
from dcgan_jax import TrainConfig, load_data
from dcgan_jax.data import Dataset
from dcgan_jax.data.mapped import RowReader
from dcgan_jax.state import GANState
from dcgan_jax.training.batch_source import BatchSource, DeviceImages
from dcgan_jax.training.device_loop import StepRunner
from dcgan_jax.training.distributed import batches_sharding, data_mesh, replicate
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.host_batches import sent_batches
from dcgan_jax.training.record import RunRecord

SHAPE = (64, 64, 3)
_IN_MEMORY = 20_000  # maximum images of the way from memory; the others draw from the whole file
_PEAK = """
import resource, sys
from dcgan_jax import TrainConfig, train
dataset, workdir, stream, batch_size, width, steps = sys.argv[1:]
train(TrainConfig(dataset=dataset, workdir=workdir, stream=stream == "True", batch_size=int(batch_size),
                  width=int(width), steps=int(steps), image_size="64"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def write_images(path: Path, count: int) -> None:
    """Write random images as an ``.npy``, repeating 1,000 different ones."""
    some = np.random.default_rng(0).integers(0, 256, (1000, *SHAPE), np.uint8).tobytes()
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, 1000):
            file.write(some[: min(1000, count - start) * 64 * 64 * 3])
        os.fsync(file.fileno())


def drop_pages(path: Path) -> None:
    """Drop a file's pages from the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak(path: Path, stream: bool, batch_size: int, width: int, steps: int) -> int:
    """Peak memory, in bytes, of a process that trains from a file."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [path, Path(folder) / "run", stream, batch_size, width, steps]
        command = [sys.executable, "-c", _PEAK, *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def reading(path: Path, batch_size: int, batches: int) -> dict[str, float]:
    """Images per second read in batches, from the disk (``cold``) and from the page cache (``warm``)."""
    images = load_data(path, image_size=SHAPE[:2], stream=True).images
    random, rates, reader = np.random.default_rng(0), {}, RowReader(images)
    for what in ("cold", "warm"):
        drop_pages(path)
        drawn = [random.integers(0, len(images), batch_size) for _ in range(batches)]
        for rows in drawn if what == "warm" else ():
            reader.read(rows)
        began = time.perf_counter()
        for rows in drawn:
            reader.read(rows)
        rates[what] = batches * batch_size / (time.perf_counter() - began)
    reader.close()
    return rates


def time_steps(path: Path, batch_size: int, width: int, pairs: int, steps: int) -> dict[str, Any]:
    """Time steps in blocks: from memory, from the file, and from the file after its cached pages were dropped."""
    config = TrainConfig(batch_size=batch_size, width=width, steps=2**30, image_size="64", steps_per_call=1)
    mesh, mapped = data_mesh(1), load_data(path, image_size=SHAPE[:2], stream=True)
    data = mapped.rows(np.arange(min(_IN_MEMORY, len(mapped.images)))).in_memory()
    state, keys = create_state(config, RunRecord(SHAPE))
    fresh, images, key_data = replicate((state, data.images, jax.random.key_data(keys["run"])), mesh)
    key = jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(keys["run"]))

    def streamed(data: Dataset) -> Iterator[BatchSource]:
        calls = ((step, 1) for step in itertools.count())
        return sent_batches(data, keys["run"], batch_size, calls, 1, mirror=False, sharding=batches_sharding(mesh))

    sources = {"memory": itertools.repeat(DeviceImages(images)), "file": streamed(mapped), "cold": streamed(mapped)}
    ways = {}
    for name, source in sources.items():
        runner = StepRunner(config, source, key, mesh, 0, quick_compile=True)
        copy = jax.tree.map(lambda leaf: leaf.copy(), fresh)
        runner.compile(copy)
        ways[name] = _Way(runner, copy)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(pairs + 1):  # the first one is not counted
        for name in ways if block % 2 else reversed(ways):
            if name == "cold":
                drop_pages(path)
            taken = ways[name].advance(steps)
            seconds[name] += [taken] if block else []
    for source in list(sources.values())[1:]:
        source.close()  # pyright: ignore[reportAttributeAccessIssue]
    by_block = zip(*seconds.values(), strict=True)
    ratios = [(memory / file, memory / cold) for memory, file, cold in by_block]
    return {
        "batch_size": batch_size,
        "seconds_per_step": {name: summary(values) for name, values in seconds.items()},
        "speed_from_file": summary([file for file, _ in ratios]),
        "speed_from_disk": summary([cold for _, cold in ratios]),
        "speed_in_all": statistics.mean(seconds["memory"]) / statistics.mean(seconds["file"]),
    }


@dataclasses.dataclass
class _Way:
    """A run that is timed in blocks."""

    runner: StepRunner
    state: GANState
    step: int = 0

    def advance(self, steps: int) -> float:
        """Seconds per step of the next ``steps``."""
        began = time.perf_counter()
        for _ in range(steps):
            self.state, _, self.step = self.runner.advance(self.state, self.step + 1)
        jax.block_until_ready(self.state)
        list(self.runner.fetch_metrics())
        return (time.perf_counter() - began) / steps


def table(result: dict[str, Any]) -> str:
    """The times of steps as a Markdown table."""
    header = ("batch", "seconds per step in memory", "speed from the file", "from the disk, nothing cached")
    rows = [
        (
            row["batch_size"],
            f"{row['seconds_per_step']['memory']['median']:.3g}",
            ratio_cell(row["speed_from_file"]),
            ratio_cell(row["speed_from_disk"]),
        )
        for row in result["steps"]
    ]
    return markdown_table(header, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="What streaming images from a file costs.")
    parser.add_argument("--images", type=int, default=1_000_000, help="in the file (default: 1000000)")
    parser.add_argument("--width", type=int, default=64, help="of the networks (default: the tutorial's 64)")
    parser.add_argument("--pairs", type=int, default=7, help="blocks of each way (default: 7)")
    parser.add_argument("--steps", type=int, default=3, help="in a block (default: 3)")
    parser.add_argument("--folder", type=Path, help="where the file is written (default: the system's temporary one)")
    parser.add_argument("--report", action="store_true", help="print the table of what was measured")
    add_json_flag(parser)
    args = parser.parse_args()
    if args.report:
        print(table(read_result("streaming")))
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        large, small = Path(folder) / "large.npy", Path(folder) / "small.npy"
        write_images(large, args.images)
        write_images(small, 1000)
        peaks = {
            "streamed": peak(large, True, 64, args.width, args.steps),
            "step": peak(small, False, 64, args.width, args.steps),
        }
        result = {
            "machine": machine(),
            "images": args.images,
            "width": args.width,
            "bytes": large.stat().st_size,
            "peak_bytes": peaks,
            "more_bytes": peaks["streamed"] - peaks["step"],
            "images_per_second": reading(large, 64, 50),
            "steps": [time_steps(large, size, args.width, args.pairs, args.steps) for size in (64, 256)],
        }
    print(
        f"{args.images:,} images, {result['bytes'] / 1e9:.1f} GB: {peaks['streamed'] / 1e9:.2f} GB at most, "
        f"{result['more_bytes'] / 1e9:.2f} more than with 1,000 images; "
        f"{result['images_per_second']['cold']:,.0f} images a second from the disk, "
        f"{result['images_per_second']['warm']:,.0f} from the page cache"
    )
    print(table(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
