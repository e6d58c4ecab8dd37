"""Weights that ship, and runs that start from weights."""

import hashlib
import json

import jax
import numpy as np
import pytest
import safetensors
from helpers import (
    RECIPE,
    abstract_state,
    all_files,
    assert_same_bits,
    compile_steps_quickly,
    one_error_line,
    restore_checkpoint,
    run_cli,
)
from programs.small_recipe import init
from safetensors.numpy import load_file

from benchmarks import release
from dcgan_jax import TrainConfig, init_state, load_pretrained, load_run, sample
from dcgan_jax.evaluation.classifier import classify
from dcgan_jax.evaluation.metrics import class_shares, confident_share
from dcgan_jax.images import save_png
from dcgan_jax.interop import WeightsError, import_weights, match_weights
from dcgan_jax.pretrained import CONDITIONAL, FOLDER, PRETRAINED, evaluation_of
from dcgan_jax.pretrained.compact import expand
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.resume_checks import check_same
from dcgan_jax.training.run import create_run

START = ["--steps", 1, "--batch-size", 2]


def first_checkpoint(run_dir):
    return restore_checkpoint(run_dir / "checkpoints" / "0", abstract_state()).state


def weights(network):
    return network.params, network.batch_stats


def test_pretrained_generator_draws_digits():
    """Of real digits 98 % are read with a probability of at least 0.95; half of it would be strokes."""
    images = sample(load_pretrained(), jax.random.key(3), 256)
    logits, _ = classify(np.asarray(images))
    assert confident_share(logits) > 0.85
    assert min(class_shares(logits)) > 0.03  # a tenth each; of 256, three standard deviations are 0.056


def test_conditional_generator_draws_the_digits_given():
    """Of real digits the classifier reads 0.4 % as another, one of 256; ten are allowed."""
    labels = np.arange(256, dtype=np.int32) % 10
    logits, _ = classify(np.asarray(sample(load_pretrained(CONDITIONAL), jax.random.key(3), 256, labels)))
    assert (logits.argmax(-1) == labels).mean() > 0.96
    assert confident_share(logits) > 0.85  # as above


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_weights_are_small_and_float16(name):
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size < 5_000_000
    with safetensors.safe_open(path, "numpy") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {np.dtype(np.float16)}  # noqa: SIM118
        assert {name.split("/")[0] for name in file.keys()} == {"generator"}  # noqa: SIM118


@pytest.mark.parametrize("name", PRETRAINED)
def test_scores_are_those_of_the_card(name):
    card, evaluation = (FOLDER / f"{name}.md").read_text(), evaluation_of(name)
    names = {"FID": "fid", "FID by the second classifier": "second_fid", "precision": "precision", "recall": "recall"}
    for shown, key in names.items():
        ours, floor = (evaluation[part][key] for part in ("scores", "floor"))
        assert f"| {shown} | {ours:.3f} | {floor:.3f} |" in card


@pytest.mark.parametrize("name", PRETRAINED)
def test_model_card_is_of_the_file(name):
    card = (FOLDER / f"{name}.md").read_text()
    content = (FOLDER / f"{name}.safetensors").read_bytes()
    assert f"`{hashlib.sha256(content).hexdigest()}`" in card
    assert f"{len(content):,} bytes" in card
    with safetensors.safe_open(FOLDER / f"{name}.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["dcgan-jax"])
    assert f"`{about['command']}`, step {about['step']:,}" in card


@pytest.mark.parametrize("name", PRETRAINED)
def test_damaged_weights_are_refused(name, tmp_path, monkeypatch):
    content = bytearray((FOLDER / f"{name}.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / f"{name}.safetensors").write_bytes(content)
    monkeypatch.setattr("dcgan_jax.pretrained.FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="is damaged or another file.*reinstall dcgan-jax"):
        load_pretrained(name)
    with pytest.raises(ValueError, match="no pretrained generator 'cats': choose from mnist"):
        load_pretrained("cats")


def test_commands_draw_from_pretrained_weights(tmp_path, capsys, monkeypatch):
    """By their name, even if a folder is called so."""
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run_cli("sample", "mnist", "--samples", 3, "--out", "a.npy") == 0
    assert "3 images of the pretrained weights mnist" in capsys.readouterr().out
    assert np.load("a.npy").shape == (3, 28, 28, 1)
    assert run_cli("evaluate", "mnist", "--samples", 129, "--json") == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert (evaluation["run"], evaluation["weights"]) == ("mnist", "pretrained")
    assert evaluation["step"] >= 1000
    assert run_cli("interpolate", "mnist", "--seeds", "1,2", "--out", "way.png") == 0


@pytest.mark.slow
def test_commands_export_pretrained_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcgan_jax.report.weights._SAMPLES", 2)  # as in test_explorer.py
    assert run_cli("report", "mnist", "--explore") == 0
    assert 4_000_000 < (tmp_path / "explorer.html").stat().st_size < 8_000_000
    assert run_cli("export", "mnist", "--format", "stablehlo") == 0
    program = jax.export.deserialize((tmp_path / "generator.stablehlo").read_bytes())
    assert program.call(np.zeros((2, 100), np.float32)).shape == (2, 28, 28, 1)


@pytest.mark.slow
def test_commands_draw_the_classes_asked_for(tmp_path, capsys, monkeypatch):
    """By the conditional weights, of either name; nothing else is asked for."""
    monkeypatch.chdir(tmp_path)
    for source in ("mnist", CONDITIONAL):
        assert run_cli("sample", source, "--classes", "3,1,4", "--samples", 1, "--out", f"{source}.npy") == 0
        out = capsys.readouterr().out
        assert out == f"3 images of the pretrained weights mnist-conditional, in {source}.npy\n"
    images = np.load("mnist.npy")
    assert classify(images)[0].argmax(-1).tolist() == [3, 1, 4]
    assert (images == np.load(f"{CONDITIONAL}.npy")).all()
    assert run_cli("sample", "mnist", "--grid", "--samples", 1, "--out", "all.npy") == 0
    assert (np.load("all.npy")[[3, 1, 4]] == images).all()
    assert run_cli("sample", CONDITIONAL, "--samples", 2, "--out", "random.npy") == 0
    assert run_cli("interpolate", "mnist", "--seeds", "0,1", "--classes", "3,5", "--frames", 2) == 0
    assert "seeds 0,1 of the pretrained weights mnist-conditional, in " in capsys.readouterr().out
    save_png(tmp_path / "four.png", images[2])
    project = ["project", "mnist", "four.png", "--starts", 1, "--steps", 1]
    assert run_cli(*project, "--class", 4) == 0
    assert "drawn by the pretrained weights mnist-conditional, in " in capsys.readouterr().out
    assert run_cli(*project) == 0
    assert "drawn by the pretrained weights mnist, in " in capsys.readouterr().out


@pytest.mark.slow
def test_conditional_weights_are_a_source_of_commands(tmp_path, capsys, monkeypatch):
    """Their scores have the share of digits that are those asked for; what is exported draws the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcgan_jax.report.weights._SAMPLES", 2)  # as in test_explorer.py
    assert run_cli("evaluate", CONDITIONAL, "--samples", 129, "--json") == 0
    assert json.loads(capsys.readouterr().out)["scores"]["as_asked"] > 0.9
    assert run_cli("report", CONDITIONAL, "--explore") == 0
    page = (tmp_path / "explorer.html").read_text()
    assert '"classes":["0","1","2","3","4","5","6","7","8","9"]' in page.replace(" ", "")
    assert len(page) < 8_000_000
    assert run_cli("export", CONDITIONAL, "--format", "safetensors", "--out", "whole.safetensors") == 0
    assert run_cli("export", CONDITIONAL, "--format", "hub", "--out", "hub") == 0
    state = load_pretrained(CONDITIONAL)
    assert_same_bits(weights(load_pretrained("./hub").generator), weights(state.generator))
    whole = import_weights(tmp_path / "whole.safetensors", init_state(jax.random.key(1), classes=10))
    assert_same_bits(weights(whole.generator), weights(state.generator))


def test_release_writes_what_it_has_scored(tmp_path, monkeypatch, capsys):
    """Of a conditional run, whose file has fewer numbers than its generator; in float32, and not as it was trained."""
    scored = []
    scores = dict.fromkeys(("fid", "second_fid", "precision", "recall", "class_kl", "nearest", "as_asked"), 0.5)
    monkeypatch.setattr(release, "score", lambda state, key: (scored.append(state), ({**scores, "fids": {}},) * 2)[1])
    monkeypatch.setattr(release, "FOLDER", tmp_path)
    flags = {"preset": "recommended", "conditional": True, "batch_size": 2, "dtype": "bfloat16"}
    config = TrainConfig(**flags, width=4, workdir=str(tmp_path / "run"))
    create_run(config, *create_state(config, RunRecord(classes=tuple("0123456789"))))
    monkeypatch.setattr("sys.argv", ["release", str(tmp_path / "run"), "--checkpoint", "0"])
    release.main()
    arrays = load_file(tmp_path / "mnist-conditional.safetensors")
    (state,) = scored
    loaded = match_weights(expand(arrays, 10), state, "the file")["generator"]
    assert_same_bits((loaded["params"], loaded["batch_stats"]), weights(state.generator))
    assert np.dtype(state.generator.module.dtype) == np.float32
    card = (tmp_path / "mnist-conditional.md").read_text()
    assert (
        "`python train.py --preset recommended --conditional --batch-size 2 --dtype bfloat16 --seed 0`, step 0" in card
    )
    assert "| share that is read as the digit asked for | 0.500 | 0.500 |" in card
    assert hashlib.sha256((tmp_path / "mnist-conditional.safetensors").read_bytes()).hexdigest() in card
    assert capsys.readouterr().out.split()[-1] in card


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["sample", "mnist", "--classes", "3", "--checkpoint", "5"],
            "--checkpoint is for runs: mnist names pretrained",
        ),
        (["sample", "mnist", "--classes", "3,ten"], "--classes: there is no class 'ten': choose from 0, 1, 2, 3"),
        (["export", CONDITIONAL, "--format", "keras", "--network", "discriminator"], "have no discriminator"),
        (["sample", "mnist", "--checkpoint", "5"], "--checkpoint is for runs: mnist names pretrained weights"),
        (["evaluate", "mnist", "--weights", "last"], "--weights is for runs: mnist names pretrained weights"),
        (["sample", "mnist", "--recipe", "own.py"], "--recipe is for runs: mnist names pretrained weights"),
        (["export", "mnist", "--format", "safetensors"], "their generator is a safetensors file already"),
        (
            ["export", "mnist", "--format", "onnx", "--network", "discriminator"],
            "have no discriminator: leave --network out",
        ),
        (["sample", "./mnist"], "there is no run in mnist"),
    ],
)
def test_what_pretrained_weights_lack_is_one_line(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_cli(*argv) == 2
    assert message in one_error_line(capsys)
    assert not any(tmp_path.iterdir())


def test_run_starts_from_pretrained_weights(tmp_path, monkeypatch, capsys):
    """The generator is the pretrained one, to the bit; its discriminator is what it is without them.

    Of the tutorial's size, as the weights are.
    """
    compile_steps_quickly(monkeypatch)
    for name, flags in (("tuned", ["--init-from", "mnist"]), ("new", [])):
        assert run_cli("train", *START, *flags, "--workdir", tmp_path / name) == 0
        note = "note: the weights of mnist were trained by the preset recommended, and this run trains by tutorial"
        assert (note in capsys.readouterr().out) == (name == "tuned")
    tuned, new = (first_checkpoint(tmp_path / name) for name in ("tuned", "new"))
    assert_same_bits(weights(tuned.generator), weights(load_pretrained().generator))
    assert_same_bits(tuned.discriminator, new.discriminator)
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["config"]["init_from"] == "mnist"


@pytest.mark.slow
def test_conditional_run_from_conditional_weights(tmp_path, monkeypatch):
    compile_steps_quickly(monkeypatch)
    flags = ["--conditional", "--init-from", CONDITIONAL, "--workdir", tmp_path / "tuned"]
    assert run_cli("train", *START, *flags) == 0
    assert_same_bits(
        weights(load_run(tmp_path / "tuned", 0).state.generator), weights(load_pretrained(CONDITIONAL).generator)
    )


def test_run_starts_from_a_run_or_a_file(small_run, small_flags, tmp_path):
    """With both networks, another seed, and new optimizers; whatever the preset."""
    out, start = tmp_path / "gan.safetensors", ["train", *small_flags, "--steps", 1, "--seed", 9]
    assert run_cli("export", small_run, "--recipe", RECIPE, "--format", "safetensors", "--out", out) == 0
    of = load_run(small_run, init=init).state
    for source in (small_run, out):
        run_dir = tmp_path / f"from-{source.name}"
        assert run_cli(*start, "--init-from", source, "--workdir", run_dir) == 0
        state = load_run(run_dir, 0, init=init).state
        assert_same_bits(weights(state.generator), weights(of.generator))
        assert_same_bits(weights(state.discriminator), weights(of.discriminator))
        assert state.step == 0
        assert_same_bits(state.generator.opt_state, init(jax.random.key(0), (8, 8, 1), None).generator.opt_state)


def test_source_is_the_same_by_each_of_its_paths(tmp_path, monkeypatch):
    """Above the working directory too."""
    monkeypatch.chdir(tmp_path)
    for name in ("w.safetensors", "../w.safetensors"):
        config = TrainConfig(init_from=name)
        same = TrainConfig(init_from=str(tmp_path / name)), TrainConfig(init_from=name)
        for each in same:
            check_same(config, RunRecord(), "the run", each, RunRecord())
        other = TrainConfig(init_from="v.safetensors")
        with pytest.raises(ConfigError, match="the run has `init_from` .*v.safetensors, not"):
            check_same(config, RunRecord(), "the run", other, RunRecord())


def test_resumed_run_needs_its_source_no_more(small_run, small_flags, tmp_path, monkeypatch):
    source, recipe = tmp_path / "gan.safetensors", ["--recipe", RECIPE]
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    flags = [*small_flags, "--checkpoint-every", 2, "--init-from", "../gan.safetensors"]
    assert run_cli("export", small_run, *recipe, "--format", "safetensors", "--out", source) == 0
    for name, steps in (("whole", 4), ("parts", 2)):
        assert run_cli("train", *flags, "--steps", steps, "--workdir", tmp_path / name) == 0
    source.unlink()
    assert run_cli("train", *recipe, "--resume", "--steps", 4, "--workdir", tmp_path / "parts") == 0
    whole, parts = (load_run(tmp_path / name, init=init).state for name in ("whole", "parts"))
    assert_same_bits(parts, whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--init-from", "absent.safetensors"], "--init-from: there is no run and no file {}/absent.safetensors"),
        (["--init-from", "empty"], "there is no run in {}/empty"),
        (["--init-from", "text.txt"], "is neither safetensors nor"),
        (["--init-from", "gs://bucket/weights"], "--init-from must be a local path, not a URL"),
        (["--init-from", "mnist", "--image-size", "32", "--dataset", "a.npy"], "of 28x28x1, and these are for 32x32x1"),
        (["--init-from", "mnist", "--conditional"], "holds other arrays than these networks"),
        (["--init-from", CONDITIONAL], "holds other arrays than these networks"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no weights")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (9, 28, 28, 1), np.uint8))
    before = all_files(tmp_path)
    for command in (["train"], ["train", "--dry-run"]):
        assert run_cli(*command, *START, *flags) == 2
        error = capsys.readouterr().err
        assert message.format(tmp_path) in error
        assert error.count("\n") == 1
    assert all_files(tmp_path) == before
    assert not (tmp_path / "runs").exists()


def test_resumed_run_keeps_where_it_started(small_run, capsys):
    resume = ["train", "--recipe", RECIPE, "--resume", "--steps", 12, "--workdir", small_run]
    assert run_cli(*resume, "--init-from", "mnist") == 2
    assert "has --init-from none, not mnist: keep the run's, or start a new run: weights" in one_error_line(capsys)
