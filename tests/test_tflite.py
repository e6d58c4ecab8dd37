"""TensorFlow Lite models of the package's own networks, run by LiteRT: the same numbers as JAX, of any batch."""

import sys

import jax
import numpy as np
import pytest
from helpers import RECIPE, all_files, one_error_line, run_cli
from programs.small_recipe import init
from test_interop import TOLERANCE, moved
from test_onnx import NETWORKS, network_inputs, small_state

from dcgan_jax import load_run
from dcgan_jax.cli import export as command
from dcgan_jax.interop import WeightsError, check_tflite, export_tflite
from dcgan_jax.interop.tflite import run_tflite

litert = pytest.importorskip("ai_edge_litert.interpreter")

CASES = [((28, 28, 1), None), ((28, 28, 1), 3), ((64, 64, 3), 2), ((36, 44, 3), None), ((4, 12, 2), None)]
OPERATORS = {"FULLY_CONNECTED", "CONV_2D", "DEPTH_TO_SPACE", "RELU", "LEAKY_RELU", "LOGISTIC", "RESHAPE", "TRANSPOSE"}
OF_SIZES, OF_CLASSES = {"STRIDED_SLICE"}, {"GATHER", "CONCATENATION", "MEAN", "MUL", "SUM", "ADD"}


@pytest.fixture(scope="module", params=CASES, ids=["grey", "classes", "colours", "cut", "small"])
def state(request):
    return small_state(*request.param)


@pytest.mark.parametrize("network", NETWORKS)
def test_litert_computes_what_jax_does(network, state, tmp_path):
    export_tflite(tmp_path / "a.tflite", state, network)
    given = network_inputs(state, network, 5)
    of_all = np.asarray(getattr(state, network).infer(*given.values()))
    assert of_all.std() > 100 * TOLERANCE
    for n in (3, 1, 5):
        inputs, expected = {name: x[:n] for name, x in given.items()}, of_all[:n]
        np.testing.assert_allclose(run_tflite(tmp_path / "a.tflite", inputs), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("network", NETWORKS)
def test_graphs_have_four_axes_and_any_batch(network, state, tmp_path):
    export_tflite(tmp_path / "a.tflite", state, network)
    interpreter = litert.Interpreter(str(tmp_path / "a.tflite"))
    for tensor in interpreter.get_tensor_details():
        assert len(tensor["shape"]) <= 4
    inputs = network_inputs(state, network)
    assert [each["name"] for each in interpreter.get_input_details()] == list(inputs)
    for each, value in zip(interpreter.get_input_details(), inputs.values(), strict=True):
        assert list(each["shape_signature"]) == [-1, *value.shape[1:]]
    (output,) = interpreter.get_output_details()
    assert output["name"] == ("images" if network == "generator" else "logits")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.Model.GetRootAs((tmp_path / "a.tflite").read_bytes())
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    used = {names[model.OperatorCodes(i).BuiltinCode()] for i in range(model.OperatorCodesLength())}
    assert used <= OPERATORS | OF_SIZES | (OF_CLASSES if state.classes else set())


def test_check_finds_another_network_in_litert(tmp_path):
    narrow = small_state()
    export_tflite(tmp_path / "a.tflite", moved(narrow, 1))
    agreement = check_tflite(tmp_path / "a.tflite", narrow)
    assert agreement.difference > 100 * agreement.tolerance
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(WeightsError, match="LiteRT cannot run"):
        check_tflite(tmp_path / "text.tflite", narrow)


def test_tflite_is_of_own_networks_alone(small_run, tmp_path):
    with pytest.raises(WeightsError, match="only the package's own networks"):
        export_tflite(tmp_path / "a.tflite", load_run(small_run, init=init).state)
    assert not all_files(tmp_path)


def test_tflite_of_bfloat16_computes_in_float32(tmp_path):
    state = small_state(dtype="bfloat16")
    for network in NETWORKS:
        export_tflite(tmp_path / network, state, network)
        agreement = check_tflite(tmp_path / network, state, network)
        assert agreement.difference <= agreement.tolerance


def test_pretrained_tflite_is_checked(tmp_path, capsys):
    out = tmp_path / "g.tflite"
    assert run_cli("export", "mnist", "--format", "tflite", "--check", "--with-examples", "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"generator of the pretrained weights mnist, in {out}"
    assert lines[1] == f"noise and images of JAX to compare with, in {tmp_path / 'g.examples.npz'}"
    assert lines[2].startswith(f"{out} is at most ")
    assert lines[2].endswith("tolerance 1.0e-05")
    examples = np.load(tmp_path / "g.examples.npz")
    found = run_tflite(out, {"noise": examples["noise"]})
    np.testing.assert_allclose(found, examples["images"], rtol=0, atol=1e-5)


def test_wrong_tflite_is_not_to_be_used(tmp_path, capsys, monkeypatch):
    from dcgan_jax import Generator, init_state

    other = init_state(jax.random.key(1), generator=Generator())
    monkeypatch.setattr(command, "export_tflite", lambda out, *_: export_tflite(out, other))
    assert run_cli("export", "mnist", "--format", "tflite", "--check", "--out", tmp_path / "g.tflite") == 2
    assert "do not use it" in capsys.readouterr().err


def test_tflite_names_its_extra(small_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in ("ai_edge_litert", "ai_edge_litert.schema_py_generated"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run_cli("export", small_run, "--recipe", RECIPE, "--format", "tflite") == 2
    expected = "TensorFlow Lite needs the package ai_edge_litert: pip install 'dcgan-jax[tflite]'"
    assert expected in one_error_line(capsys)
    assert not all_files(tmp_path)
