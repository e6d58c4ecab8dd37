"""Exported networks are loaded by the programs they are for, and generate the same images.

What Keras, StableHLO and ONNX are given are the tutorial's networks, of one run; what holds of any network is shown on
small ones.
"""

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter

import h5py
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from helpers import QUICK_COMPILATION, RECIPE, all_files, assert_same_bits, one_error_line, run_cli, run_program
from programs.small_recipe import init
from safetensors.numpy import load_file, save_file

from dcgan_jax import (
    Discriminator,
    Generator,
    TrainConfig,
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
    export_tflite,
    export_torch,
    import_weights,
    read_weights,
)
from dcgan_jax.pretrained.hub import export_hub
from dcgan_jax.training import run as runs
from dcgan_jax.training.checkpoint import CheckpointError
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.run import create_run

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

TOLERANCE = 1e-5  # sums in another order


def moved(state, seed):
    """The state with parameters and batch statistics as after training: none is 0 or 1 any more."""
    rng = np.random.default_rng(seed)

    def move(leaf):
        kernel = leaf.ndim > 1
        noise = rng.uniform(0.5, 1.5, leaf.shape) if kernel else rng.uniform(0, 0.3, leaf.shape)
        return (leaf * noise if kernel else leaf + noise).astype(leaf.dtype)

    networks = {name: getattr(state, name) for name in ("generator", "discriminator")}
    for name, network in networks.items():
        params, stats = jax.tree.map(move, (network.params, network.batch_stats))
        networks[name] = network.replace(params=params, batch_stats=stats)
    return state.replace(**networks)


@pytest.fixture(scope="module")
def tutorial_run(tmp_path_factory):
    """The directory of a run of the tutorial's size with checkpoints 8 and 11, whose weights are `moved`."""
    run_dir = tmp_path_factory.mktemp("tutorial") / "run"
    config = TrainConfig(batch_size=2, seed=3, workdir=str(run_dir))
    state, keys = create_state(config)
    first, last = (moved(state, step).replace(step=jnp.int32(step)) for step in (8, 11))
    create_run(config, first, keys)
    written = json.loads((run_dir / "config.json").read_text())
    runs.save_checkpoint(run_dir / "checkpoints", last, keys["run"], written["config"], record=written["record"])
    return run_dir


@pytest.fixture(scope="module")
def trained(tutorial_run):
    """The state of its last checkpoint."""
    return load_run(tutorial_run).state


@pytest.fixture(scope="module")
def exported(tutorial_run):
    """The safetensors of `trained`."""
    out = tutorial_run.parent / "gan.safetensors"
    assert run_cli("export", tutorial_run, "--format", "safetensors", "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def other():
    """Another state of the tutorial's networks, for weights to be read into."""
    return init_state(jax.random.key(5))


@pytest.fixture(scope="module")
def other_averaged():
    """The same with a moving average of the generator."""
    return init_state(jax.random.key(5), ema=0.9)


@pytest.fixture(scope="module")
def narrow():
    """A state of an eighth of the tutorial's widths, moved."""
    return moved(init_state(jax.random.key(3), generator=Generator(width=8), discriminator=Discriminator(width=8)), 0)


@pytest.fixture(scope="module")
def keras_models():
    """The tutorial's generator and discriminator, which the test builds of Keras's layers; each test sets weights."""
    from test_keras import keras_discriminator, keras_generator

    return keras_generator(), keras_discriminator()


@pytest.fixture(scope="module")
def keras_weights(trained):
    """What ``get_weights()`` returns of the trained networks' equals in Keras."""
    g, d = trained.generator, trained.discriminator
    return {
        "generator": generator_to_keras({"params": g.params, "batch_stats": g.batch_stats}),
        "discriminator": discriminator_to_keras({"params": d.params}),
    }


@pytest.fixture
def z():
    return np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32)


def test_stablehlo_needs_jax_alone(tutorial_run, trained, z, tmp_path, capsys):
    """For any batch size and three platforms; it is loaded where neither this package nor Flax can be imported."""
    for network in ("generator", "discriminator"):
        out = tmp_path / f"{network}.stablehlo"
        assert run_cli("export", tutorial_run, "--format", "stablehlo", "--network", network, "--out", out) == 0
    assert f"generator of {tutorial_run} at step 11, last weights, in" in capsys.readouterr().out
    np.save(tmp_path / "z.npy", z)
    run_program("load_stablehlo.py", tmp_path, XLA_FLAGS=QUICK_COMPILATION)
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["images"], generate(trained, z), atol=TOLERANCE)
    np.testing.assert_allclose(out["logits"], trained.discriminator.infer(out["images"]), atol=TOLERANCE)


def test_safetensors_round_trip_has_the_same_bits(tutorial_run, trained, tmp_path, capsys):
    out = tmp_path / "gan.safetensors"
    assert run_cli("export", tutorial_run, "--format", "safetensors", "--out", out, "--checkpoint", 8) == 0
    with safetensors.safe_open(out, "numpy") as file:
        about = json.loads(file.metadata()["dcgan-jax"])
    assert (about["step"], about["weights"], about["settings"]["batch_size"]) == (8, "last", 2)
    assert load_file(out)["generator/params/conv_1/kernel"].shape == (5, 5, 256, 128)

    assert run_cli("import", out, "--workdir", tmp_path / "run", "--batch-size", 2, "--steps", 3) == 0
    assert f"starts with the generator and the discriminator of {out}: train with" in capsys.readouterr().out
    ours, theirs = load_run(tmp_path / "run"), load_run(tutorial_run, 8)
    for half, other in (
        (ours.state.generator, theirs.state.generator),
        (ours.state.discriminator, theirs.state.discriminator),
    ):
        assert_same_bits(half.params, other.params)
        assert_same_bits(half.batch_stats, other.batch_stats)
    assert ours.state.step == 0


def test_keras_loads_exported_weights(trained, keras_models, z, tmp_path):
    """Into models that the test builds itself from the tutorial's layers."""
    export_keras(tmp_path / "g.weights.h5", trained, "generator")
    export_keras(tmp_path / "d.weights.h5", trained, "discriminator")
    generator, discriminator = keras_models
    generator.load_weights(tmp_path / "g.weights.h5")
    discriminator.load_weights(tmp_path / "d.weights.h5")
    images = generate(trained, z)
    np.testing.assert_allclose(generator.predict(z, verbose=0), images, atol=TOLERANCE)
    probabilities = jax.nn.sigmoid(trained.discriminator.infer(images))
    np.testing.assert_allclose(discriminator.predict(images, verbose=0), probabilities, atol=TOLERANCE)


def test_keras_weights_start_a_run(keras_models, z, tmp_path, capsys):
    from test_keras import randomised

    generator, discriminator = keras_models
    for model, name in ((generator, "g"), (discriminator, "d")):
        randomised(model, 0)
        model.save_weights(tmp_path / f"{name}.weights.h5")
    files = [tmp_path / "d.weights.h5", tmp_path / "g.weights.h5"]  # in any order
    assert run_cli("import", *files, "--workdir", tmp_path / "run", "--batch-size", 2) == 0
    assert f"the generator of {files[1]} and the discriminator of {files[0]}: train" in capsys.readouterr().out
    state = load_run(tmp_path / "run").state
    np.testing.assert_allclose(generate(state, z), generator.predict(z, verbose=0), atol=TOLERANCE)
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    probabilities = jax.nn.sigmoid(state.discriminator.infer(images))
    np.testing.assert_allclose(probabilities, discriminator.predict(images, verbose=0), atol=TOLERANCE)


NAMES = {2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
# Where Keras keeps an array: {model}, the {layer} in it, the {array}'s name and its number {i} among the layer's.
# The test's paths are those of files that Keras 2.0.4, 2.2.4, 2.12, 2.15, 3.0.5 and 3.15 have written; all of theirs,
# weights and whole models of the tutorial's four models, have been imported to the bits of get_weights().
LAYOUTS = {
    "keras 2": "{model}/{layer}/{array}:0",
    "whole model of keras 2": "model_weights/{model}/{layer}/{array}:0",
    "keras 2.12": "_layer_checkpoint_dependencies/{model}/_layer_checkpoint_dependencies/{layer}/vars/{i}",
    "keras 3": "layers/{model}/layers/{layer}/vars/{i}",
    "whole model of keras 3": "model_weights/{model}/{model}/{layer}/{array}",
}


def write_keras(path, layout, weights):
    """A file of Keras's with these models' ``get_weights()``, and with more that it keeps in whole models."""
    with h5py.File(path, "w") as file:
        for model, arrays in weights.items():
            arrays, count = list(arrays), Counter()
            while arrays:
                kernel = np.ndim(arrays[0]) > 1
                names = NAMES[2 if kernel else 4]
                count[kernel] += 1
                for i, array in enumerate(names):
                    layer = f"{'conv2d' if kernel else 'batch_normalization'}_{count[kernel]}"
                    file[LAYOUTS[layout].format(model=model, layer=layer, array=array, i=i)] = arrays.pop(0)
        file["optimizer_weights/dense_1/kernel:0"] = np.zeros((2, 2))
        file["optimizer/vars/1"] = np.zeros((100, 12544), np.float32)
        file["metrics/mean/vars/0"] = np.float32(0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adversarial_models_of_keras_are_read(other, layout, trained, keras_weights, tmp_path):
    """Both networks from one file, whatever their names in it are."""
    gan = {"sequential_7": keras_weights["discriminator"], "a": keras_weights["generator"]}
    write_keras(tmp_path / "gan.h5", layout, gan)
    state = import_weights(tmp_path / "gan.h5", other)
    for ours, theirs in ((state.generator, trained.generator), (state.discriminator, trained.discriminator)):
        assert_same_bits((ours.params, ours.batch_stats), (theirs.params, theirs.batch_stats))


def test_models_that_keras_3_saves_are_read(trained, other, keras_models, keras_weights, tmp_path):
    from test_keras import keras

    generator, discriminator = keras_models
    generator.set_weights(keras_weights["generator"])
    discriminator.set_weights(keras_weights["discriminator"])
    discriminator.trainable = False
    gan = keras.Sequential([keras.Input((100,)), generator, discriminator])
    gan.compile(keras.optimizers.RMSprop(), "binary_crossentropy")
    gan.optimizer.build(gan.trainable_variables)
    judge = keras.Sequential([keras.Input((28, 28, 1)), discriminator])
    for model, name, networks in (
        (gan, "gan.keras", ["discriminator", "generator"]),
        (gan, "gan.h5", ["discriminator", "generator"]),
        (judge, "judge.weights.h5", ["discriminator"]),
        (generator, "generator.keras", ["generator"]),
    ):
        model.save_weights(tmp_path / name) if name.endswith(".weights.h5") else model.save(tmp_path / name)
        assert sorted(read_weights(tmp_path / name, other)) == networks
        state = import_weights(tmp_path / name, other)
        for network in networks:
            ours, theirs = getattr(state, network), getattr(trained, network)
            assert_same_bits((ours.params, ours.batch_stats), (theirs.params, theirs.batch_stats))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", ">f4"])
def test_weights_of_other_types_become_float32(other, dtype, keras_weights, tmp_path):
    weights = [array.astype(jnp.bfloat16 if dtype == "bfloat16" else dtype) for array in keras_weights["discriminator"]]
    write_keras(tmp_path / "d.h5", "keras 3", {"d": weights})
    state = import_weights(tmp_path / "d.h5", other)
    expected = discriminator_from_keras([array.astype(np.float32) for array in weights])
    assert_same_bits(state.discriminator.params, expected["params"])


def test_discriminators_have_no_average(tutorial_run, tmp_path, capsys):
    """``--ema`` averages the generator: what is said of an exported discriminator is true of it."""
    flags = ["--format", "keras", "--network", "discriminator", "--out", tmp_path / "d.weights.h5"]
    assert run_cli("export", tutorial_run, *flags, "--weights", "average") == 2
    assert "the discriminator has no moving average" in one_error_line(capsys)
    config = dataclasses.replace(load_run(tutorial_run).config, ema=0.9, width=8, workdir=str(tmp_path / "run"))
    create_run(config, *create_state(config))
    assert run_cli("export", tmp_path / "run", *flags) == 0
    assert "at step 0, last weights" in capsys.readouterr().out


def test_discriminator_alone_starts_a_run(trained, keras_weights, tmp_path, capsys):
    write_keras(tmp_path / "d.h5", "keras 2", {"model": keras_weights["discriminator"]})
    assert run_cli("import", tmp_path / "d.h5", "--workdir", tmp_path / "run", "--batch-size", 2, "--seed", 9) == 0
    line = f"starts with an untrained generator and the discriminator of {tmp_path / 'd.h5'}: train"
    assert line in capsys.readouterr().out
    state = load_run(tmp_path / "run").state
    assert_same_bits(state.discriminator.params, trained.discriminator.params)
    fresh = create_state(TrainConfig(seed=9))[0]
    assert_same_bits(state.generator.params, fresh.generator.params)


def test_settings_of_keras_decide_nothing(other, trained, keras_weights, tmp_path):
    """What ``keras.json`` can say: the same bytes are written, the same bits are read, and the settings stay."""
    from test_keras import keras

    config = keras.config
    export_keras(tmp_path / "before.weights.h5", trained)
    before = config.floatx(), config.image_data_format(), config.epsilon(), config.dtype_policy()
    try:
        config.set_floatx("float16")
        config.set_image_data_format("channels_first")
        config.set_epsilon(1e-2)
        config.set_dtype_policy("mixed_float16")
        export_keras(tmp_path / "after.weights.h5", trained)
        state = import_weights(tmp_path / "after.weights.h5", other)
        assert (config.floatx(), config.image_data_format(), config.epsilon()) == ("float16", "channels_first", 1e-2)
        assert config.dtype_policy().name == "mixed_float16"
    finally:
        for restore, value in zip(
            (config.set_floatx, config.set_image_data_format, config.set_epsilon, config.set_dtype_policy),
            before,
            strict=True,
        ):
            restore(value)
    assert (tmp_path / "after.weights.h5").read_bytes() == (tmp_path / "before.weights.h5").read_bytes()
    assert_same_bits(state.generator.params, trained.generator.params)


def test_settings_of_jax_decide_no_export(trained, tmp_path):
    """Under 64-bit types and another precision of products the same bytes are written."""
    settings = {"jax_enable_x64": True, "jax_default_matmul_precision": "bfloat16"}
    before = {name: getattr(jax.config, name) for name in settings}
    for folder, values in ((tmp_path / "a", before), (tmp_path / "b", settings)):
        folder.mkdir()
        try:
            for name, value in values.items():
                jax.config.update(name, value)
            export_stablehlo(folder / "g.stablehlo", trained)
            export_keras(folder / "g.weights.h5", trained)
            export_safetensors(folder / "gan.safetensors", trained, {})
            state = import_weights(folder / "g.weights.h5", import_weights(folder / "gan.safetensors", trained))
            variables = generator_from_keras(generator_to_keras(vars_of(trained.generator)))
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
        assert_same_bits(vars_of(state.generator), vars_of(trained.generator))
        assert_same_bits(variables, vars_of(trained.generator))
    assert all_files(tmp_path / "a") == all_files(tmp_path / "b")


def vars_of(network):
    """A network's variables, as its module takes them."""
    return {"params": network.params, "batch_stats": network.batch_stats}


def test_weights_are_moved_explicitly(trained, other_averaged, keras_weights, tmp_path):
    """Between host and device, as ``jax.transfer_guard`` demands it."""
    write_keras(tmp_path / "g.h5", "keras 2", {"g": keras_weights["generator"]})
    with jax.transfer_guard("disallow"):
        state = import_weights(tmp_path / "g.h5", other_averaged)
        export_keras(tmp_path / "g.weights.h5", state)
        export_safetensors(tmp_path / "g.safetensors", state, {})
    assert_same_bits(state.ema.params, trained.generator.params)


def test_one_network_of_a_file_can_be_chosen(trained, other_averaged, keras_weights, tmp_path):
    write_keras(tmp_path / "gan.h5", "keras 2", {"g": keras_weights["generator"], "d": keras_weights["discriminator"]})
    write_keras(tmp_path / "d.h5", "keras 2", {"d": keras_weights["discriminator"]})
    other = other_averaged.replace(step=jnp.int32(7))
    state = import_weights(tmp_path / "gan.h5", other, "discriminator")
    assert_same_bits(state.discriminator.params, trained.discriminator.params)
    assert_same_bits(state.replace(discriminator=other.discriminator), other)  # the average too
    with pytest.raises(WeightsError, match="holds the weights of the discriminator, not of the generator"):
        import_weights(tmp_path / "d.h5", other, "generator")


def other_weights(keras_weights, change):
    """The tutorial's weights with one array put in another's place, or taken away."""
    weights = list(keras_weights["generator"])
    change(weights)
    return {"g": weights}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.__setitem__(0, w[0][:, :6272]),
            "its layer g/conv2d_1 has kernel [100, 6272] and bias [12544], expected kernel [100, 12544]",
        ),
        (
            lambda w: w.__setitem__(0, w[0][:64]),
            "holds a generator of other sizes: its layer g/conv2d_1 has kernel [64, 12544] and bias [12544], expected "
            "kernel [100, 12544] and bias [12544]: choose `latent_size` as in the file",
        ),
        (
            lambda w: w.__delitem__(slice(-2, None)),
            "lacks the layer of kernel [5, 5, 1, 32] and bias [1] of the tutorial",
        ),
        (lambda w: w.extend(w[-2:]), "holds the generator's layer of kernel [5, 5, 1, 32] and bias [1] twice"),
        (
            lambda w: w.extend([np.zeros((9, 9)), np.zeros(9)]),
            "more than the tutorial's generator: its 10 layers include",
        ),
        (
            lambda w: w.__setitem__(slice(0, None), [np.zeros((9, 9)), np.zeros(9)]),
            "holds other networks: its 1 layers",
        ),
        (lambda w: w.__setitem__(3, w[3].astype(np.int32)), "must be floating point, got int32"),
        (lambda w: w.__setitem__(3, np.full_like(w[3], np.inf)), "bias has numbers that are NaN or infinite"),
        (lambda w: w.__setitem__(5, -w[5]), "generator/batch_stats/norm_0/var has variances below 0"),
        (lambda w: w.clear(), "holds no layer's weights"),
    ],
)
def test_other_weights_of_keras_are_refused(change, message, keras_weights, trained, tmp_path):
    write_keras(tmp_path / "g.h5", "keras 2", other_weights(keras_weights, change))
    with pytest.raises(WeightsError) as error:
        read_weights(tmp_path / "g.h5", trained)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("network", "options", "layer", "fields"),
    [
        ("generator", {"width": 4}, "layers/dense has kernel [100, 784]", "`width`"),
        ("generator", {"latent_size": 64}, "layers/dense has kernel [64, 12544]", "`latent_size`"),
        ("generator", {"width": 4, "latent_size": 64}, "layers/dense has kernel", "`latent_size` and `width`"),
        ("generator", {"shape": (12, 12, 1)}, "layers/dense has kernel [100, 2304]", "the size and channels of"),
        ("generator", {"shape": (28, 28, 3)}, "layers/conv2d_transpose_3 has kernel [5, 5, 3, 32]", "the size and"),
        ("discriminator", {"width": 4}, "layers/conv2d has kernel [5, 5, 1, 4]", "`width`"),
        ("discriminator", {"shape": (12, 12, 1)}, "layers/dense has kernel", "the size and channels of"),
    ],
)
def test_other_sizes_of_keras_name_what_decides_them(network, options, layer, fields, trained, tmp_path):
    """Layers are compared with those of their kind, where some arrays fit elsewhere too."""
    width, latent_size, shape = (options.get(name) for name in ("width", "latent_size", "shape"))
    sizes = {"generator": Generator(shape or (28, 28, 1), width=width or 64), "latent_size": latent_size or 100}
    state = init_state(jax.random.key(0), discriminator=Discriminator(width=width or 64), **sizes)
    export_keras(tmp_path / "a.weights.h5", state, network)
    with pytest.raises(WeightsError) as error:
        read_weights(tmp_path / "a.weights.h5", trained)
    assert f"holds a {network} of other sizes: its layer {layer}" in str(error.value)
    assert f": choose {fields}" in str(error.value)


def hostile_files(folder):
    """Files that would take all memory, read other files, or never end; with what is said of them."""

    def hdf5(name):
        return h5py.File(folder / name, "w")

    with hdf5("huge.h5") as file:
        for name, shape in (("kernel:0", (2**40, 2**20)), ("bias:0", (2**20,))):
            file.create_dataset(f"dense/{name}", shape, "f4", chunks=True)
    with hdf5("soft.h5") as file:
        file["a"] = h5py.SoftLink("/a")
    with hdf5("external.h5") as file:
        file["a"] = h5py.ExternalLink(str(folder / "huge.h5"), "/dense")
    with hdf5("cycle.h5") as file:
        file["a"] = file
    with hdf5("outside.h5") as file:
        for i, shape in enumerate(((5, 5, 1, 64), (64,))):
            file.create_dataset(f"conv/vars/{i}", shape, "f4", external=[("huge.h5", 0, 6400)])
    with hdf5("theano.h5") as file:
        file.attrs["backend"] = b"theano"
    with zipfile.ZipFile(folder / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**20))
    bomb = (folder / "bomb.keras").read_bytes()
    (folder / "bomb.keras").write_bytes(bomb.replace((2**20).to_bytes(4, "little"), (2**31).to_bytes(4, "little")))
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (folder / "saved_model").mkdir()
    (folder / "checkpoint").write_text('model_checkpoint_path: "checkpoint"')
    return {
        "huge.h5": "its 1 layers include dense of kernel [1099511627776, 1048576]",
        "soft.h5": "a is a link",
        "external.h5": "a is a link",
        "cycle.h5": "more than 5,000 groups and arrays",
        "outside.h5": "lacks the layer of kernel [5, 5, 64, 128]",
        "theano.h5": "was written on Theano",
        "bomb.keras": "would unpack to 2,048 MiB",
        "other.keras": "without the model.weights.h5",
        "saved_model": "TensorFlow's checkpoints and SavedModels are not read",
        "checkpoint": "TensorFlow's checkpoints and SavedModels are not read",
    }


def test_hostile_files_are_refused(trained, tmp_path):
    for name, message in hostile_files(tmp_path).items():
        with pytest.raises(WeightsError) as error:
            read_weights(tmp_path / name, trained)
        assert message in str(error.value)


def test_data_of_other_files_is_not_read(trained, keras_weights, tmp_path):
    write_keras(tmp_path / "d.h5", "keras 2", {"d": keras_weights["discriminator"]})
    with h5py.File(tmp_path / "d.h5", "a") as file:
        del file["d/conv2d_1/bias:0"]
        (tmp_path / "secret").write_bytes(bytes(256))
        file.create_dataset("d/conv2d_1/bias:0", (64,), "f4", external=[(str(tmp_path / "secret"), 0, 256)])
    with pytest.raises(WeightsError, match="is stored in another file"):
        read_weights(tmp_path / "d.h5", trained)


@pytest.mark.slow
def test_damaged_keras_files_are_one_line(trained, keras_weights, tmp_path, capsys):
    """Two thousand with damaged bytes outside of the arrays, or an end that is missing."""
    write_keras(tmp_path / "g.h5", "whole model of keras 2", {"g": keras_weights["generator"]})
    good = (tmp_path / "g.h5").read_bytes()
    structure = np.ones(len(good), bool)
    with h5py.File(tmp_path / "g.h5") as file:
        arrays = []
        file.visititems(lambda _, item: arrays.append(item.id) if isinstance(item, h5py.Dataset) else None)
        for array in arrays:
            structure[array.get_offset() : array.get_offset() + array.get_storage_size()] = False
    places, draw, refused = np.flatnonzero(structure).tolist(), random.Random(0), 0
    for _ in range(2000):
        bad = bytearray(good[: draw.randrange(len(good))] if draw.random() < 0.1 else good)
        for _ in range(draw.choice([1, 1, 2, 4, 16])):
            place = draw.choice(places)
            if place < len(bad):
                bad[place] ^= draw.randrange(1, 256)
        (tmp_path / "bad.h5").write_bytes(bad)
        try:
            read_weights(tmp_path / "bad.h5", trained)
        except WeightsError as error:
            assert "\n" not in str(error).replace(str(tmp_path), "")
            refused += 1
    assert refused > 500
    with capsys.disabled():
        print(f"\n2,000 damaged files of Keras, {refused:,} refused")


OPTIONAL = ("flatbuffers", "h5py", "jax2onnx", "keras", "onnx")


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["export", "--format", "stablehlo"], "flatbuffers"),
        (["export", "--format", "onnx"], "jax2onnx"),
        (["export", "--format", "keras"], "h5py"),
        (["import", "in.h5"], "h5py"),
        (["import", "in.keras"], "h5py"),
    ],
)
def test_missing_packages_are_named(command, missing, small_run, small_flags, tmp_path, capsys, monkeypatch):
    """Where nothing but what the package itself needs is installed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "in.keras").write_bytes(b"PK\x03\x04")
    for name in OPTIONAL:
        monkeypatch.setitem(sys.modules, name, None)
    run = [small_run, "--recipe", RECIPE] if command[0] == "export" else [*small_flags, "--workdir", "run"]
    before = all_files(tmp_path)
    assert run_cli(*command, *run) == 2
    assert one_error_line(capsys) == f"error: this needs the package {missing}: pip install 'dcgan-jax[export]'\n"
    assert all_files(tmp_path) == before


def test_keras_itself_is_not_needed(other, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    for network in ("generator", "discriminator"):
        export_keras(tmp_path / f"{network}.weights.h5", trained, network)
        state = import_weights(tmp_path / f"{network}.weights.h5", other)
        assert_same_bits(vars_of(getattr(state, network)), vars_of(getattr(trained, network)))


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
    ports = [(p.name, p.shape, p.type) for p in (*generator.get_inputs(), *generator.get_outputs())]
    shape = ["batch", 28, 28, 1]
    assert ports == [("noise", ["batch", 100], "tensor(float)"), ("images", shape, "tensor(float)")]
    ports = [(p.name, p.shape, p.type) for p in (*discriminator.get_inputs(), *discriminator.get_outputs())]
    assert ports == [("images", shape, "tensor(float)"), ("logits", ["batch", 1], "tensor(float)")]
    (images,) = generator.run(None, {"noise": z})
    np.testing.assert_allclose(images, generate(trained, z), atol=TOLERANCE)
    (one,) = generator.run(None, {"noise": z[:1]})
    np.testing.assert_allclose(one, images[:1], atol=TOLERANCE)
    (logits,) = discriminator.run(None, {"images": images})
    np.testing.assert_allclose(logits, trained.discriminator.infer(images), atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_onnx_says_where_it_is_from(tutorial_run, tmp_path):
    import onnx

    assert run_cli("export", tutorial_run, "--format", "onnx", "--out", tmp_path / "g.onnx", "--checkpoint", 8) == 0
    model = onnx.load(tmp_path / "g.onnx")
    about = {prop.key: prop.value for prop in model.metadata_props}
    assert (about["run"], about["step"], about["weights"]) == (str(tutorial_run), "8", "last")
    assert json.loads(about["settings"])["seed"] == 3
    assert (model.producer_name, model.graph.name) == ("dcgan-jax", "generator")
    assert model.producer_version[:1].isdigit()
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)


@pytest.mark.filterwarnings("ignore")
def test_onnx_of_bfloat16_is_float32(narrow, z, tmp_path):
    import onnxruntime

    half = narrow.generator.replace(module=Generator(width=8, dtype=jnp.bfloat16))
    export_onnx(tmp_path / "g.onnx", narrow.replace(generator=half), "generator")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {"noise": z})
    np.testing.assert_allclose(images, generate(narrow, z), atol=TOLERANCE)


@pytest.mark.slow
def test_bfloat16_logits_are_exported_as_float32(trained, digits, tmp_path):
    half = trained.discriminator.replace(module=Discriminator(dtype=jnp.bfloat16))
    export_stablehlo(tmp_path / "d.stablehlo", trained.replace(discriminator=half), "discriminator")
    program = jax.export.deserialize((tmp_path / "d.stablehlo").read_bytes())
    logits, images = half.infer(digits / 255), np.asarray(digits / 255, np.float32)
    assert (logits.dtype, program.out_avals[0].dtype) == (jnp.bfloat16, np.float32)
    np.testing.assert_allclose(program.call(images), logits.astype(np.float32), rtol=2**-7)  # two roundings


@pytest.mark.parametrize(("format", "suffix"), [("onnx", "onnx"), ("keras", "weights.h5"), ("safetensors",) * 2])
def test_dtype_is_of_what_jax_computes(format, suffix, small_run, tmp_path, capsys):
    out = tmp_path / f"a.{suffix}"
    flags = ["--recipe", RECIPE, "--format", format, "--dtype", "bfloat16", "--out", out]
    assert run_cli("export", small_run, *flags) == 2
    assert "--dtype is for --format stablehlo" in one_error_line(capsys)
    assert not out.exists()


def test_onnx_command_prints_one_line(small_run, tmp_path):
    flags = ["--recipe", RECIPE, "--format", "onnx", "--out", tmp_path / "g.onnx"]
    command = [sys.executable, "-m", "dcgan_jax", "export", small_run, *flags]
    environment = {**os.environ, "XLA_FLAGS": QUICK_COMPILATION}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_plain_convolutions_give_the_same_images(narrow, z):
    plain = narrow.generator.replace(module=Generator(width=8, plain=True)).infer(z)
    np.testing.assert_allclose(plain, narrow.generator.infer(z), atol=TOLERANCE)


@pytest.fixture(scope="module")
def by_class():
    """Networks of three classes, whose discriminator tells them apart."""
    modules = {"generator": Generator(width=8, classes=3), "discriminator": Discriminator(width=8, classes=3)}
    state = init_state(jax.random.key(3), classes=3, **modules)
    params = state.discriminator.params
    vectors = jax.tree.map(lambda x: jax.random.normal(jax.random.key(4), x.shape) / 20, params["class_vectors"])
    return state.replace(discriminator=state.discriminator.replace(params={**params, "class_vectors": vectors}))


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_programs_with_classes_take_labels(network, by_class, tmp_path):
    """As a second input, of any batch size; in float32 the order of sums alone differs."""
    import onnxruntime

    labels = np.array([2, 0, 1], np.int32)
    x = np.random.default_rng(0).random((3, *((100,) if network == "generator" else (28, 28, 1))), np.float32)
    expected = getattr(by_class, network).infer(x, labels)
    assert np.abs(expected - getattr(by_class, network).infer(x, labels[::-1])).max() > 100 * TOLERANCE
    export_stablehlo(tmp_path / "a.stablehlo", by_class, network)
    program = jax.export.deserialize((tmp_path / "a.stablehlo").read_bytes())
    np.testing.assert_allclose(program.call(x, labels), expected, atol=TOLERANCE)
    export_onnx(tmp_path / "a.onnx", by_class, network)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    name, _ = (each.name for each in session.get_inputs())
    np.testing.assert_allclose(session.run(None, {name: x, "labels": labels})[0], expected, atol=TOLERANCE)


def test_keras_has_only_the_tutorials_layers(by_class, tmp_path):
    """Neither an embedding of classes nor the layers of larger images are left out in silence."""
    large = jax.eval_shape(lambda: init_state(jax.random.key(0), generator=Generator((64, 64, 3))))
    for state in (by_class, large):
        for network, convert in (("generator", generator_to_keras), ("discriminator", discriminator_to_keras)):
            with pytest.raises(WeightsError, match="for classes or for images above 32 pixels"):
                export_keras(tmp_path / "a.weights.h5", state, network)
            with pytest.raises(ValueError, match="has other layers"):
                convert({"params": getattr(state, network).params, "batch_stats": {}})


def test_own_modules_export_but_not_to_keras(small_state, tmp_path):
    export_stablehlo(tmp_path / "small.stablehlo", small_state)
    program = jax.export.deserialize((tmp_path / "small.stablehlo").read_bytes())
    z = np.ones((2, 5), np.float32)
    np.testing.assert_allclose(program.call(z), generate(small_state, z), atol=TOLERANCE)
    with pytest.raises(WeightsError, match="only the tutorial's networks"):
        export_keras(tmp_path / "small.weights.h5", small_state)
    assert [p.name for p in tmp_path.iterdir()] == ["small.stablehlo"]


@pytest.mark.parametrize("network", ["both", "Generator", None])
def test_other_names_are_no_networks(network, narrow, tmp_path):
    """They were taken for the discriminator."""
    message = re.escape(f"network must be generator or discriminator, got {network!r}")
    for export in (export_stablehlo, export_onnx, export_tflite, export_keras):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "a", narrow, network)
    for export in (export_safetensors, export_torch):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "a.safetensors", narrow, {}, [network])
    assert not any(tmp_path.iterdir())


def test_paths_may_be_texts(narrow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_safetensors("a.safetensors", narrow, {})
    export_torch("b.safetensors", narrow)
    export_hub("hub", narrow)
    assert_same_bits(*(read_weights(name, narrow) for name in ("a.safetensors", "b.safetensors")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.py", "b.safetensors", "hub"]


@pytest.mark.parametrize("export", [export_safetensors, export_torch])
def test_weights_of_other_sizes_name_the_flags(export, narrow, tmp_path):
    """Whether arrays are missing, as those of classes are, or have another shape."""
    export(tmp_path / "a.safetensors", narrow, {})
    for options in ({"width": 4}, {"width": 8, "classes": 2}):
        state = init_state(jax.random.key(0), generator=Generator(**options), classes=options.get("classes"))
        with pytest.raises(WeightsError, match=r"follow from the images, `conditional`, `width` and `latent_size`$"):
            read_weights(tmp_path / "a.safetensors", state)


def test_import_restarts_the_average(trained, exported, other_averaged):
    state = import_weights(exported, other_averaged)
    assert state.ema.count == 0
    assert_same_bits(state.ema.params, trained.generator.params)


def test_import_of_one_file_is_init_from(small_exported, small_flags, tmp_path):
    """The same bits, and recorded, so that the run can be repeated."""
    out = small_exported
    assert run_cli("import", out, "--workdir", tmp_path / "imported", *small_flags, "--steps", 2) == 0
    assert run_cli("train", "--resume", "--workdir", tmp_path / "imported", "--recipe", RECIPE) == 0
    assert run_cli("train", "--init-from", out, "--workdir", tmp_path / "trained", *small_flags, "--steps", 2) == 0
    imported, trained = (load_run(tmp_path / name, init=init) for name in ("imported", "trained"))
    assert_same_bits(imported.state, trained.state)
    assert imported.config.init_from == trained.config.init_from == str(out)


def test_weights_by_class_are_imported(small_run, tmp_path, capsys):
    """Into a run by class, whose classes are those of its images; other weights are refused before it is there."""
    random, recipe = np.random.default_rng(0), ["--recipe", RECIPE]
    np.savez(tmp_path / "a.npz", images=random.integers(0, 256, (32, 8, 8, 1), np.uint8), labels=np.arange(32) % 3)
    flags = [*recipe, "--dataset", tmp_path / "a.npz", "--conditional", "--batch-size", 2, "--steps", 1]
    files = {name: tmp_path / f"{name}.safetensors" for name in ("by class", "without")}
    assert run_cli("train", *flags, "--workdir", tmp_path / "trained") == 0
    for name, run in (("by class", tmp_path / "trained"), ("without", small_run)):
        assert run_cli("export", run, *recipe, "--format", "safetensors", "--out", files[name]) == 0
    assert run_cli("import", files["by class"], *flags, "--workdir", tmp_path / "imported") == 0
    imported, trained = (load_run(tmp_path / name, init=init) for name in ("imported", "trained"))
    assert imported.record.classes == ("0", "1", "2")
    assert_same_bits(imported.state.generator.params, trained.state.generator.params)
    capsys.readouterr()
    assert run_cli("import", files["without"], *flags, "--workdir", tmp_path / "refused") == 2
    assert "holds other arrays" in one_error_line(capsys)
    assert not (tmp_path / "refused").exists()


def test_state_of_other_classes_is_no_run(tmp_path):
    config = TrainConfig(workdir=str(tmp_path / "run"))
    state = jax.eval_shape(lambda: init_state(jax.random.key(0), classes=10))
    with pytest.raises(ConfigError, match="the state draws 10 classes, and the run none"):
        create_run(config, state, {})
    assert not (tmp_path / "run").exists()


def spoiled(array, value):
    """The array with another value at one place."""
    return np.where(np.arange(array.size) == 3, array.dtype.type(value), array)


@pytest.fixture(scope="module")
def small_exported(small_run, tmp_path_factory):
    """The safetensors of `small_run`."""
    out = tmp_path_factory.mktemp("small") / "small.safetensors"
    assert run_cli("export", small_run, "--recipe", RECIPE, "--format", "safetensors", "--out", out) == 0
    return out


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("params/Dense_1/bias", lambda x: spoiled(x, np.nan), "has numbers that are NaN or infinite"),
        ("params/Dense_1/bias", lambda x: spoiled(x.astype(np.float64), 1e300), "has numbers that are NaN or infinite"),
        ("params/Dense_1/bias", lambda x: x.astype(np.int32), "must be floating point, got int32"),
        ("batch_stats/BatchNorm_0/var", lambda x: spoiled(x, -1e-3), "has variances below 0"),
    ],
)
def test_invalid_weights_are_refused(name, spoil, message, small_exported, small_flags, tmp_path, capsys):
    bad, tensors = tmp_path / "bad.safetensors", load_file(small_exported)
    tensors[f"generator/{name}"] = spoil(tensors[f"generator/{name}"])
    save_file(tensors, bad)
    capsys.readouterr()
    assert run_cli("import", bad, *small_flags, "--workdir", tmp_path / "run") == 2
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


def test_failed_import_leaves_no_run(small_exported, small_flags, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise CheckpointError("no space left on the disk")

    monkeypatch.setattr(runs, "save_checkpoint", full)
    assert run_cli("import", small_exported, *small_flags, "--workdir", tmp_path / "run") == 2
    assert "no space left" in one_error_line(capsys)
    monkeypatch.undo()
    assert run_cli("import", small_exported, *small_flags, "--workdir", tmp_path / "run") == 0


def test_bad_export_or_import_is_one_line(tutorial_run, small_flags, keras_weights, tmp_path, capsys):
    folder = tutorial_run
    (tmp_path / "there.onnx").touch()
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "text.weights.h5").write_text("no tensors")
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    gan = tmp_path / "gan.h5"
    write_keras(gan, "keras 2", {"a": keras_weights["generator"], "b": keras_weights["discriminator"]})
    write_keras(tmp_path / "g.weights.h5", "keras 2", {"a": keras_weights["generator"]})
    for argv, message in [
        (["export", folder, "--format", "onnx", "--out", tmp_path / "there.onnx"], "already exists"),
        (["export", folder, "--format", "onnx", "--out", tmp_path / "g.h5"], "--out must end in .onnx"),
        (["export", folder, "--format", "stablehlo", "--checkpoint", 7], "has no checkpoint 7"),
        (["export", tmp_path / "nowhere", "--format", "stablehlo"], "nowhere: it does not exist"),
        (["import", tmp_path / "none.safetensors", *small_flags], "cannot read"),
        (["import", tmp_path / "none.weights.h5", *small_flags], "cannot read"),
        (["import", tmp_path / "text.safetensors", *small_flags], "cannot read"),
        (["import", tmp_path / "text.weights.h5", *small_flags], "is neither safetensors nor an HDF5 or .keras file"),
        (["import", tmp_path / "other.safetensors", *small_flags], "holds other arrays than these networks"),
        (
            ["import", folder, *small_flags],
            "give files of weights here, or start a run from",
        ),
        (["import", gan, gan], f"both {gan} and {gan} hold the weights of the generator: give one"),
        (["import", tmp_path / "g.weights.h5", gan], "hold the weights of the generator: give one"),
        (["export", folder, "--format", "safetensors", "--out", tmp_path / "no" / "g.safetensors"], "does not exist"),
        (["import", tmp_path / "other.safetensors", "--batch-size", 0], "--batch-size must be between"),
    ]:
        flags = ["--workdir", tmp_path / "run"] if argv[0] == "import" else []
        assert run_cli(*argv, *flags) == 2
        assert message in one_error_line(capsys)
        assert not (tmp_path / "run").exists()
