"""Process-wide settings of JAX and Flax change no bit of a run; those of the compiler are named on resume."""

import contextlib
import os
import shutil

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    FLAGS,
    all_files,
    assert_same_bits,
    assert_same_checkpoints,
    finish,
    metric_rows,
    quick_jit,
    small_gan,
)
from programs.small_recipe import init

from dcgan_jax import TrainConfig, evaluate_images, init_state, preset, sample, train_step
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.classifier import classify
from dcgan_jax.interop import export_keras, export_onnx, export_safetensors
from dcgan_jax.layers import dropout
from dcgan_jax.models import Conv
from dcgan_jax.optimizers import rmsprop
from dcgan_jax.prng import pin_key, seed_key, split_key
from dcgan_jax.sampling import sample_in_batches
from dcgan_jax.training.array_store import load_tree, save_tree
from dcgan_jax.training.batch_source import DeviceImages
from dcgan_jax.training.device_loop import run_steps
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.environment import differences, environment_info
from dcgan_jax.training.first_state import initializer
from dcgan_jax.training.run import load_run, resume_run


@contextlib.contextmanager
def option(name, value):
    """A setting of JAX that has no context manager of its own."""
    before = jax.config.values[name]
    jax.config.update(name, value)
    yield
    jax.config.update(name, before)


SETTINGS = {
    "x64": lambda: jax.enable_x64(True),
    "threefry_partitionable": lambda: jax.threefry_partitionable(False),
    "rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "dtype_promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "prng_impl": lambda: jax.default_prng_impl("rbg"),
    "seed_offset": lambda: option("jax_random_seed_offset", 7),
    "transfer_guard": lambda: jax.transfer_guard("disallow"),
    "key_reuse": lambda: jax.debug_key_reuse(True),
    "legacy_keys": lambda: option("jax_legacy_prng_key", "error"),
    "flax_fix_rng": lambda: flax.config.temp_flip_flag("fix_rng_separator", True),
    "flax_frozendict": lambda: flax.config.temp_flip_flag("return_frozendict", True),
}
IMAGES = (4, 4, 1)


def host(tree):
    return jax.device_get(tree)


class NarrowGenerator(nn.Module):
    """The package's layers with few channels: [B, latent] -> [B, 4, 4, 1]."""

    @nn.compact
    def __call__(self, z, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(32)(z)).reshape(-1, 2, 2, 8)
        x = dropout(x, 0.4, self.make_rng("dropout")) if train else x
        return nn.sigmoid(Conv(1)(nn.relu(Conv(4, upsample=True)(x))))


class NarrowDiscriminator(nn.Module):
    """Likewise: [B, 4, 4, 1] -> [B, 1]."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.leaky_relu(Conv(8, stride=2)(images))
        x = dropout(x, 0.4, self.make_rng("dropout")) if train else x
        return nn.Dense(1)(x.reshape(len(x), -1))


def first_steps(images, key):
    """A state, a step of it, a dispatch of a run from there, and samples.

    The generator has RMSprop, the discriminator Muon with a schedule, and there are a penalty and an average with a
    ramp.
    """
    clipped = preset("article").generator
    modules = {"generator": NarrowGenerator(), "discriminator": NarrowDiscriminator()}
    state = init_state(key, **modules, preset="recommended", generator_tx=clipped, latent_size=5)

    def steps(state, images, key):
        stepped, metrics = train_step(state, images, key)
        resumed, more = run_steps(stepped, DeviceImages(images), key, 1, batch_size=len(images), capacity=1)
        return stepped, metrics, resumed, more, sample(resumed, key, 3)

    return host((state, quick_jit(steps)(state, images, key)))


@pytest.fixture(scope="module")
def inputs():
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, (4, *IMAGES), np.uint8))
    return images, jax.random.key(5, impl="threefry2x32")


@pytest.fixture(scope="module")
def expected(inputs):
    return first_steps(*inputs)


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_changes_no_bit(name, inputs, expected):
    with SETTINGS[name]():
        got = first_steps(*inputs)
    assert_same_bits(got, expected)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(got)} <= {"float32", "int32"}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_changes_no_seed(name):
    """A run's keys, and the tutorial's first state, whose parameters are not float64 under any setting."""
    config = TrainConfig(seed=3)
    plain = jax.eval_shape(lambda: initializer(config)(seed_key(3)))
    keys = host(jax.tree.map(jax.random.key_data, split_key(seed_key(3), 6)))
    with SETTINGS[name]():
        assert (host(jax.tree.map(jax.random.key_data, split_key(seed_key(3), 6))) == keys).all()
        shapes = jax.eval_shape(lambda: initializer(config)(seed_key(3)))
    assert jax.tree.map(lambda leaf: str(leaf.dtype), shapes) == jax.tree.map(lambda leaf: str(leaf.dtype), plain)


def test_scan_keeps_types_under_x64(key):
    """The carry of a scan over steps has the same types before and after, for a user's own modules too."""
    state = small_gan(key, ema=0.9)
    with jax.enable_x64(True):
        steps = jax.eval_shape(
            lambda state: jax.lax.scan(
                lambda s, k: train_step(s, jnp.zeros((2, 8, 8, 1)), k), state, split_key(key, 3)
            ),
            state,
        )
    assert {leaf.dtype.name for leaf in jax.tree.leaves(steps)} <= {"float32", "int32"}


def test_float64_stays_float64(key):
    """Who passes float64 parameters gets float64 updates and averages."""
    with jax.enable_x64(True):
        state = small_gan(key, generator_tx=rmsprop(1e-3, 1e-2), ema=0.5)
        state = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, state)
        shapes = jax.eval_shape(train_step, state, jnp.zeros((2, 8, 8, 1)), key)[0]
    assert {leaf.dtype.name for leaf in jax.tree.leaves((shapes.generator, shapes.ema))} == {"float64", "int32"}


def test_dropout_keeps_the_same_elements(key):
    x = jnp.ones((64, 3))
    before = dropout(x, 0.4, key)
    for name in ("x64", "threefry_partitionable"):
        with SETTINGS[name]():
            assert (dropout(x, 0.4, key) == before).all()


def test_pinned_keys_draw_what_jax_draws(key):
    """With JAX's defaults; keys of other kinds stay as they are."""
    for each in (key, jax.random.PRNGKey(0)):
        assert (jax.random.normal(pin_key(each), (5,)) == jax.random.normal(key, (5,))).all()
        mine, theirs = jax.random.split(pin_key(each), 3), jax.random.split(key, 3)
        assert (jax.random.key_data(mine) == jax.random.key_data(theirs)).all()
    assert pin_key(pin_key(key)).dtype == pin_key(key).dtype
    other = jax.random.key(0, impl="rbg")
    assert pin_key(other) is other
    raw = jax.random.PRNGKey(0, impl="rbg")
    assert pin_key(raw) is raw
    batch = jax.vmap(lambda k: jax.random.uniform(pin_key(k)))(jax.random.split(key, 4))
    assert (batch == jax.vmap(jax.random.uniform)(jax.random.split(key, 4))).all()


@pytest.mark.slow
def test_settings_change_no_score(key):
    """All at once, as a program may have them."""
    digits = np.random.default_rng(1).integers(0, 256, (129, 28, 28), np.uint8)
    state = small_gan(key)

    def scored():
        return evaluate_images(digits), classify(digits[:20, ..., None])[0].tolist()

    def drawn():
        return sample_in_batches(state, key, 3).tolist()

    scores, samples = scored(), drawn()
    with contextlib.ExitStack() as stack:
        for name in ("x64", "rank_promotion", "dtype_promotion", "transfer_guard"):
            stack.enter_context(SETTINGS[name]())
        assert scored() == scores
        assert drawn() == samples


def test_settings_change_no_export(state, tmp_path):
    """Weights and programs for other programs have the same bytes."""

    def exported(name):
        folder = tmp_path / name
        folder.mkdir()
        export_keras(folder / "g.weights.h5", state)
        export_safetensors(folder / "gan.safetensors", state, {})
        export_onnx(folder / "g.onnx", state)
        return all_files(folder)

    expected = exported("plain")
    with contextlib.ExitStack() as stack:
        for name in ("x64", "rank_promotion", "dtype_promotion", "transfer_guard", "threefry_partitionable"):
            stack.enter_context(SETTINGS[name]())
        assert exported("set") == expected


def test_environment_names_compiler_settings(monkeypatch):
    """Flags that compile another program, and the default precision; not those that only describe devices."""
    before = environment_info(1)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_dump_to=/tmp/x")
    assert differences(before, environment_info(1)) == differences(before, before) == []
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_cpu_enable_fast_math=true")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with jax.default_matmul_precision("bfloat16"), option("jax_disable_most_optimizations", True):
        changed = differences(before, environment_info(1))
    assert changed == [
        "XLA_FLAGS not set, now --xla_cpu_enable_fast_math=true",
        "NVIDIA_TF32_OVERRIDE not set, now 0",
        "jax_default_matmul_precision not set, now bfloat16",
        "jax_disable_most_optimizations False, now True",
    ]
    fewer = {name: before[name] for name in ("jax", "device", "devices", "threads")}  # what one has not is left out
    assert differences(fewer, before) == []


def test_resume_names_changed_settings(small_run, tmp_path, monkeypatch, capsys):
    run_dir = shutil.copytree(small_run, tmp_path / "run")
    run = load_run(run_dir, init=init)._replace(mesh=data_mesh(None))
    resume_run(run)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_fast_math=true")
    resume_run(run)
    out = capsys.readouterr().out
    assert out == (
        "saved with XLA_FLAGS not set, now --xla_cpu_enable_fast_math=true: the run resumes, but not to the same bits\n"
    )


def test_flags_of_xla_may_be_in_a_file(tmp_path, monkeypatch):
    flags = tmp_path / "flags"
    flags.write_text("--xla_cpu_enable_fast_math=true\n--xla_dump_to=/tmp/x\n")
    monkeypatch.setenv("XLA_FLAGS", str(flags))
    assert environment_info(1)["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=true"


@pytest.mark.parametrize("guard", ["disallow", "disallow_explicit"])
def test_transfer_guard_leaves_checkpoints_alone(guard, small_state, tmp_path):
    """Orbax transfers arrays in threads of its own; the guard is as it was afterwards."""
    before = jax.config.values["jax_transfer_guard"]
    jax.config.update("jax_transfer_guard", guard)
    try:
        with jax_defaults():
            save_tree(tmp_path / "state", small_state.generator.params)
            read = load_tree(tmp_path / "state", small_state.generator.params)
            assert_same_bits(read, small_state.generator.params)
        assert jax.config.values["jax_transfer_guard"] == guard
    finally:
        jax.config.update("jax_transfer_guard", before)


ENVIRONMENTS = [
    {"JAX_ENABLE_X64": "1"},
    {"JAX_THREEFRY_PARTITIONABLE": "0"},
    {"JAX_NUMPY_RANK_PROMOTION": "raise", "JAX_NUMPY_DTYPE_PROMOTION": "strict"},
    {"JAX_TRANSFER_GUARD": "disallow"},
    {"JAX_TRANSFER_GUARD": "disallow_explicit", "FLAX_PROFILE": "1"},
    {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_RANDOM_SEED_OFFSET": "9"},
    {"FLAX_FIX_RNG_SEPARATOR": "1", "FLAX_RETURN_FROZENDICT": "1"},
    {"JAX_DEBUG_KEY_REUSE": "1", "JAX_CHECK_TRACER_LEAKS": "1", "JAX_LEGACY_PRNG_KEY": "error"},
]


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: next(iter(e)))
def test_run_and_resume_under_variables(environment, train_process, finished, tmp_path):
    """A whole run under the variables, and one whose last steps are under them, have the bits of an undisturbed one."""
    whole, _ = finished
    code, out, err = finish(train_process("--steps", 11, *FLAGS, cwd=tmp_path, environment=environment))
    assert (code, err) == (0, "")
    assert metric_rows(tmp_path / "runs" / "0001") == metric_rows(whole)
    assert_same_checkpoints(tmp_path / "runs" / "0001" / "checkpoints" / "11", whole / "checkpoints" / "11")
    resumed = shutil.copytree(whole, tmp_path / "resumed")
    shutil.rmtree(resumed / "checkpoints" / "11")
    code, out, err = finish(train_process("--workdir", resumed, "--resume", cwd=tmp_path, environment=environment))
    assert (code, err) == (0, "")
    assert "saved with" not in out
    assert_same_checkpoints(resumed / "checkpoints" / "11", whole / "checkpoints" / "11")
