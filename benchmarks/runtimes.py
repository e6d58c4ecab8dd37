"""Run exported networks in the installed runtimes: difference from JAX, and time of 1 and of 64 images.

    python -m benchmarks.runtimes --json benchmarks/results/runtimes.json
    python -m benchmarks.runtimes --python ~/openvino/bin/python    # runtimes of another environment too

The networks are the pretrained generator, as `dcgan-jax export mnist` writes it, and with random weights the tutorial's
discriminator, a generator of ten classes, and one of 64x64 RGB images. Each runtime runs in its own process, in the
first Python that has it. Failures are recorded in the result, with their reasons.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import ROOT, add_json_flag, machine, markdown_table, read_result, write_json
from benchmarks.runtime_worker import RUNTIMES
from dcgan_jax import Discriminator, GANState, Generator, evaluate_images, init_state, sample
from dcgan_jax.cli import main as command_line
from dcgan_jax.interop import (
    export_onnx,
    export_quantized_onnx,
    export_tflite,
    make_examples,
    write_examples,
)
from dcgan_jax.interop.onnx_check import run_onnx
from dcgan_jax.pretrained import load_pretrained
from dcgan_jax.sampling import sample_noise

_WORKER = ROOT / "benchmarks" / "runtime_worker.py"
_LIMIT = 900  # seconds until a process is stopped
NETWORKS = {
    "pretrained": "generator",
    "discriminator": "discriminator",
    "classes": "generator",
    "colours": "generator",
}
GENERATORS = [name for name, network in NETWORKS.items() if network == "generator"]
_NAMES = {  # of rows, with the required settings
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-float16": "ONNX Runtime, `--precision float16`",
    "onnxruntime-int8": "ONNX Runtime, `--quantize`",
    "openvino": 'OpenVINO, `INFERENCE_PRECISION_HINT="f32"`',
    "openvino-default": "OpenVINO, nothing set",
    "ncnn": "ncnn, by pnnx with `fp16=0`, `--layout NCHW`",
    "ncnn-float16": "ncnn, by pnnx, nothing set, `--layout NCHW`",
    "litert": "LiteRT, `--format tflite`",
    "iree": "IREE",
    "tinygrad": "tinygrad",
    "tract": "tract",
    "mnn": "MNN, `--layout NCHW`",
}


def trained_like(state: GANState) -> GANState:
    """An untrained state with the statistics of a batch, so that the generator's images depend on its noise."""
    labels = None if state.classes is None else jnp.arange(16, dtype=jnp.int32) % state.classes
    noise = sample_noise(state, jax.random.key(5), 16)
    generator = state.generator
    train = jax.jit(lambda half, key: half.train(half.params, noise, key, labels))
    for i in range(30):  # 0.9^30 = 4 % of the initial ones remain
        _, stats = train(generator, jax.random.key(i))
        generator = generator.replace(batch_stats=stats)
    return state.replace(generator=generator)


def states() -> dict[str, GANState]:
    """The state of each of `NETWORKS`."""
    shape = (64, 64, 3)
    return {
        "pretrained": load_pretrained("mnist"),
        "discriminator": init_state(jax.random.key(0)),
        "classes": trained_like(init_state(jax.random.key(1), classes=10)),
        "colours": trained_like(
            init_state(jax.random.key(2), generator=Generator(shape), discriminator=Discriminator())
        ),
    }


def export_all(folder: Path, name: str, state: GANState) -> None:
    """Write the files of a network that `benchmarks.runtime_worker` reads."""
    network, pretrained = NETWORKS[name], name == "pretrained"
    folder.mkdir()
    if pretrained:
        flags = {"g.onnx": [], "nchw.onnx": ["--layout", "NCHW"], "half.onnx": ["--precision", "float16"]}
        for file, more in {**flags, "int8.onnx": ["--quantize"], "g.tflite": []}.items():
            kind = file.partition(".")[2]
            if command_line(["export", "mnist", "--format", kind, "--out", str(folder / file), *more]):
                raise SystemExit(2)
    else:
        export_onnx(folder / "g.onnx", state, network)
        export_onnx(folder / "nchw.onnx", state, network, layout="NCHW")
        export_onnx(folder / "half.onnx", state, network, precision="float16")
        export_quantized_onnx(folder / "int8.onnx", state, network)
        export_tflite(folder / "g.tflite", state, network)
    write_examples(folder / "examples.npz", make_examples(state, network, 16))


def own_milliseconds(state: GANState, batch: int) -> float:
    """The median time of `dcgan_jax.sample`, with its images read."""
    times = []
    for i in range(22):
        began = time.perf_counter()
        np.asarray(sample(state, jax.random.key(i), batch))
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[2:])


def pythons_by_runtime(pythons: Sequence[str]) -> dict[str, str]:
    """The first Python that has each runtime; runtimes that none has are left out."""
    code = (
        "import importlib.util, json, sys\n"
        "def has(name):\n"
        "    try: return importlib.util.find_spec(name) is not None\n"
        "    except ImportError: return False\n"
        "print(json.dumps([has(name) for name in sys.argv[1:]]))"
    )
    modules = [module for _, module, _ in RUNTIMES.values()]
    found: dict[str, str] = {}
    for python in pythons:
        done = subprocess.run([python, "-c", code, *modules], capture_output=True, text=True, check=True)
        for name, has in zip(RUNTIMES, json.loads(done.stdout), strict=True):
            if has:
                found.setdefault(name, python)
    return found


def run_worker(python: str, runtime: str, folder: Path, threads: int) -> dict[str, Any]:
    """What `benchmarks.runtime_worker.measure` returns, or why its process gave no result."""
    command = [python, str(_WORKER), runtime, str(folder), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer in {_LIMIT} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("result ")]
    if not lines:
        return {"failed": f"its process ended with exit code {done.returncode}"}
    return json.loads(lines[-1].removeprefix("result "))


def quantized_scores(folder: Path, state: GANState, samples: int) -> dict[str, float]:
    """FID of the pretrained generator's images of the same noise in float32 and in int8, and both files' sizes."""
    noise = np.asarray(sample_noise(state, jax.random.key(7), samples))
    scores = {}
    for name, file in (("float32", "g.onnx"), ("int8", "int8.onnx")):
        images = np.concatenate([run_onnx(folder / file, {"noise": part}) for part in np.array_split(noise, 100)])
        scores[name] = float(evaluate_images(np.clip(images, 0, 1)).scores.fid)
    sizes = {
        f"{name} bytes": (folder / file).stat().st_size for name, file in (("float32", "g.onnx"), ("int8", "int8.onnx"))
    }
    return {**scores, **sizes, "samples": samples}


def measure(pythons: Sequence[str], threads: int, samples: int, only: Sequence[str]) -> dict[str, Any]:
    """Measure all networks in all runtimes."""
    found = pythons_by_runtime(pythons)
    result: dict[str, Any] = {"machine": machine(), "threads": threads, "networks": {}}
    with tempfile.TemporaryDirectory() as place:
        for name, state in states().items():
            if only and name not in only:
                continue
            folder = Path(place) / name
            export_all(folder, name, state)
            rows: dict[str, Any] = {}
            if NETWORKS[name] == "generator":
                rows["jax"] = {"milliseconds": {str(n): own_milliseconds(state, n) for n in (1, 64)}}
            for runtime, python in found.items():
                rows[runtime] = run_worker(python, runtime, folder, threads)
                print(name, runtime, json.dumps(rows[runtime]), flush=True)
            result["networks"][name] = rows
        if samples and "pretrained" in result["networks"]:
            result["int8"] = quantized_scores(Path(place) / "pretrained", states()["pretrained"], samples)
    return result


def table(result: dict[str, Any]) -> str:
    """A row for each runtime: differences of all networks, and times of the pretrained generator."""
    networks = result["networks"]
    own = networks["pretrained"]["jax"]["milliseconds"]
    rows = [("JAX: `sample`", *["0"] * len(networks), *(f"{own[n]:.1f}" for n in ("1", "64")))]
    for runtime, name in _NAMES.items():
        measured = [networks[network].get(runtime) for network in networks]
        if not measured[0]:
            continue
        times = measured[0].get("milliseconds", {})
        version = measured[0].get("version", "")
        label = ", ".join([f"{name.split(',')[0]} {version}", *name.split(",")[1:]]).replace(",  ", ", ")
        rows.append((label, *map(_cell, measured), *(f"{times[n]:.1f}" if times else "" for n in ("1", "64"))))
    heads = ("largest difference from JAX: " + next(iter(networks)), *list(networks)[1:])
    return markdown_table(("", *heads, "ms for 1", "for 64"), rows)


def _cell(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "not run"
    return "fails" if "failed" in measured else f"{measured['difference']:.1e}"


def failures(result: dict[str, Any]) -> list[str]:
    """A line for each failure: the runtime, the network and the reason."""
    return [
        f"{_NAMES[runtime].split(',')[0]}, {network}: {row['failed']}"
        for network, rows in result["networks"].items()
        for runtime, row in rows.items()
        if "failed" in row
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--python", action="append", default=[], help="another Python, for runtimes that it has")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=10_000, help="images for the FID of int8; 0 leaves it out")
    parser.add_argument("--network", action="append", default=[], choices=list(NETWORKS), help="(default: all)")
    parser.add_argument("--table", action="store_true", help="print the table of the last result, and run nothing")
    add_json_flag(parser)
    args = parser.parse_args()
    if args.table:
        result = read_result("runtimes")
    else:
        result = measure([sys.executable, *args.python], args.threads, args.samples, args.network)
        if args.json:
            write_json(args.json, result)
    print(table(result), *failures(result), json.dumps(result.get("int8")), sep="\n")


if __name__ == "__main__":
    main()
