"""The ONNX graphs of the package's own networks: what every runtime takes, and the same numbers as JAX."""

import re
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest
from helpers import RECIPE, all_files, one_error_line, run_cli
from programs.small_recipe import init
from test_interop import TOLERANCE, moved

from dcgan_jax import Discriminator, Generator, init_state, load_run
from dcgan_jax.cli import export as command
from dcgan_jax.interop import WeightsError, check_onnx, export_onnx, export_quantized_onnx, make_examples
from dcgan_jax.interop.onnx_graph import OPSETS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

OPERATORS = {"Conv", "Gemm", "DepthToSpace", "Relu", "LeakyRelu", "Sigmoid", "Reshape", "Flatten", "Transpose", "Slice"}
OF_CLASSES = {"Gather", "Concat", "GlobalAveragePool", "Mul", "ReduceSum", "Add"}
NETWORKS = ("generator", "discriminator")


def small_state(shape=(28, 28, 1), classes=None, dtype=None):
    """Networks of an eighth of the tutorial's widths, moved: the vectors of classes are not 0 either."""
    modules = {
        "generator": Generator(shape, width=8, classes=classes, dtype=dtype),
        "discriminator": Discriminator(width=8, classes=classes, dtype=dtype),
    }
    state = init_state(jax.random.key(3), classes=classes, **modules)
    if classes is not None:
        params = state.discriminator.params
        vectors = jax.tree.map(lambda x: jax.random.normal(jax.random.key(4), x.shape), params["class_vectors"])
        params = {**params, "class_vectors": vectors}
        state = state.replace(discriminator=state.discriminator.replace(params=params))
    return moved(state, 0)


_SHAPES = (((28, 28, 1), None), ((28, 28, 1), 3), ((64, 64, 3), 2), ((36, 44, 3), None), ((4, 12, 2), None))


def shape_id(case):
    return "x".join(map(str, case[0])) + ("" if case[1] is None else f" of {case[1]} classes")


# The graph is that of any size: with classes, and of maps that are cut, its constants are all of one kind.
CONSTANTS = pytest.mark.parametrize("state", [_SHAPES[1], _SHAPES[3]], ids=shape_id, indirect=True)


@pytest.fixture(scope="module", params=_SHAPES, ids=shape_id)
def state(request):
    """Grey and in colours, with classes, and of sizes in which maps are cut: 44 pixels are 6, 11, 22 and 44."""
    return small_state(*request.param)


@pytest.fixture(scope="module")
def narrow():
    return small_state()


def network_inputs(state, network, n=3):
    """The network's inputs by their names in ONNX, with images in NHWC."""
    rng = np.random.default_rng(0)
    shape = (state.latent_size,) if network == "generator" else state.generator.module.image_shape
    name = "noise" if network == "generator" else "images"
    x = {name: rng.uniform(-1 if network == "generator" else 0, 1, (n, *shape)).astype(np.float32)}
    return x if state.classes is None else {**x, "labels": np.arange(n, dtype=np.int32)[::-1] % state.classes}


def run_file(path, inputs):
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    return found


def channels_first(x):
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


@pytest.mark.parametrize("network", NETWORKS)
def test_onnx_computes_what_jax_does(network, state, tmp_path):
    inputs = network_inputs(state, network)
    expected = np.asarray(getattr(state, network).infer(*inputs.values()))
    assert expected.std() > 100 * TOLERANCE
    for layout, flip in (("NHWC", np.asarray), ("NCHW", channels_first)):
        out = tmp_path / f"{layout}.onnx"
        export_onnx(out, state, network, layout=layout)
        found = run_file(out, {name: flip(x) for name, x in inputs.items()})
        np.testing.assert_allclose(found, flip(expected), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("network", NETWORKS)
def test_graphs_are_what_every_runtime_takes(network, state, tmp_path):
    export_onnx(tmp_path / "a.onnx", state, network)
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "a.onnx"), strict_mode=True, data_prop=True)
    constants = {tensor.name for tensor in model.graph.initializer}
    assert {node.op_type for node in model.graph.node} <= OPERATORS | (OF_CLASSES if state.classes else set())
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert set(node.input[1:]) <= constants
    tensors = {value.name: value.type.tensor_type.shape.dim for value in (*model.graph.value_info, *model.graph.output)}
    assert set(tensors) == {name for node in model.graph.node for name in node.output}  # all are known
    assert max(map(len, tensors.values())) == 4
    assert max(len(tensor.dims) for tensor in model.graph.initializer) == 4
    assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in model.graph.input)


@pytest.mark.parametrize("network", NETWORKS)
def test_each_opset_is_in_the_file(network, tmp_path):
    state = small_state((36, 36, 1), 2)  # every operator that there is
    inputs = network_inputs(state, network)
    expected = getattr(state, network).infer(*inputs.values())
    for opset in OPSETS:
        out = tmp_path / f"{opset}.onnx"
        export_onnx(out, state, network, opset=opset)
        assert [(each.domain, each.version) for each in onnx.load(out).opset_import] == [("", opset)]
        np.testing.assert_allclose(run_file(out, inputs), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("network", NETWORKS)
def test_int8_is_a_quarter_of_the_size(network, tmp_path):
    """As all weights are constants: a byte for each of four, and scales, biases and the graph beside them."""
    from onnxruntime.quantization import quantize_dynamic

    export_onnx(tmp_path / "full.onnx", init_state(jax.random.key(0)), network)
    quantize_dynamic(tmp_path / "full.onnx", tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size <= 0.3 * (tmp_path / "full.onnx").stat().st_size


@pytest.mark.filterwarnings("ignore")  # of the library
@pytest.mark.parametrize("layout", ("NHWC", "NCHW"))
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "state", [_SHAPES[1], pytest.param(_SHAPES[3], marks=pytest.mark.slow)], ids=shape_id, indirect=True
)
def test_quantized_networks_are_close(network, layout, state, tmp_path):
    """A step of eight bits is 1/255 of a map's range; ten maps of a network, at most, that is 4 %."""
    out = tmp_path / "int8.onnx"
    found = export_quantized_onnx(out, state, network, {"run": "a"}, layout=layout)
    examples = make_examples(state, network, 32, seed=2).in_layout(layout)
    apart = np.abs(run_file(out, examples.inputs) - examples.expected)
    assert 0 < apart.mean() < 10 / 255 * np.abs(examples.expected).max()
    assert 0 < found.mean < found.largest
    assert found.after == out.stat().st_size
    model = onnx.load(out)
    assert [(each.key, each.value) for each in model.metadata_props] == [("run", "a")]
    assert model.producer_name == "dcgan-jax"
    kernels = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert kernels
    assert {tensor.data_type for tensor in kernels} == {onnx.TensorProto.INT8}
    assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in model.graph.input)


@pytest.mark.filterwarnings("ignore")  # of the library
def test_quantize_says_what_it_changes(tmp_path, capsys):
    out = tmp_path / "g.onnx"
    assert run_cli("export", "mnist", "--format", "onnx", "--quantize", "--out", out) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"generator of the pretrained weights mnist, in {out}"
    pattern = r"int8: (.+) MB in float32, (.+) MB now \((.+) %\); pixels differ from JAX by (.+) at most and (.+) on "
    before, after, percent, largest, mean = map(float, re.match(pattern, second).groups())
    assert after == round(out.stat().st_size / 1e6, 1)
    assert 25 <= percent <= 30
    assert abs(100 * after / before - percent) < 1
    assert 0 < mean < 0.01  # a hundredth of a pixel's range: what one sees in no digit
    assert mean < largest < 1


def test_examples_are_what_jax_computes(tmp_path, capsys, monkeypatch):
    out, beside = tmp_path / "g.onnx", tmp_path / "g.examples.npz"
    command_line = ("export", "mnist", "--format", "onnx", "--layout", "NCHW", "--with-examples", "--out", out)
    assert run_cli(*command_line) == 0
    assert f"noise and images of JAX to compare with, in {beside}" in capsys.readouterr().out
    examples = np.load(beside)
    assert {name: examples[name].shape for name in examples} == {"noise": (8, 100), "images": (8, 1, 28, 28)}
    np.testing.assert_allclose(run_file(out, {"noise": examples["noise"]}), examples["images"], rtol=0, atol=1e-5)
    out.unlink()
    assert run_cli(*command_line) == 2
    assert f"{beside} already exists" in one_error_line(capsys)
    assert not out.exists()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generator.examples.npz").touch()
    assert run_cli(*command_line[:-2]) == 0  # under another name by default
    assert sorted(all_files(tmp_path)) == [
        "g.examples.npz",
        "generator-2.examples.npz",
        "generator-2.onnx",
        "generator.examples.npz",
    ]


@pytest.mark.parametrize("network", NETWORKS)
@CONSTANTS
def test_float16_rounds_the_kernels_alone(network, state, tmp_path):
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    export_onnx(full, state, network)
    export_onnx(half, state, network, precision="float16")
    model = onnx.load(full)
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1:
            rounded = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    onnx.save(model, tmp_path / "rounded.onnx")
    inputs = network_inputs(state, network)
    found = run_file(half, inputs)
    np.testing.assert_allclose(found, run_file(tmp_path / "rounded.onnx", inputs), rtol=1e-6, atol=1e-6)
    assert np.abs(found - run_file(full, inputs)).max() > 0
    agreement = check_onnx(half, state, network, precision="float16")
    assert agreement.difference <= agreement.tolerance


def test_float16_is_half_the_size(tmp_path):
    state = init_state(jax.random.key(0))
    for precision in ("float32", "float16"):
        export_onnx(tmp_path / precision, state, precision=precision)
    assert (tmp_path / "float16").stat().st_size <= 0.51 * (tmp_path / "float32").stat().st_size


def test_float16_refuses_what_it_cannot_hold(narrow, tmp_path):
    params = narrow.generator.params
    huge = jax.tree.map(lambda x: x * 1e6, params["conv_4"])
    state = narrow.replace(generator=narrow.generator.replace(params={**params, "conv_4": huge}))
    with pytest.raises(WeightsError, match=r"conv_4.weight has weights beyond float16's 65,504"):
        export_onnx(tmp_path / "a.onnx", state, precision="float16")
    assert not (tmp_path / "a.onnx").exists()


def test_onnx_of_bfloat16_is_checked_in_float32(tmp_path):
    state = small_state(dtype="bfloat16")
    for network in NETWORKS:
        export_onnx(tmp_path / network, state, network)
        agreement = check_onnx(tmp_path / network, state, network)
        assert agreement.difference <= agreement.tolerance


def test_check_finds_another_network(narrow, tmp_path):
    export_onnx(tmp_path / "a.onnx", moved(narrow, 1))
    agreement = check_onnx(tmp_path / "a.onnx", narrow)
    assert agreement.difference > 100 * agreement.tolerance
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot run"):
        check_onnx(tmp_path / "text.onnx", narrow)


def test_check_of_another_layout_says_so(narrow, tmp_path):
    export_onnx(str(tmp_path / "a.onnx"), narrow)
    with pytest.raises(WeightsError, match=r"outputs \[8, 28, 28, 1\], expected \[8, 1, 28, 28\]: was it written in"):
        check_onnx(tmp_path / "a.onnx", narrow, layout="NCHW")


@pytest.mark.parametrize("opset", [12, 26, 18.0, "18", True])
def test_other_opsets_are_refused(opset, narrow, tmp_path):
    with pytest.raises(WeightsError, match=re.escape(f"`opset` must be an integer from 13 to 25, got {opset!r}")):
        export_onnx(tmp_path / "a.onnx", narrow, opset=opset)


@pytest.mark.filterwarnings("ignore")  # of the converter and of what it imports
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_recipes_in_other_forms(network, small_run, tmp_path):
    state = load_run(small_run, init=init).state
    for options in ({"layout": "NCHW"}, {"precision": "float16"}):
        out = tmp_path / f"{'-'.join(options.values())}.onnx"
        export_onnx(out, state, network, **options)
        agreement = check_onnx(out, state, network, **options)
        assert agreement.difference <= agreement.tolerance
        assert onnx.load(out).opset_import[0].version == 23


class OfConvolutions(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        x = nn.leaky_relu(nn.Conv(2, (3, 3), (4, 4))(images), negative_slope=0.2)
        return nn.Dense(1)(x.reshape(x.shape[0], -1))


@pytest.mark.filterwarnings("ignore")  # of the converter and of what it imports
def test_converter_prints_nothing(tmp_path, capsys, monkeypatch):
    """What it lacks is said in one line."""
    state = init_state(jax.random.key(0), discriminator=OfConvolutions())
    export_onnx(tmp_path / "a.onnx", state, "discriminator")
    assert capsys.readouterr() == ("", "")
    assert check_onnx(tmp_path / "a.onnx", state, "discriminator").difference < 1e-5

    def fail(*_, **__):
        print("DEBUG")
        raise ValueError("too many values to unpack (expected 1)")

    monkeypatch.setattr("jax2onnx.to_onnx", fail)
    with pytest.raises(WeightsError, match=r"unpack .*: arguments of activations are needed by keyword, as in leaky"):
        export_onnx(tmp_path / "b.onnx", state, "discriminator")
    assert capsys.readouterr().out == ""


def test_check_says_the_difference(tmp_path, capsys):
    out = tmp_path / "g.onnx"
    assert run_cli("export", "mnist", "--format", "onnx", "--check", "--opset", 17, "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"generator of the pretrained weights mnist, in {out}"
    assert lines[1].startswith(f"{out} is at most ")
    assert lines[1].endswith(f" from JAX in ONNX Runtime {onnxruntime.__version__}, tolerance 1.0e-05")
    assert onnx.load(out).opset_import[0].version == 17


def test_check_fails_above_the_tolerance(narrow, tmp_path, capsys, monkeypatch):
    wrong = Generator()  # of other weights, as if the file were not what was exported
    other = init_state(jax.random.key(1), generator=wrong)
    monkeypatch.setattr(command, "export_onnx", lambda out, *_, **__: export_onnx(out, other))
    assert run_cli("export", "mnist", "--format", "onnx", "--check", "--out", tmp_path / "g.onnx") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "do not use it" in error


def test_bad_flags_of_onnx_are_one_line(small_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags, message in [
        (["--format", "onnx", "--opset", 12], "--opset must be between 13 and 25, got 12"),
        (["--format", "onnx", "--opset", 26], "--opset must be between 13 and 25, got 26"),
        (["--format", "keras", "--opset", 18], "--opset is for --format onnx"),
        (["--format", "stablehlo", "--layout", "NCHW"], "--layout is for --format onnx"),
        (["--format", "stablehlo", "--precision", "float16"], "--precision is for --format onnx"),
        (["--format", "safetensors", "--check"], "--check is for --format onnx and tflite"),
        (["--format", "tflite", "--quantize"], "--quantize is for --format onnx"),
        (["--format", "safetensors", "--with-examples"], "--with-examples is of one network"),
        (["--format", "onnx", "--quantize", "--check"], "--quantize does not go with --check"),
        (["--format", "onnx", "--quantize", "--precision", "float16"], "does not go with --precision float16"),
    ]:
        assert run_cli("export", small_run, "--recipe", RECIPE, *flags) == 2
        assert message in one_error_line(capsys)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for flag in ("--check", "--quantize"):
        assert run_cli("export", small_run, "--recipe", RECIPE, "--format", "onnx", flag) == 2
        assert "needs the package onnxruntime: pip install 'dcgan-jax[onnxruntime]'" in one_error_line(capsys)
    assert not all_files(tmp_path)
