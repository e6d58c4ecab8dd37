"""Exported networks are loaded by the programs they are for, and generate the same images."""

import json
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from helpers import assert_same_bits, one_error_line, run_cli, run_program
from safetensors.numpy import load_file, save_file

from dcgan_jax import (
    Discriminator,
    Generator,
    discriminator_from_keras,
    discriminator_to_keras,
    generate,
    generator_from_keras,
    generator_to_keras,
    init_state,
    load_run,
)
from dcgan_jax.interop import (
    WeightsError,
    export_keras,
    export_onnx,
    export_safetensors,
    export_stablehlo,
    import_weights,
)
from dcgan_jax.training import run as runs
from dcgan_jax.training.checkpoint import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

TOLERANCE = 1e-5  # sums in another order


@pytest.fixture(scope="module")
def trained(finished):
    """The state of a run of eleven steps."""
    return load_run(finished[0]).state


@pytest.fixture
def z():
    return np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32)


def test_stablehlo_needs_jax_alone(finished, trained, z, tmp_path, capsys):
    """For any batch size and three platforms; it is loaded where neither this package nor Flax can be imported."""
    for network in ("generator", "discriminator"):
        out = tmp_path / f"{network}.stablehlo"
        assert run_cli("export", finished[0], "--format", "stablehlo", "--network", network, "--out", out) == 0
    assert f"generator of {finished[0]} at step 11, last weights, in" in capsys.readouterr().out
    np.save(tmp_path / "z.npy", z)
    run_program("load_stablehlo.py", tmp_path)
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["images"], generate(trained, z), atol=TOLERANCE)
    np.testing.assert_allclose(out["logits"], trained.discriminator.infer(out["images"]), atol=TOLERANCE)


def test_safetensors_round_trip_has_the_same_bits(finished, trained, tmp_path, capsys):
    out = tmp_path / "gan.safetensors"
    assert run_cli("export", finished[0], "--format", "safetensors", "--out", out, "--checkpoint", 8) == 0
    with safetensors.safe_open(out, "numpy") as file:
        about = json.loads(file.metadata()["dcgan-jax"])
    assert (about["step"], about["weights"], about["settings"]["batch_size"]) == (8, "last", 2)
    assert load_file(out)["generator/params/conv_1/kernel"].shape == (5, 5, 256, 128)

    assert run_cli("import", out, "--workdir", tmp_path / "run", "--batch-size", 2, "--steps", 3) == 0
    assert "train with --workdir" in capsys.readouterr().out
    ours, theirs = load_run(tmp_path / "run"), load_run(finished[0], 8)
    for half, other in (
        (ours.state.generator, theirs.state.generator),
        (ours.state.discriminator, theirs.state.discriminator),
    ):
        assert_same_bits(half.params, other.params)
        assert_same_bits(half.batch_stats, other.batch_stats)
    assert ours.state.step == 0
    assert run_cli("evaluate", tmp_path / "run", "--samples", 129, "--json") == 0


def test_keras_loads_exported_weights(trained, z, tmp_path):
    """Into models that the test builds itself from the tutorial's layers."""
    from test_keras import keras_discriminator, keras_generator

    export_keras(tmp_path / "g.weights.h5", trained, "generator")
    export_keras(tmp_path / "d.weights.h5", trained, "discriminator")
    generator, discriminator = keras_generator(), keras_discriminator()
    generator.load_weights(tmp_path / "g.weights.h5")
    discriminator.load_weights(tmp_path / "d.weights.h5")
    images = generate(trained, z)
    np.testing.assert_allclose(generator.predict(z, verbose=0), images, atol=TOLERANCE)
    probabilities = jax.nn.sigmoid(trained.discriminator.infer(images))
    np.testing.assert_allclose(discriminator.predict(images, verbose=0), probabilities, atol=TOLERANCE)


def test_keras_weights_start_a_run(z, tmp_path, capsys):
    from test_keras import keras_discriminator, keras_generator, randomised

    generator, discriminator = keras_generator(), keras_discriminator()
    for model, name in ((generator, "g"), (discriminator, "d")):
        randomised(model, 0)
        model.save_weights(tmp_path / f"{name}.weights.h5")
    files = [tmp_path / "g.weights.h5", tmp_path / "d.weights.h5"]
    assert run_cli("import", *files, "--workdir", tmp_path / "run", "--batch-size", 2) == 0
    state = load_run(tmp_path / "run").state
    np.testing.assert_allclose(generate(state, z), generator.predict(z, verbose=0), atol=TOLERANCE)
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    probabilities = jax.nn.sigmoid(state.discriminator.infer(images))
    np.testing.assert_allclose(probabilities, discriminator.predict(images, verbose=0), atol=TOLERANCE)


def test_to_keras_inverts_from_keras(key):
    for module, x, to_keras, from_keras in (
        (Generator(), np.zeros((1, 100)), generator_to_keras, generator_from_keras),
        (Discriminator(), np.zeros((1, 28, 28, 1)), discriminator_to_keras, discriminator_from_keras),
    ):
        variables = jax.jit(module.init)(key, x)
        assert_same_bits(from_keras(to_keras(variables)), variables)


@pytest.mark.filterwarnings("ignore")  # of the converter and of what it imports
def test_onnx_runs_in_onnxruntime(trained, z, tmp_path):
    import onnx
    import onnxruntime

    export_onnx(tmp_path / "g.onnx", trained, "generator")
    export_onnx(tmp_path / "d.onnx", trained, "discriminator")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.onnx", "g.onnx"]  # weights and all
    for name in "gd":
        onnx.checker.check_model(onnx.load(tmp_path / f"{name}.onnx"), full_check=True)
    generator, discriminator = (
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"]) for name in "gd"
    )
    (images,) = generator.run(None, {generator.get_inputs()[0].name: z})
    np.testing.assert_allclose(images, generate(trained, z), atol=TOLERANCE)
    (one,) = generator.run(None, {generator.get_inputs()[0].name: z[:1]})
    np.testing.assert_allclose(one, images[:1], atol=TOLERANCE)
    (logits,) = discriminator.run(None, {discriminator.get_inputs()[0].name: images})
    np.testing.assert_allclose(logits, trained.discriminator.infer(images), atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_onnx_of_bfloat16_is_float32(trained, z, tmp_path):
    import onnxruntime

    half = trained.generator.replace(module=Generator(dtype=jnp.bfloat16))
    export_onnx(tmp_path / "g.onnx", trained.replace(generator=half), "generator")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {session.get_inputs()[0].name: z})
    np.testing.assert_allclose(images, generate(trained, z), atol=TOLERANCE)


def test_onnx_command_prints_one_line(finished, tmp_path):
    flags = ["--format", "onnx", "--out", tmp_path / "g.onnx"]
    command = [sys.executable, "-m", "dcgan_jax", "export", finished[0], *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_plain_convolutions_give_the_same_images(trained, z):
    plain = trained.generator.replace(module=Generator(plain=True)).infer(z)
    np.testing.assert_allclose(plain, trained.generator.infer(z), atol=TOLERANCE)


def test_own_modules_export_but_not_to_keras(small_state, tmp_path):
    export_stablehlo(tmp_path / "small.stablehlo", small_state)
    program = jax.export.deserialize((tmp_path / "small.stablehlo").read_bytes())
    z = np.ones((2, 5), np.float32)
    np.testing.assert_allclose(program.call(z), generate(small_state, z), atol=TOLERANCE)
    with pytest.raises(WeightsError, match="only the tutorial's networks"):
        export_keras(tmp_path / "small.weights.h5", small_state)
    assert [p.name for p in tmp_path.iterdir()] == ["small.stablehlo"]


def test_import_restarts_the_average(trained, finished, tmp_path):
    out = tmp_path / "gan.safetensors"
    assert run_cli("export", finished[0], "--format", "safetensors", "--out", out) == 0
    state = import_weights(out, init_state(jax.random.key(5), ema=0.9))
    assert state.ema.count == 0
    assert_same_bits(state.ema.params, trained.generator.params)


def spoiled(array, value):
    """The array with another value at one place."""
    return np.where(np.arange(array.size) == 3, array.dtype.type(value), array)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("params/conv_2/bias", lambda x: spoiled(x, np.nan), "has numbers that are NaN or infinite"),
        ("params/conv_2/bias", lambda x: spoiled(x.astype(np.float64), 1e300), "has numbers that are NaN or infinite"),
        ("params/conv_2/bias", lambda x: x.astype(np.int32), "must be floating point, got int32"),
        ("batch_stats/norm_0/var", lambda x: spoiled(x, -1e-3), "has variances below 0"),
    ],
)
def test_invalid_weights_are_refused(name, spoil, message, finished, tmp_path, capsys):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    assert run_cli("export", finished[0], "--format", "safetensors", "--out", good) == 0
    tensors = load_file(good)
    tensors[f"generator/{name}"] = spoil(tensors[f"generator/{name}"])
    save_file(tensors, bad)
    capsys.readouterr()
    assert run_cli("import", bad, "--workdir", tmp_path / "run") == 2
    assert f"generator/{name} {message}" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_scalars_survive_safetensors(tmp_path):
    """Spectral norm keeps the largest singular value of each layer."""
    from test_examples import example

    own = example("own_modules")
    modules = {"generator": own.MyGenerator(), "discriminator": own.MyDiscriminator()}
    state, other = (init_state(jax.random.key(i), **modules) for i in range(2))
    export_safetensors(tmp_path / "own.safetensors", state, {})
    back = import_weights(tmp_path / "own.safetensors", other)
    assert_same_bits(back.discriminator.batch_stats, state.discriminator.batch_stats)


def test_failed_import_leaves_no_run(finished, tmp_path, capsys, monkeypatch):
    out = tmp_path / "gan.safetensors"
    assert run_cli("export", finished[0], "--format", "safetensors", "--out", out) == 0
    capsys.readouterr()

    def full(*_, **__):
        raise CheckpointError("no space left on the disk")

    monkeypatch.setattr(runs, "save_checkpoint", full)
    assert run_cli("import", out, "--workdir", tmp_path / "run", "--batch-size", 2) == 2
    assert "no space left" in one_error_line(capsys)
    monkeypatch.undo()
    assert run_cli("import", out, "--workdir", tmp_path / "run", "--batch-size", 2) == 0


def test_bad_export_or_import_is_one_line(finished, tmp_path, capsys):
    folder, _ = finished
    (tmp_path / "there.onnx").touch()
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "text.weights.h5").write_text("no tensors")
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    for argv, message in [
        (["export", folder, "--format", "onnx", "--out", tmp_path / "there.onnx"], "already exists"),
        (["export", folder, "--format", "onnx", "--out", tmp_path / "g.h5"], "--out must end in .onnx"),
        (["export", folder, "--format", "stablehlo", "--checkpoint", 7], "has no checkpoint 7"),
        (["export", tmp_path / "nowhere", "--format", "stablehlo"], "holds no readable config.json"),
        (["import", tmp_path / "w.bin"], "weights are read from .safetensors and .weights.h5"),
        (["import", tmp_path / "none.safetensors"], "cannot read"),
        (["import", tmp_path / "none.weights.h5"], "cannot read"),
        (["import", tmp_path / "text.safetensors"], "cannot read"),
        (["import", tmp_path / "text.weights.h5"], "does not hold the weights of the tutorial's generator"),
        (["import", tmp_path / "other.safetensors"], "holds other arrays than these networks"),
        (["import", tmp_path / "other.safetensors", tmp_path / "x.safetensors"], "one .safetensors or up to two"),
        (["import", tmp_path / "g.weights.h5", tmp_path / "x.safetensors"], "one .safetensors or up to two"),
        (["export", folder, "--format", "safetensors", "--out", tmp_path / "no" / "g.safetensors"], "No such file"),
        (["import", tmp_path / "other.safetensors", "--batch-size", 0], "--batch-size must be between"),
    ]:
        flags = ["--workdir", tmp_path / "run"] if argv[0] == "import" else []
        assert run_cli(*argv, *flags) == 2
        assert message in one_error_line(capsys)
        assert not (tmp_path / "run").exists()
