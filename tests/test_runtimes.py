"""Exported files in other programs' runtimes, those that are installed: what each computes is what JAX does."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import runtime_worker, runtimes  # noqa: E402

# Above the sums in another order: kernels of half the digits, and eight bits. OpenVINO chooses bfloat16 by itself.
# MNN's Winograd convolutions lose two digits.
ROUNDED = {
    "onnxruntime-float16": 0.01,
    "ncnn-float16": 0.02,
    "onnxruntime-int8": 0.5,
    "openvino-default": 0.2,
    "mnn": 1e-3,
}
# What does not work, and why; strict: if it works one day, the test says so.
BROKEN = {
    **{("iree", network): "compiles DepthToSpace of mode CRD as another order" for network in runtimes.GENERATORS},
    **{(name, "classes"): "pnnx tries random labels, out of range" for name in ("ncnn", "ncnn-float16")},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder of files for each network of the benchmark, by its name."""
    place = tmp_path_factory.mktemp("exported")
    for name, state in runtimes.states().items():
        runtimes.export_all(place / name, name, state)
    return place


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("network", runtimes.NETWORKS)
@pytest.mark.parametrize("runtime", runtime_worker.RUNTIMES)
def test_runtime_computes_what_jax_does(runtime, network, exported, request):
    _, module, _ = runtime_worker.RUNTIMES[runtime]
    pytest.importorskip(module)
    if runtime == "tinygrad" and not shutil.which("clang"):
        pytest.skip("tinygrad compiles by Clang, which is not here")
    if reason := BROKEN.get((runtime, network)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    folder = exported / network
    result = runtimes.run_worker(sys.executable, runtime, folder, 2)
    _, expected = runtime_worker.read_examples(folder)
    assert "failed" not in result, result
    relative = ROUNDED.get(runtime, 1e-5)  # as in `check_onnx`
    assert result["difference"] <= relative * max(1, np.abs(expected).max())


def test_a_runtime_that_fails_says_why(tmp_path, monkeypatch):
    def fail(folder, threads):
        raise ValueError("no such operator\nand more")

    monkeypatch.setitem(runtime_worker.RUNTIMES, "numpy", ("numpy", "numpy", fail))
    result = runtime_worker.measure("numpy", tmp_path, 2)
    assert result == {"version": np.__version__, "failed": "ValueError: no such operator"}


def test_worker_counts_what_differs(tmp_path, monkeypatch):
    np.savez(tmp_path / "examples.npz", noise=np.ones((4, 3), np.float32), images=np.ones((4, 2, 2, 1), np.float32))
    monkeypatch.setattr(runtime_worker, "_SECONDS", 0)
    monkeypatch.setitem(
        runtime_worker.RUNTIMES,
        "numpy",
        ("numpy", "numpy", lambda folder, threads: lambda inputs: np.full((len(inputs["noise"]), 2, 2, 1), 0.75)),
    )
    result = runtime_worker.measure("numpy", tmp_path, 2)
    assert result["difference"] == 0.25
    assert set(result["milliseconds"]) == {"1", "64"}


def test_worker_imports_no_jax():
    code = "import sys, runtime_worker; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_table_has_what_fails():
    row = {"version": "1", "difference": 1e-6, "milliseconds": {"1": 2.0, "64": 100.0}}
    own = {"milliseconds": {"1": 3.0, "64": 50.0}}
    result = {
        "networks": {
            "pretrained": {"jax": own, "tract": row, "mnn": {"version": "2", "failed": "E: x"}},
            "classes": {"tract": {"version": "1", "failed": "RuntimeError: no"}, "mnn": row},
        }
    }
    lines = runtimes.table(result).splitlines()
    assert lines[2] == "| JAX: `sample` | 0 | 0 | 3.0 | 50.0 |"
    assert lines[3] == "| tract 1 | 1.0e-06 | fails | 2.0 | 100.0 |"
    assert lines[4] == "| MNN 2, `--layout NCHW` | fails | 1.0e-06 |  |  |"
    assert runtimes.failures(result) == ["MNN, pretrained: E: x", "tract, classes: RuntimeError: no"]


@pytest.mark.slow
def test_page_of_the_docs_draws_in_a_browser(exported, browser, tmp_path):
    """ONNX Runtime Web is a package of npm: the variable names the folder ``dist`` of it."""
    dist = os.environ.get("ONNXRUNTIME_WEB")
    if not dist:
        pytest.skip("ONNXRUNTIME_WEB is not set to node_modules/onnxruntime-web/dist")
    (page_text,) = re.findall(r"^```html\n(.*?)^```$", (ROOT / "docs" / "export.md").read_text(), re.M | re.S)
    (tmp_path / "index.html").write_text(page_text)
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(Path(dist) / name, tmp_path)
    shutil.copy(exported / "pretrained" / "g.onnx", tmp_path / "generator.onnx")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        drawn = (
            "() => document.querySelector('canvas').getContext('2d').getImageData(0, 0, 28, 28).data.some(x => x > 0)"
        )
        page.wait_for_function(drawn, timeout=60_000)
        inputs, expected = runtime_worker.read_examples(exported / "pretrained")
        found = page.evaluate(
            """async (noise) => {
                const session = await ort.InferenceSession.create("generator.onnx");
                const tensor = new ort.Tensor("float32", Float32Array.from(noise.flat()), [noise.length, 100]);
                return Array.from((await session.run({ noise: tensor })).images.data);
            }""",
            inputs["noise"].tolist(),
        )
    finally:
        page.close()
        server.shutdown()
        server.server_close()
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, rtol=0, atol=1e-5)
