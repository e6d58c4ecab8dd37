"""The config of a run: its defaults, its JSON, and what it refuses."""

import dataclasses
import json

import pytest

from dcgan_jax import TrainConfig
from dcgan_jax.training.config import ConfigError


def test_defaults_are_the_tutorials():
    config = TrainConfig()
    assert (config.steps, config.batch_size, config.sample_every) == (10_000, 256, 500)
    assert (config.dataset, config.preset) == ("mnist", "tutorial")


def test_every_field_has_a_help_text():
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_json_round_trip():
    config = TrainConfig(steps=7, workdir="somewhere", preset="article")
    assert TrainConfig.from_json(config.to_json()) == config


def test_paths_read_on_resume_are_absolute(tmp_path, monkeypatch):
    """From the directory in which the run was started, wherever it is resumed."""
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(dataset="./pictures", data_dir="data", classifier="sub/a.npz", init_from="runs/0001")
    monkeypatch.chdir(tmp_path.parent)
    read = TrainConfig.from_json(config.to_json())
    assert [read.dataset, read.data_dir, read.classifier, read.init_from] == [
        str(tmp_path / name) for name in ("pictures", "data", "sub/a.npz", "runs/0001")
    ]
    assert TrainConfig(init_from="mnist").init_from == "mnist"  # the weights of the package


def test_config_of_an_earlier_revision_is_read():
    values = json.loads(TrainConfig(steps=7).to_json())
    del values["stop_at_fid"]
    assert TrainConfig.from_json(json.dumps(values)) == TrainConfig(steps=7)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "--steps must be between 1 and 2147483647, got 0"),
        ("batch_size", -1, "--batch-size must be between 1 and 2147483647, got -1"),
        ("seed", -1, "--seed must be between 0"),
        ("seed", 2**31, "--seed must be between 0"),
        ("log_every", 0, "--log-every must be between 1"),
        ("steps", "9", "--steps must be an integer, got '9'"),
        ("steps", 9.0, "--steps must be an integer, got 9.0"),
        ("steps", True, "--steps must be an integer, got True"),
        ("preset", "adam", "--preset must be one of tutorial, article, upstream, keras3, recommended, got 'adam'"),
        ("dataset", None, "--dataset must be a string, got None"),
        ("workdir", "", "--workdir must not be empty"),
        ("workdir", 3, "--workdir must be a string, got 3"),
        ("workdir", "a\0b", "--workdir must be printable text, got 'a\\x00b'"),
        ("data_dir", "\ud800", "--data-dir must be printable text"),
        ("dtype", "float16", "--dtype must be one of float32, bfloat16, got 'float16'"),
        ("steps_per_call", 0, "--steps-per-call must be between 1 and"),
        ("stop_at_fid", 0, "--stop-at-fid must be a number above 0, got 0.0"),
        ("stop_at_fid", float("nan"), "--stop-at-fid must be a number above 0, got nan"),
        ("stop_at_fid", True, "--stop-at-fid must be a number, got True"),
        ("steps_per_call", "4", "--steps-per-call must be an integer, got '4'"),
    ],
)
def test_unusable_value_is_reported_with_its_flag(field, value, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig(**{field: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "missing"),
        ("{}", "missing: ['batch_size'"),
        (json.dumps({**dataclasses.asdict(TrainConfig()), "depth": 3}), "unknown: ['depth']"),
        (json.dumps({**dataclasses.asdict(TrainConfig()), "steps": None}), "--steps must be an integer"),
        (json.dumps({**dataclasses.asdict(TrainConfig()), "classes": []}), "--classes must be a list of names, got ()"),
        (json.dumps({**dataclasses.asdict(TrainConfig()), "classes": [0, 1]}), "--classes must be a list of names"),
    ],
)
def test_unusable_json_is_refused(text, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig.from_json(text)
    assert message in str(error.value)
