"""Run an exported network in one runtime, and print its accuracy and time as a line of JSON.

    python benchmarks/runtime_worker.py RUNTIME FOLDER THREADS

It imports only NumPy and the runtime, so that any Python with these can run it. `benchmarks.runtimes` starts it; the
folder has ``g.onnx``, ``nchw.onnx``, ``int8.onnx``, ``half.onnx``, ``g.tflite`` and ``examples.npz``.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], Any]  # one output, as an array or convertible to one
_SECONDS = 2.0  # of repeated calls, after two warm-up calls
_BATCHES = (1, 64)


def channels_first(array: np.ndarray) -> np.ndarray:
    """Images [B, H, W, C] as [B, C, H, W]; other arrays as they are."""
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def channels_last(array: np.ndarray) -> np.ndarray:
    """The inverse of `channels_first`."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _onnxruntime(path: Path, threads: int) -> Run:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _openvino(path: Path, threads: int, **properties: Any) -> Run:
    openvino = import_module("openvino")
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads, **properties})
    return lambda inputs: model(inputs)[0]


def _ncnn(folder: Path, threads: int, half: bool = False) -> Run:
    """Converted by pnnx for one example: a batch is a loop."""
    ncnn, pnnx = import_module("ncnn"), import_module("pnnx")
    shapes = ",".join(f"[1{''.join(f',{n}' for n in x.shape[1:])}]{kind}" for x, kind in _pnnx_inputs(folder))
    program = Path(str(pnnx.__file__)).parent / "pnnx"
    command = [str(program), "nchw.onnx", f"inputshape={shapes}", f"fp16={int(half)}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:  # also if it runs a graph with classes to infer shapes, as it does not set the labels
        raise RuntimeError(f"pnnx failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    net = ncnn.Net()
    net.opt.num_threads = threads
    if not half:
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(folder / "nchw.ncnn.param")) or net.load_model(str(folder / "nchw.ncnn.bin")):
        raise RuntimeError("ncnn does not load what pnnx wrote")

    def run(inputs: Inputs) -> np.ndarray:
        outputs = []
        arrays = [channels_first(x) for x in inputs.values()]
        for example in zip(*arrays, strict=True):
            with net.create_extractor() as extractor:
                for i, x in enumerate(example):
                    extractor.input(f"in{i}", ncnn.Mat(np.ascontiguousarray(np.atleast_1d(x))).clone())
                outputs.append(np.array(extractor.extract("out0")[1]))
        return channels_last(np.stack(outputs))

    return run


def _pnnx_inputs(folder: Path) -> list[tuple[np.ndarray, str]]:
    inputs, _ = read_examples(folder)
    return [(channels_first(x), "i32" if name == "labels" else "f32") for name, x in inputs.items()]


def _litert(path: Path, threads: int) -> Run:
    runner = (
        import_module("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=threads).get_signature_runner()
    )
    return lambda inputs: next(iter(runner(**inputs).values()))


def _iree(folder: Path, threads: int) -> Run:
    """Imported from ONNX and compiled for this processor; above one thread it uses those of the machine."""
    compiler, runtime = import_module("iree.compiler"), import_module("iree.runtime")
    mlir = folder / "g.mlir"
    tool = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(folder / "g.onnx"), "-o", str(mlir)]
    subprocess.run([*tool, "--opset-version", "18"], check=True, capture_output=True)
    arguments = ["--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"]
    program = compiler.compile_file(str(mlir), input_type="onnx", target_backends=["llvm-cpu"], extra_args=arguments)
    module = runtime.load_vm_flatbuffer(program, driver="local-task" if threads > 1 else "local-sync")
    (name,) = [each for each in module.vm_module.function_names if not each.startswith("_") and "$" not in each]
    return lambda inputs: module[name](*inputs.values()).to_host()


def _tinygrad(folder: Path, threads: int) -> Run:
    """On its CPU backend, which compiles with Clang."""
    os.environ.setdefault("DEV", "CPU")
    tinygrad = import_module("tinygrad")
    run = import_module("tinygrad.nn.onnx").OnnxRunner(folder / "g.onnx")
    compiled: dict[int, Any] = {}  # by batch size

    def call(inputs: Inputs) -> np.ndarray:
        n = len(next(iter(inputs.values())))
        if n not in compiled:
            run.variable_dims.clear()
            compiled[n] = tinygrad.TinyJit(lambda **tensors: next(iter(run(tensors).values())).realize())
        return compiled[n](**{name: tinygrad.Tensor(x).realize() for name, x in inputs.items()}).numpy()

    return call


def _tract(folder: Path, threads: int) -> Run:
    """With one thread, as it does not support several."""
    tract = import_module("tract")
    model = tract.onnx().load(str(folder / "g.onnx")).into_model().into_runnable()
    return lambda inputs: model.run(list(inputs.values()))[0].to_numpy()


def _mnn(folder: Path, threads: int) -> Run:
    expr, nn = import_module("MNN.expr"), import_module("MNN.nn")
    converter = import_module("_tools")  # not MNN.tools, which calls `pip install` when it is imported
    out = folder / "g.mnn"
    arguments = [
        "mnnconvert",
        "-f",
        "ONNX",
        "--modelFile",
        str(folder / "nchw.onnx"),
        "--MNNModel",
        str(out),
        "--bizCode",
        "x",
    ]
    converter.mnnconvert(arguments)
    inputs, _ = read_examples(folder)
    output = "images" if "noise" in inputs else "logits"
    net = nn.load_module_from_file(str(out), list(inputs), [output], thread_num=threads, backend=0, precision=1)

    def run(inputs: Inputs) -> np.ndarray:
        arrays = [channels_first(x) for x in inputs.values()]
        kinds = [expr.int if x.dtype == np.int32 else expr.float for x in arrays]
        variables = [expr.const(x, x.shape, expr.NCHW, kind) for x, kind in zip(arrays, kinds, strict=True)]
        (found,) = net.forward(variables)
        return channels_last(np.array(expr.convert(found, expr.NCHW).read()))

    return run


# By name: the package whose version is reported, the required module, and the function that makes the `Run`.
RUNTIMES: dict[str, tuple[str, str, Callable[[Path, int], Run]]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime", lambda at, n: _onnxruntime(at / "g.onnx", n)),
    "onnxruntime-float16": ("onnxruntime", "onnxruntime", lambda at, n: _onnxruntime(at / "half.onnx", n)),
    "onnxruntime-int8": ("onnxruntime", "onnxruntime", lambda at, n: _onnxruntime(at / "int8.onnx", n)),
    "openvino": ("openvino", "openvino", lambda at, n: _openvino(at / "g.onnx", n, INFERENCE_PRECISION_HINT="f32")),
    "openvino-default": ("openvino", "openvino", lambda at, n: _openvino(at / "g.onnx", n)),
    "ncnn": ("ncnn", "ncnn", _ncnn),
    "ncnn-float16": ("ncnn", "ncnn", lambda at, n: _ncnn(at, n, half=True)),
    "litert": ("ai-edge-litert", "ai_edge_litert", lambda at, n: _litert(at / "g.tflite", n)),
    "iree": ("iree-base-runtime", "iree.compiler", _iree),
    "tinygrad": ("tinygrad", "tinygrad", _tinygrad),
    "tract": ("tract", "tract", _tract),
    "mnn": ("MNN", "MNN", _mnn),
}


def read_examples(folder: Path) -> tuple[Inputs, np.ndarray]:
    """The inputs and the output of ``examples.npz``, which has the output last."""
    with np.load(folder / "examples.npz") as file:
        *names, output = file.files
        return {name: file[name] for name in names}, file[output]


def milliseconds(run: Run, inputs: Inputs, batch: int) -> float:
    """The median time of a call with this batch size, with its output read."""
    n = len(next(iter(inputs.values())))
    repeated = {name: x[np.arange(batch) % n] for name, x in inputs.items()}
    times: list[float] = []
    for i in range(2000):
        began = time.perf_counter()
        np.asarray(run(repeated))
        if i >= 2:
            times.append(time.perf_counter() - began)
        if len(times) >= 5 and sum(times) > _SECONDS:
            break
    return 1000 * statistics.median(times)


def measure(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """The version of a runtime, its largest difference from JAX, and milliseconds by batch size; or why it failed."""
    package, _, make = RUNTIMES[name]
    result: dict[str, Any] = {"version": metadata.version(package)}
    try:
        run = make(folder, threads)
        inputs, expected = read_examples(folder)
        found = np.asarray(run(inputs))
        if found.shape != expected.shape:
            raise RuntimeError(f"shape {list(found.shape)} and not {list(expected.shape)}")
        result["difference"] = float(np.abs(found.astype(np.float64) - expected).max())
        result["milliseconds"] = {str(n): milliseconds(run, inputs, n) for n in _BATCHES}
    except Exception as error:  # runtimes raise classes of their own: the error is the result
        result["failed"] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]
    return result


if __name__ == "__main__":
    print("result " + json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
