"""The config of a run: its defaults, its JSON, and what it refuses."""

import dataclasses
import json

import pytest

from dcgan_jax import TrainConfig
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.record import RunRecord, from_json, to_json


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
    record = RunRecord((16, 12, 3), ("a", "b"), "0" * 64, True, "ab12", "own.py:init", "1" * 64)
    assert from_json(to_json(config, record)) == (config, record)
    assert from_json(to_json(TrainConfig(), RunRecord())) == (TrainConfig(), RunRecord())


def test_paths_read_on_resume_are_absolute(tmp_path, monkeypatch):
    """From the directory in which the run was started, wherever it is resumed."""
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(dataset="./pictures", data_dir="data", classifier="sub/a.npz", init_from="runs/0001")
    monkeypatch.chdir(tmp_path.parent)
    read, _ = from_json(to_json(config, RunRecord()))
    assert [read.dataset, read.data_dir, read.classifier, read.init_from] == [
        str(tmp_path / name) for name in ("pictures", "data", "sub/a.npz", "runs/0001")
    ]
    assert TrainConfig(init_from="mnist").init_from == "mnist"  # the weights of the package


def test_config_of_another_format_is_refused():
    """One of an earlier revision has none; which one resumes it is said."""
    values = dataclasses.asdict(TrainConfig())
    with pytest.raises(ConfigError, match="has no format, .* reads format 2: revision b594a72 of dcgan-jax resumes"):
        from_json(json.dumps(values))
    with pytest.raises(ConfigError, match="the config has format 3, and this version reads format 2$"):
        from_json(json.dumps({"format": 3, "config": values, "record": {}}))


def test_fields_say_what_decides_a_run():
    """A resumed run is refused with another value of these."""
    fixed = [field.name for field in dataclasses.fields(TrainConfig) if field.metadata["fixed"]]
    assert fixed == [
        *("batch_size", "seed", "dataset", "image_size", "channels", "hold_out", "mirror", "range", "layout"),
        *("frames", "images", "labels"),
        *("preset", "init_from", "dtype", "ema", "generator_learning_rate", "discriminator_learning_rate"),
        *("loss", "r1", "dropout", "latent_size", "width", "augment", "d_steps", "fakes", "conditional"),
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "`steps` must be between 1 and 2147483647, got 0"),
        ("batch_size", -1, "`batch_size` must be between 1 and 2147483647, got -1"),
        ("seed", -1, "`seed` must be between 0"),
        ("seed", 2**31, "`seed` must be between 0"),
        ("log_every", 0, "`log_every` must be between 1"),
        ("steps", "9", "`steps` must be an integer, got '9'"),
        ("steps", 9.0, "`steps` must be an integer, got 9.0"),
        ("steps", True, "`steps` must be an integer, got True"),
        ("preset", "adam", "`preset` must be one of tutorial, article, upstream, keras3, recommended, got 'adam'"),
        ("dataset", None, "`dataset` must be a string, got None"),
        ("workdir", "", "`workdir` must not be empty"),
        ("workdir", 3, "`workdir` must be a string, got 3"),
        ("workdir", "a\0b", "`workdir` must be printable text, got 'a\\x00b'"),
        ("data_dir", "\ud800", "`data_dir` must be printable text"),
        ("dtype", "float16", "`dtype` must be one of float32, bfloat16, got 'float16'"),
        ("steps_per_call", 0, "`steps_per_call` must be between 1 and"),
        ("stop_at_fid", 0, "`stop_at_fid` must be a number above 0, got 0.0"),
        ("stop_at_fid", float("nan"), "`stop_at_fid` must be a number above 0, got nan"),
        ("stop_at_fid", True, "`stop_at_fid` must be a number, got True"),
        ("generator_learning_rate", 0, "`generator_learning_rate` must be a number above 0, got 0.0"),
        ("discriminator_learning_rate", float("inf"), "must be a number above 0, got inf"),
        ("loss", "mse", "`loss` must be one of cross-entropy, hinge, "),
        ("r1", -0.5, "`r1` must be a number of at least 0, got -0.5"),
        ("r1", float("inf"), "`r1` must be a number of at least 0, got inf"),
        ("dropout", 1, "`dropout` must be a number of at least 0 and below 1, got 1.0"),
        ("dropout", float("nan"), "`dropout` must be a number of at least 0 and below 1, got nan"),
        ("latent_size", 65537, "`latent_size` must be between 1 and 65536, got 65537"),
        ("width", 0, "`width` must be between 2 and 1024, got 0"),
        ("width", 33, "`width` must be a multiple of 2, got 33"),
        ("augment", "blur", "`augment`: unknown augmentation 'blur': choose from translation, color, cutout, flip, ad"),
        ("augment", "flip,flip", "`augment`: an augmentation is there twice in flip,flip"),
        ("d_steps", 101, "`d_steps` must be between 1 and 100, got 101"),
        ("steps_per_call", "4", "`steps_per_call` must be an integer, got '4'"),
    ],
)
def test_unusable_value_is_reported_with_its_name(field, value, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig(**{field: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def changed(**values):
    """A config.json with these values in its config, and without a record."""
    return json.dumps({"format": 2, "config": {**dataclasses.asdict(TrainConfig()), **values}})


def found(**values):
    """A config.json with these values in its record."""
    config, record = dataclasses.asdict(TrainConfig()), dataclasses.asdict(RunRecord())
    return json.dumps({"format": 2, "config": config, "record": {**record, **values}})


def test_augmentations_are_in_one_order():
    """A run resumes, whatever the order in which they are named."""
    assert TrainConfig(augment="flip, adaptive,color") == TrainConfig(augment="color,flip,adaptive")


def test_a_field_that_a_run_lacks_has_its_default():
    """A later version adds fields; what its default does is what the run did."""
    config = {"steps": 7, "preset": "article"}
    text = json.dumps({"format": 2, "config": config, "record": {"data_digest": "a"}})
    assert from_json(text) == (TrainConfig(steps=7, preset="article"), RunRecord(data_digest="a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "missing"),
        ("{}", "the config does not have the expected fields (missing: ['augment', 'batch_size'"),
        (changed(), "the record does not have the expected fields (missing: ['classes'"),
        (changed(depth=3), "unknown: ['depth']"),
        (changed(steps=None), "`steps` must be an integer"),
        (found(classes=[]), "`classes` must be a list of names, got ()"),
        (found(classes=[0, 1]), "`classes` must be a list of names"),
        (found(image_shape=[28, 28]), "`image_shape` must be three positive integers, got (28, 28)"),
        (found(quick_compile=None), "`quick_compile` must be true or false, got None"),
        (found(recipe=""), "`recipe` must be a text, got ''"),
    ],
)
def test_unusable_json_is_refused(text, message):
    with pytest.raises(ConfigError) as error:
        from_json(text)
    assert message in str(error.value)
