"""Flags of the tutorial's networks: each replaces what the preset says, is recorded, and is refused on resume."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers import all_files, assert_same_bits, compile_steps_quickly, one_error_line, quick_jit, run_cli

from dcgan_jax import Discriminator, Generator, TrainConfig, init_state, load_run, preset, r1_penalty, train
from dcgan_jax.augment import named_augmentation
from dcgan_jax.interop import WeightsError, export_safetensors
from dcgan_jax.losses import CROSS_ENTROPY, HINGE, RELATIVISTIC, WASSERSTEIN
from dcgan_jax.optimizers import InverseSqrt, muon, rmsprop
from dcgan_jax.presets import FEW_PICTURES, FEW_PICTURES_AUGMENT, PRESETS, recommended_augmentation
from dcgan_jax.pretrained.hub import export_hub
from dcgan_jax.training.first_state import create_state, initializer
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import create_run, with_weights
from dcgan_jax.training.setup import with_augmentation

# Narrow networks, which compile quickly; every flag but the learning rates' has another value than its default.
SMALL = ["--width", 2, "--latent-size", 5, "--dropout", 0.1, "--loss", "hinge", "--r1", 0.5, "--augment", "color,flip"]


def built(**fields):
    """The state of a config, without its values."""
    return jax.eval_shape(initializer(TrainConfig(**fields)), jax.random.key(0))


@pytest.mark.parametrize("name", PRESETS)
def test_defaults_are_the_presets(name):
    """The same static fields, so that the compiled step is the same."""
    plain = jax.eval_shape(lambda key: init_state(key, preset=name), jax.random.key(0))
    ours = built(preset=name)
    assert (ours.losses, ours.latent_size, ours.augment, ours.d_steps) == (
        *(plain.losses, plain.latent_size, plain.augment, plain.d_steps),
    )
    for one, other in ((ours.generator, plain.generator), (ours.discriminator, plain.discriminator)):
        assert one.tx == other.tx
        assert (one.module.width, one.module.dropout_rate) == (other.module.width, other.module.dropout_rate)
    assert preset(name) is preset(name, None, None)


def test_rates_replace_the_presets():
    """In the preset's optimizer, with its decay, its clip or its schedule."""
    article = preset("article", 1e-3, 2e-3)
    assert article.generator.update == rmsprop(1e-3, 3e-8, clip=1.0).update
    assert article.discriminator.update == rmsprop(2e-3, 6e-8, clip=1.0).update
    recommended = preset("recommended", 0.5)
    assert recommended.generator.update == muon(InverseSqrt(0.5, steps=300)).update
    assert recommended.discriminator.update == preset("recommended").discriminator.update
    assert preset("article", 1e-3, 2e-3) is article
    state = built(preset="keras3", generator_learning_rate=1e-3)
    assert state.generator.tx.update == rmsprop(1e-3, 3e-8, eps_in_sqrt=True).update
    assert state.discriminator.tx.update == preset("keras3").discriminator.update


def test_loss_and_penalty_replace_the_presets():
    """A loss without a penalty of its own keeps the preset's, with its interval."""
    assert built(loss="hinge").losses == HINGE
    assert built(loss="relativistic", r1=0.5).losses == RELATIVISTIC._replace(penalty=r1_penalty(0.5))
    assert built(loss="wasserstein").losses == WASSERSTEIN
    assert built(loss="wasserstein", r1=0).losses.penalty is None
    kept = preset("recommended").losses
    lazy = {name: getattr(kept, name) for name in ("penalty", "penalty_every", "penalty_stride")}
    assert built(preset="recommended", loss="hinge").losses == HINGE._replace(**lazy)
    assert built(preset="recommended", r1=1).losses == kept._replace(penalty=r1_penalty(1.0))
    assert built(preset="recommended", r1=0).losses == CROSS_ENTROPY


def test_sizes_and_augmentation_replace_the_tutorials():
    state = built(width=4, latent_size=7, dropout=0.25, augment="adaptive, flip", d_steps=3)
    for network in (state.generator, state.discriminator):
        assert (network.module.width, network.module.dropout_rate) == (4, 0.25)
    assert (state.latent_size, state.d_steps) == (7, 3)
    assert state.augment == named_augmentation("flip,adaptive")
    assert state.augment_probability.shape == ()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of narrow networks on random images, with two updates of the discriminator in a step."""
    folder = tmp_path_factory.mktemp("small")
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8))
    flags = ["--dataset", folder / "a.npy", "--batch-size", 2, "--workdir", folder / "run"]
    with pytest.MonkeyPatch.context() as patch:
        compile_steps_quickly(patch)
        assert run_cli("train", *flags, *SMALL, "--d-steps", 2, "--steps", 2) == 0
    return folder / "run"


def test_flags_are_recorded(small):
    run = load_run(small)
    config = run.config
    assert (config.width, config.latent_size, config.dropout, config.loss) == (2, 5, 0.1, "hinge")
    assert (config.r1, config.augment, config.d_steps) == (0.5, "color,flip", 2)
    assert (config.generator_learning_rate, config.discriminator_learning_rate) == (None, None)
    assert run.state.generator.opt_state.count == 2
    assert run.state.discriminator.opt_state.count == 4


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--width", 4, "has --width 2, not 4"),
        ("--latent-size", 6, "has --latent-size 5, not 6"),
        ("--dropout", 0, "has --dropout 0.1, not 0.0"),
        ("--loss", "preset", "has --loss hinge, not preset"),
        ("--r1", 0, "has --r1 0.5, not 0.0"),
        ("--augment", "none", "has --augment color,flip, not none"),
        ("--d-steps", 1, "has --d-steps 2, not 1"),
        ("--generator-learning-rate", 0.1, "has --generator-learning-rate preset, not 0.1"),
        ("--discriminator-learning-rate", 0.1, "has --discriminator-learning-rate preset, not 0.1"),
    ],
)
def test_other_value_is_refused_on_resume(flag, value, message, small, capsys):
    before = all_files(small)
    assert run_cli("train", "--workdir", small, "--resume", "--steps", 3, flag, value) == 2
    err = one_error_line(capsys)
    assert message in err
    fits = flag not in ("--width", "--latent-size")
    assert (" or start a new one with --init-from RUN, which takes over the weights of both networks" in err) == fits
    assert ("start a new run, from the beginning: the networks are of other shapes" in err) != fits
    assert all_files(small) == before


@pytest.mark.parametrize(("flag", "value"), [("--width", 2), ("--latent-size", 5)])
def test_weights_of_another_size_are_refused(flag, value, tmp_path, capsys):
    """One line, whether they are the package's or a run's."""
    start = ["train", "--batch-size", 2, "--steps", 1, "--workdir", tmp_path / "run", "--init-from", "mnist"]
    assert run_cli(*start, flag, value) == 2
    assert f"leave {flag} as the weights were trained with" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["run", "hub", "file"])
def test_weights_for_other_images_are_refused(source, small, tmp_path):
    """Also where all arrays have the right shapes, as those of 16x16 have for 8x32; no flag of sizes is blamed."""

    def narrow(shape):
        modules = {"generator": Generator(shape, width=2), "discriminator": Discriminator(width=2)}
        return quick_jit(lambda key: init_state(key, latent_size=5, **modules))(jax.random.key(0))

    of_square, state = narrow((16, 16, 1)), narrow((8, 32, 1))
    assert [leaf.shape for leaf in jax.tree.leaves(of_square)] == [leaf.shape for leaf in jax.tree.leaves(state)]
    export_hub(tmp_path / "hub", of_square)
    export_safetensors(tmp_path / "file", of_square, {})
    path = small if source == "run" else tmp_path / source
    with pytest.raises(WeightsError, match="has networks for images of (16x16|8x8)x1, and these are for 8x32x1$"):
        with_weights(state, TrainConfig(init_from=str(path), width=2))


def test_every_flag_has_a_range():
    """Or choices, or a function that refuses what it does not know."""
    ranges = {field.name: field.metadata for field in dataclasses.fields(TrainConfig) if field.metadata["network"]}
    for name, about in ranges.items():
        bounded = about["kind"] is float or about["kind"] is int
        assert bounded or about["choices"] or about["convert"], name


def few_pictures(run_dir, **fields):
    """The config of a run of ``recommended`` on 30 pictures, with narrow networks."""
    path = run_dir.parent / "few.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8))
    small = {"batch_size": 2, "width": 2, "latent_size": 5, **fields}
    return TrainConfig(dataset=str(path), workdir=str(run_dir), preset="recommended", **small)


@pytest.mark.parametrize("images", [1, FEW_PICTURES - 1, FEW_PICTURES, 60_000])
def test_recommended_augments_few_pictures_alone(images, capsys):
    """Of MNIST's 60,000, of other presets and where an augmentation is chosen, the config is as it was."""
    names = FEW_PICTURES_AUGMENT if images < FEW_PICTURES else None
    assert recommended_augmentation(images) == names
    config = TrainConfig(preset="recommended")
    assert with_augmentation(config, images) == dataclasses.replace(config, augment=names)
    assert capsys.readouterr().out.count("fewer than 5,000, the preset recommended augments") == (names is not None)
    others = [{"preset": name} for name in PRESETS[:-1]]
    others += [{"preset": "recommended", "augment": augment} for augment in ("none", "flip")]
    for fields in others:
        assert with_augmentation(TrainConfig(**fields), images) == TrainConfig(**fields)
    assert capsys.readouterr().out == ""


def test_chosen_augmentation_is_recorded(tmp_path, monkeypatch, capsys):
    """One line says so; the run resumes to the same bits, by the config that it began with, and by its directory."""
    compile_steps_quickly(monkeypatch)
    whole = train(few_pictures(tmp_path / "whole", steps=3))
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "memorise" in line)
    assert line.startswith("note: of 30 training images, fewer than 5,000, the preset recommended augments ")
    assert "`augment='translation,color,cutout'` (`augment='none'` for none)" in line
    for steps in (1, 2):
        parts = train(few_pictures(tmp_path / "parts", steps=steps), resume=steps == 2)
    assert run_cli("train", "--workdir", tmp_path / "parts", "--resume", "--steps", 3) == 0
    assert capsys.readouterr().out.count("memorise") == 1
    parts = load_run(tmp_path / "parts")
    assert parts.config.augment == FEW_PICTURES_AUGMENT
    assert_same_bits(parts.state, whole.state)
    refused = ["--workdir", tmp_path / "parts", "--resume", "--steps", 4, "--augment", "none"]
    assert run_cli("train", *refused) == 2
    assert "has --augment translation,color,cutout, not none" in one_error_line(capsys)


@pytest.mark.slow
def test_no_augmentation_can_be_chosen(tmp_path, monkeypatch, capsys):
    """It is that of a run from before the preset chose one, and such a run stays as it is."""
    compile_steps_quickly(monkeypatch)
    chosen = train(few_pictures(tmp_path / "chosen", steps=2, augment="none"))
    out = capsys.readouterr().out
    assert "augments what" not in out
    assert out.count("can memorise 30 images: `augment='translation,color,cutout'` helps against it") == 1
    assert chosen.state.augment is None
    before = tmp_path / "before"
    with monkeypatch.context() as patch:
        patch.setattr("dcgan_jax.training.setup.recommended_augmentation", lambda _: None)
        train(few_pictures(before, steps=1))
    assert load_run(before).config.augment is None
    capsys.readouterr()
    assert run_cli("train", "--workdir", before, "--resume", "--steps", 2, "--augment", "none") == 0
    assert_same_bits(load_run(before).state, chosen.state)


def test_new_run_has_the_augmentation_of_its_state(tmp_path):
    config = few_pictures(tmp_path / "run", steps=1)
    run_dir = create_run(config, *create_state(config, RunRecord((8, 8, 1))))
    assert load_run(run_dir).state.augment is None
