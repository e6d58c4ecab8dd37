"""Steps that are kept: a later start reads them, and computes the same bits; whatever is in doubt is compiled."""

import secrets

import jax
import jax.numpy as jnp
import pytest
from helpers import QUICK_COMPILATION, finish, metric_rows

from dcgan_jax.training import kept_program
from dcgan_jax.training.kept_program import compile_kept, program_file


@pytest.fixture
def step():
    """What lowers a step that no cache has, its arguments, and how often it has been lowered."""
    salt, lowered = secrets.randbits(30), []

    @jax.jit
    def step(state, images):
        return {"w": state["w"] * salt + images.sum(), "none": None}, {"d_loss": jnp.sin(images).mean(), "a": salt}

    arguments = {"w": jnp.arange(3.0), "none": None}, jnp.arange(8.0)

    def lower():
        lowered.append(1)
        return step.lower(*arguments)

    return lower, arguments, lowered


def same(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda a, b: (a == b).all(), a, b)
    )


def test_kept_step_is_not_lowered_again(step, tmp_path):
    lower, arguments, lowered = step
    compiled = compile_kept(tmp_path / "a.step", arguments, lower, jax.devices()[:1])
    kept = compile_kept(tmp_path / "a.step", arguments, lower, jax.devices()[:1])
    assert len(lowered) == 1
    assert same(kept(*arguments), compiled(*arguments))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:500] + b"?" + b[501:], lambda b: b"", lambda b: b[:64]]
)
def test_damaged_step_is_compiled(damage, step, tmp_path):
    lower, arguments, lowered = step
    path = tmp_path / "a.step"
    compiled = compile_kept(path, arguments, lower, jax.devices()[:1])
    path.write_bytes(damage(path.read_bytes()))
    assert same(compile_kept(path, arguments, lower, jax.devices()[:1])(*arguments), compiled(*arguments))
    assert len(lowered) == 2


def test_step_of_jaxs_cache_is_not_kept(step, tmp_path):
    """Serialised again it may lack functions."""
    lower, arguments, _ = step
    lower().compile()  # into JAX's cache
    jax.clear_caches()
    compiled = compile_kept(tmp_path / "a.step", arguments, lower, jax.devices()[:1])
    assert compiled(*arguments)[1]["a"] > 0
    assert not list(tmp_path.iterdir())


def test_full_disk_is_no_error(step, tmp_path):
    lower, arguments, _ = step
    compiled = compile_kept(tmp_path / "missing" / "a.step", arguments, lower, jax.devices()[:1])
    assert compiled(*arguments)[0]["none"] is None


def test_what_decides_a_step_is_in_its_name(monkeypatch):
    arguments = (jnp.zeros(3),)
    name = program_file({"batch_size": 2}, arguments, 1)
    assert name == program_file({"batch_size": 2}, (jnp.ones(3),), 1)
    assert str(name.parent) == jax.config.jax_compilation_cache_dir
    others = [
        program_file({"batch_size": 4}, arguments, 1),
        program_file({"batch_size": 2}, (jnp.zeros(4),), 1),
        program_file({"batch_size": 2}, (jnp.zeros(3, jnp.bfloat16),), 1),
        program_file({"batch_size": 2}, arguments, 2),
    ]
    with jax.debug_nans(True):
        others.append(program_file({"batch_size": 2}, arguments, 1))
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    others.append(program_file({"batch_size": 2}, arguments, 1))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(kept_program, "_source_digest", lambda: "of other modules")
    others.append(program_file({"batch_size": 2}, arguments, 1))
    assert len({name, *others}) == 1 + len(others)


def test_nothing_is_kept_without_jaxs_cache():
    before = jax.config.jax_compilation_cache_dir
    try:
        for folder in (None, "", "gs://bucket"):
            jax.config.update("jax_compilation_cache_dir", folder)
            assert program_file({}, (), 1) is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.slow
def test_kept_step_is_for_some_of_the_devices(train_process, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment["XLA_FLAGS"] = f"{QUICK_COMPILATION} --xla_force_host_platform_device_count=3"
    for run in ("first", "second"):
        flags = ["--steps", 2, "--batch-size", 2, "--width", 4, "--devices", 2, "--log-every", 1, "--workdir", run]
        code, _, err = finish(train_process(*flags, cwd=tmp_path, environment=environment))
        assert code == 0, err
    assert metric_rows(tmp_path / "first") == metric_rows(tmp_path / "second")
    assert len(list((tmp_path / "cache").rglob("*.step"))) == 1


@pytest.mark.slow
def test_second_command_does_not_trace_the_step(train_process, tmp_path):
    """It has the first one's bits; another seed has its step too."""
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_LOG_COMPILES": "1", "XLA_FLAGS": QUICK_COMPILATION}
    traced = []
    for run, seed in (("first", 0), ("second", 0), ("third", 1)):
        flags = ["--steps", 2, "--batch-size", 2, "--width", 4, "--log-every", 1, "--seed", seed, "--workdir", run]
        code, _, err = finish(train_process(*flags, cwd=tmp_path, environment=environment))
        assert code == 0, err
        traced.append("run_steps" in err)
    assert traced == [True, False, False]
    first, second = tmp_path / "first", tmp_path / "second"
    assert metric_rows(first) == metric_rows(second)
    assert (first / "fakes.png").read_bytes() == (second / "fakes.png").read_bytes()
    assert len(list((tmp_path / "cache").rglob("*.step"))) == 1
