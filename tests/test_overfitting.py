"""Overfitting of the discriminator: what it is asked, what `r` says, the warning, and the images that are held out."""

import dataclasses
import itertools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_same_bits,
    metric_rows,
    one_error_line,
    read_tensorboard,
    run_cli,
)
from programs.small_recipe import SmallGenerator, init

from dcgan_jax import TrainConfig, init_state, train
from dcgan_jax.augment import adaptive, named_augmentation, translation
from dcgan_jax.data import Dataset, Reading
from dcgan_jax.evaluation import image_scorer
from dcgan_jax.evaluation.overfitting import (
    Called,
    Calls,
    choose_called,
    discriminator_calls,
    discriminator_logits,
    overfitting,
)
from dcgan_jax.evaluation.real_images import hold_out
from dcgan_jax.evaluation.results import Evaluation, PixelScores
from dcgan_jax.presets import FEW_PICTURES, FEW_PICTURES_AUGMENT
from dcgan_jax.report.charts import charts
from dcgan_jax.report.source import read_source
from dcgan_jax.report.tables import facts
from dcgan_jax.training import primary, scorer
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.history import History, calls_of
from dcgan_jax.training.overfitting import OverfittingDetector, note_few_images, remedy_for
from dcgan_jax.training.setup import load_images

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 8, 8, 1), np.uint8)  # all different
OVERFITTED, HEALTHY = Calls(3.0, 0.0, -1.0, 0.75), Calls(3.0, 2.9, -1.0, 0.025)


class Brightness(nn.Module):
    """Its logit is the mean of the pixels: the same for real images, whether it was trained on them or not."""

    @nn.compact
    def __call__(self, images, train=False):
        return images.mean((1, 2, 3))[:, None]


class Lookup(nn.Module):
    """It has memorised images: its logit is 1 for the images that it holds, and 0 for any other."""

    count: int

    @nn.compact
    def __call__(self, images, train=False):
        known = self.param("known", nn.initializers.zeros_init(), (self.count, 64))
        apart = jnp.abs(images.reshape(-1, 1, 64) - known).max(-1)  # [B, count]
        return (apart.min(-1, keepdims=True) < 1e-3).astype(jnp.float32)  # a level of a pixel is 1/255


class Deviation(nn.Module):
    """Its logit is the standard deviation of the batch, which depends on what is beside an image."""

    @nn.compact
    def __call__(self, images, train=False):
        return jnp.broadcast_to(images.std(0).mean(), (len(images), 1))


class OfClass(nn.Module):
    """Its logit is the number of the class, in bfloat16."""

    @nn.compact
    def __call__(self, images, train=False, labels=None):
        return jnp.asarray(labels, jnp.bfloat16)[:, None]


def gan(discriminator, **options):
    generator = SmallGenerator(classes=options.get("classes"))
    return init_state(jax.random.key(0), generator=generator, discriminator=discriminator, latent_size=5, **options)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "images.npy"
    np.save(path, IMAGES)
    return str(path)


@pytest.fixture
def unscored(monkeypatch):
    """Evaluations take no time: their images all have the same scores."""
    scores = PixelScores({}, 1.0, 1.0, 1.0)
    monkeypatch.setattr(scorer, "scorer_of_images", lambda *_: (lambda images, _: Evaluation(2, scores, scores), 2))


def test_r_by_hand():
    """Half way from training images to fakes, at the one, at the other, and beyond."""
    train, fakes = np.array([1.0, 3.0]), np.array([-2.0, -2.0])
    for held_out, r in (([2.0], 0), ([0.0, 0.0, 0.0], 0.5), ([-2.0], 1), ([3.0, 5.0], -0.5), ([-4.0], 1.5)):
        assert overfitting(train, np.array(held_out), fakes) == r


def test_r_is_the_same_for_every_loss():
    """A critic's logits have another scale, and those of pairs any constant. Rounding alone is left."""
    each = [RANDOM.normal(mean, 1, 500) for mean in (2, 1, -1)]
    assert overfitting(*(40 * logits - 7 for logits in each)) == pytest.approx(overfitting(*each), rel=1e-12)


def test_discriminator_at_chance_has_no_r():
    """Nor has one that takes fakes for more real, or that is not finite."""
    same = RANDOM.normal(0, 1, (3, 500))
    assert overfitting(*same) is None
    assert overfitting(np.zeros(5), np.zeros(5), np.zeros(5)) is None
    assert overfitting(np.zeros(5), np.zeros(5), np.ones(5)) is None
    assert overfitting(np.array([np.inf, 1]), np.zeros(2), np.zeros(2)) is None
    assert "overfitting" not in Calls(0.0, 0.0, 0.0, None).to_json()


def test_same_distribution_has_r_0(key):
    """To five standard errors: that of a mean brightness of 500 images of 64 even pixels from 128 to 255 of 255."""
    images = RANDOM.integers(128, 256, (1000, 8, 8, 1), np.uint8)
    calls = discriminator_calls(gan(Brightness()), key, Called(Dataset(images[:500]), Dataset(images[500:])))
    error = 128 / 255 / np.sqrt(12 * 64) * np.sqrt(2 / 500)
    assert calls.overfitting is not None
    assert abs(calls.overfitting) < 5 * error / (calls.train - calls.fakes)
    assert calls.train == pytest.approx(images[:500].mean() / 255, rel=1e-5)  # means of 64 numbers in float32
    assert calls.held_out == pytest.approx(images[500:].mean() / 255, rel=1e-5)


def test_discriminator_that_memorised_has_r_1(key):
    state = gan(Lookup(40))
    known = {"known": jnp.asarray(IMAGES[:40].reshape(40, 64) / 255, jnp.float32)}
    state = state.replace(discriminator=state.discriminator.replace(params=known))
    called = Called(Dataset(IMAGES[:40]), Dataset(IMAGES[40:]))
    assert discriminator_calls(state, key, called) == Calls(1.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_any_number_of_images_is_judged(count):
    images = RANDOM.integers(0, 256, (count, 8, 8, 1), np.uint8)
    logits = discriminator_logits(gan(Brightness()), images)
    assert (logits.shape, logits.dtype) == ((count,), np.float64)
    np.testing.assert_allclose(logits, images.mean((1, 2, 3)) / 255, rtol=1e-5)
    # The last batch is filled up with images, and not with black.
    alike = np.tile(np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1))]), (count, 1, 1, 1))
    np.testing.assert_allclose(discriminator_logits(gan(Deviation()), alike), 0.5, rtol=1e-5)


def test_labels_are_those_of_the_images(key):
    """Fakes are of the classes of the training images."""
    labels = np.arange(60, dtype=np.int32) % 3
    data = Dataset(IMAGES, labels, ("a", "b", "c"))
    called = Called(data.rows(np.flatnonzero(labels == 1)), data.rows(np.flatnonzero(labels == 2)))
    assert discriminator_calls(gan(OfClass(), classes=3), key, called) == Calls(1.0, 2.0, 1.0, None)


def test_called_images_are_always_the_same():
    data = hold_out(Dataset(np.arange(700, dtype=np.uint8).reshape(700, 1, 1, 1)), 20, "x")
    assert data.held_out is not None
    called = choose_called(data, data.held_out)
    assert [len(each.images) for each in called] == [500, 20]
    np.testing.assert_array_equal(called.train.images, choose_called(data, data.held_out).train.images)


def test_held_out_images_are_not_trained_on():
    """Both parts together are the images, in their order; more hold out those that fewer do."""
    numbers = np.arange(60, dtype=np.int32)
    data = Dataset(IMAGES, numbers, tuple(map(str, numbers)))
    kept, more = (hold_out(data._replace(labels=None), count, "x") for count in (10, 20))
    assert kept.held_out is not None and more.held_out is not None
    apart = {each.tobytes() for each in kept.held_out.images}
    assert (len(kept.images), len(apart)) == (50, 10)
    assert apart | {each.tobytes() for each in kept.images} == {each.tobytes() for each in IMAGES}
    assert apart < {each.tobytes() for each in more.held_out.images}
    assert kept.notes == ("10 of 60 images held out of training",)


def test_held_out_images_never_change():
    """Runs resume with them whatever the version of NumPy."""
    data = hold_out(Dataset(np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)), 10, "x")
    assert data.held_out is not None
    assert data.held_out.images.ravel().tolist() == [1, 2, 4, 6, 8, 10, 13, 17, 18, 19]


def test_evaluations_compare_with_the_held_out_images(monkeypatch):
    """They are the test split: neither a part of the floor nor among the nearest training images."""
    asked = []
    monkeypatch.setattr(image_scorer, "compare_images", lambda images, train, test: asked.append((train, test)))
    data = hold_out(Dataset(IMAGES), 20, "x")
    score, most = image_scorer.scorer_of_images(data, "x", Reading(), None)
    score(IMAGES, None)
    assert data.held_out is not None
    np.testing.assert_array_equal(asked[0][0], data.images)
    np.testing.assert_array_equal(asked[0][1], data.held_out.images)
    assert most == 40


def test_digest_has_the_held_out_images():
    data = hold_out(Dataset(IMAGES), 10, "x")
    assert data.held_out is not None
    other = data.held_out._replace(images=255 - data.held_out.images)
    assert len({data.digest(), data._replace(held_out=other).digest(), data._replace(held_out=None).digest()}) == 3


def test_warning_is_of_two_evaluations_in_a_row():
    untold = Calls(0.0, 0.0, 0.0, None)
    for between in (HEALTHY, untold):
        detector = OverfittingDetector(500, "Help.")
        lines = [detector.observe(calls) for calls in (OVERFITTED, between, OVERFITTED, OVERFITTED, OVERFITTED)]
        (line,) = filter(None, lines)
        assert lines[3] == line
        assert line.startswith("the discriminator memorises its 500 training images: at 2 evaluations in a row ")
        assert line.endswith("(r 0.75; 0 is as training images, 1 as fakes). Help.")


@pytest.mark.parametrize("stop", range(6))
def test_warning_is_not_repeated_after_resuming(stop):
    calls = [HEALTHY, OVERFITTED, OVERFITTED, HEALTHY, OVERFITTED, OVERFITTED]
    first = OverfittingDetector(500, "")
    lines = [first.observe(each) for each in calls[:stop]]
    resumed = OverfittingDetector(500, "", json.loads(json.dumps(first.state_dict())))
    lines += [resumed.observe(each) for each in calls[stop:]]
    assert [bool(line) for line in lines] == [False, False, True, False, False, False]


def test_remedy_is_what_the_run_lacks():
    for lacking in (gan(Brightness()), gan(Brightness(), augment=translation)):
        assert "a new run with `augment='translation,color,cutout'`" in remedy_for(lacking, recipe=False)
        assert "a new run with an augmentation in the recipe" in remedy_for(lacking, recipe=True)
    strong = FEW_PICTURES_AUGMENT, f"flip,{FEW_PICTURES_AUGMENT}"
    for augment in (adaptive(translation), *map(named_augmentation, strong)):
        augmented = gan(Brightness(), augment=augment)
        for recipe in (False, True):
            assert remedy_for(augmented, recipe).startswith(
                "What it sees is augmented already. Remedies: more pictures"
            )


def test_note_is_for_few_images_without_remedy():
    plain = gan(Brightness())
    assert "`augment='translation,color,cutout'` helps against it" in str(
        note_few_images(plain, FEW_PICTURES - 1, called=False, recipe=False)
    )
    assert note_few_images(plain, FEW_PICTURES, called=False, recipe=False) is None
    assert note_few_images(plain, 500, called=True, recipe=False) is None
    assert note_few_images(gan(Brightness(), augment=translation), 500, called=False, recipe=False) is None


def config_of(pictures, run_dir, **options):
    """Evaluations at steps 2, 4 and 6."""
    options = {"steps": 6, "batch_size": 2, "eval_every": 2, "hold_out": 20, **options}
    return TrainConfig(dataset=pictures, workdir=str(run_dir), **options)


def test_rows_have_the_calls_also_after_resuming(pictures, tmp_path, capsys, unscored):
    whole = train(config_of(pictures, tmp_path / "whole", tensorboard=True), init=init)
    for steps in (3, 6):
        parts = train(config_of(pictures, tmp_path / "parts", steps=steps), init=init, resume=steps == 6)
    assert_same_bits(parts.state, whole.state)
    assert metric_rows(tmp_path / "parts") == metric_rows(tmp_path / "whole")
    rows = [row for row in metric_rows(tmp_path / "whole") if "evaluation" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    logged = {(step, name): value for step, name, value in read_tensorboard(tmp_path / "whole")}
    for row in rows:
        assert {"train", "held_out", "fakes"} <= set(row["calls"])
        assert logged[row["step"], "calls/held_out"] == np.float32(row["calls"]["held_out"])
    out = capsys.readouterr().out
    assert f"{pictures}: 20 of 60 images held out of training" in out
    assert "\n2: the discriminator's mean logit of training images " in out
    assert "memorise" not in out


def test_calls_are_of_the_generator_that_is_trained(pictures, tmp_path, unscored):
    """Not of its average, which the discriminator never sees; and of the images that the run is trained on."""
    config = config_of(pictures, tmp_path / "run", steps=2)

    def averaging(key, shape, classes):
        return dataclasses.replace(init(key, shape, classes), ema=gan(Brightness(), ema=0.9).ema)

    state = train(config, init=averaging).state
    (row,) = (row for row in metric_rows(tmp_path / "run") if "evaluation" in row)
    assert row["weights"] == "average 0.9"
    data = load_images(config)
    assert data.held_out is not None
    key = create_state(config, init=init)[1]["evaluation"]
    assert row["calls"] == discriminator_calls(state, key, choose_called(data, data.held_out)).to_json()


def test_run_warns_once_also_across_a_resume(pictures, tmp_path, monkeypatch, capsys, unscored):
    """At the second evaluation; the run does not stop for it."""
    monkeypatch.setattr(primary, "discriminator_calls", lambda *_: OVERFITTED)
    outcomes = [
        train(config_of(pictures, tmp_path / "run", steps=steps, stop_on_collapse=True), init=init, resume=steps > 3)
        for steps in (3, 5, 8)
    ]
    assert not any(outcome.collapsed for outcome in outcomes)
    lines = [line for line in capsys.readouterr().out.splitlines() if "memorise" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: at step 4 the discriminator memorises its 40 training images")


def test_test_split_is_used_where_there_is_one(tmp_path, monkeypatch, capsys, unscored):
    asked = []
    monkeypatch.setattr(primary, "discriminator_calls", lambda state, key, called: asked.append(called) or HEALTHY)
    np.savez(tmp_path / "a.npz", x_train=IMAGES[:40], x_test=IMAGES[40:])
    config = TrainConfig(
        dataset=str(tmp_path / "a.npz"), workdir=str(tmp_path / "run"), steps=2, batch_size=2, eval_every=2
    )
    train(config, init=init)
    ((train_images, held_out),) = asked
    assert {each.tobytes() for each in train_images.images} == {each.tobytes() for each in IMAGES[:40]}
    assert {each.tobytes() for each in held_out.images} == {each.tobytes() for each in IMAGES[40:]}
    assert "note: a discriminator can learn" not in capsys.readouterr().out
    run = ["train", "--dataset", config.dataset, "--batch-size", 2, "--workdir", tmp_path / "other"]
    assert run_cli(*run, "--hold-out", 10) == 2
    assert "has one, with which evaluations compare (--eval-every N): leave it out" in one_error_line(capsys)
    assert not (tmp_path / "other").exists()


def test_run_without_held_out_images_has_no_calls(pictures, tmp_path, capsys, unscored):
    """One line at its start says what shows and prevents overfitting."""
    config = config_of(pictures, tmp_path / "run", hold_out=None, steps=2)
    train(config, init=init)
    assert "calls" not in metric_rows(tmp_path / "run")[-1]
    note = "note: a discriminator can memorise 60 images: an augmentation in the recipe helps against it, "
    assert capsys.readouterr().out.count(note) == 1
    train(dataclasses.replace(config, steps=3), init=init, resume=True)
    assert "memorise" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hold-out", 60], "--hold-out must be less than 60, the images of "),
        (["--hold-out", 9], "--hold-out must be between 10 and "),
        (["--hold-out", 59], "--batch-size must be at most 1, the images of "),
    ],
)
def test_too_many_or_too_few_are_refused(flags, message, pictures, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert run_cli("train", "--dataset", pictures, "--batch-size", 2, "--workdir", run_dir, *flags) == 2
    assert message in capsys.readouterr().err
    assert not run_dir.exists()


def test_class_that_is_all_held_out_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.arange(60))
    flags = ["--dataset", tmp_path / "a.npz", "--conditional", "--batch-size", 2, "--hold-out", 10]
    assert run_cli("train", *flags, "--workdir", tmp_path / "run") == 2
    assert "--hold-out 10 leaves no image of the class " in one_error_line(capsys)


def test_number_of_held_out_images_is_fixed(pictures, tmp_path, capsys, unscored):
    train(config_of(pictures, tmp_path, steps=2), init=init)
    capsys.readouterr()
    recipe = ["--recipe", init.__code__.co_filename]
    assert run_cli("train", "--workdir", tmp_path, "--resume", "--steps", 3, "--hold-out", 10, *recipe) == 2
    assert "has --hold-out 20, not 10: keep the run's" in one_error_line(capsys)


def test_calls_are_read_from_rows():
    """Those of earlier versions have none; what is no number counts as none."""
    calls = {"train": 1.0, "held_out": 0, "fakes": -1.0, "overfitting": 0.5}
    odd = [None, 7, {}, {"train": 1.0}, {**calls, "train": "x"}, {**calls, "fakes": float("nan")}]
    rows = [{"step": 1}, {"step": 2, "calls": calls}, *({"step": 3, "calls": each} for each in odd)]
    assert calls_of(History([], rows)) == [(2, calls)]


def test_charts_of_one_run_and_of_several(pictures, tmp_path, monkeypatch, unscored):
    answers = itertools.cycle([OVERFITTED, Calls(1.0, 1.0, 1.0, None), HEALTHY])
    monkeypatch.setattr(primary, "discriminator_calls", lambda *_: next(answers))
    train(config_of(pictures, tmp_path / "run"), init=init)
    source = read_source(tmp_path / "run")
    (chart,) = (chart for chart in charts([source], 100) if chart["title"] == "Mean logit of the discriminator")
    labels = ["Training images", "Held-out images", "Generated images"]
    assert [(line["label"], line["x"]) for line in chart["lines"]] == [(label, [2, 4, 6]) for label in labels]
    assert [line["y"] for line in chart["lines"]] == [[3.0, 1.0, 3.0], [0.0, 1.0, 2.9], [-1.0, 1.0, -1.0]]
    assert ("Overfitting", "r 0.03 at step 6: 0 none, 1 all memorised") in facts(source)
    (chart,) = (chart for chart in charts([source, source], 100) if chart["title"].startswith("Overfitting"))
    assert [(line["x"], line["y"]) for line in chart["lines"]] == [([2, 6], [0.75, 0.025])] * 2
