import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_same_bits, contents, one_line, rows

from dcgan_jax import cli, evaluate, evaluate_images, load_dataset, load_labels
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.evaluation.classifier import WEIGHTS, ClassifierError, classify, load_classifier
from dcgan_jax.evaluation.scoring import EvaluationError, draw_many, table
from dcgan_jax.training.writer import _best_evaluated
from dcgan_jax.training.run import restore_run
from dcgan_jax.training.run_dir import drop_rows_after
from dcgan_jax.sampling import sample


@pytest.fixture(scope="session")
def real(mnist):
    """600 training images at random: their order is that of the writers."""
    return mnist[np.random.default_rng(1).choice(len(mnist), 600, replace=False)]


def test_the_classifier_reads_99_3_percent_of_the_test_images():
    logits, features = classify(load_dataset(split="test"))
    assert (logits.argmax(-1) == load_labels(split="test")).mean() >= 0.993
    assert features.shape == (10_000, 128)
    assert (features >= 0).all()


def test_the_classifiers_weights_are_small_and_damage_is_told(tmp_path, monkeypatch):
    assert WEIGHTS.stat().st_size <= 1_000_000
    damaged = bytearray(WEIGHTS.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "weights.npz").write_bytes(damaged)
    monkeypatch.setattr("dcgan_jax.evaluation.classifier.WEIGHTS", tmp_path / "weights.npz")
    with pytest.raises(ClassifierError, match="weights.npz is damaged"):
        load_classifier()
    (tmp_path / "weights.npz").unlink()
    with pytest.raises(ClassifierError, match="cannot read"):
        load_classifier()


def test_an_answer_does_not_depend_on_the_images_beside_it(real):
    logits, features = classify(real)
    some, their_features = classify(real[100:103])
    # Products of another shape may sum in another order; features and logits are sums of at most 864 terms.
    np.testing.assert_allclose(some, logits[100:103], atol=1e-4)
    np.testing.assert_allclose(their_features, features[100:103], atol=1e-4)


def test_real_images_score_as_the_floor_does(real):
    result = evaluate_images(real)
    scores, floor = result.scores, result.floor
    assert result.samples == 600
    assert floor.fid / 2 < scores.fid < 2 * floor.fid  # random sets of 600 are between 6 and 9, noise is at thousands
    assert abs(scores.kid) < 0.05 * evaluate_images(noise(600)).scores.kid
    for value, real_value in ((scores.precision, floor.precision), (scores.recall, floor.recall)):
        assert value == pytest.approx(real_value, abs=0.05)  # shares of 600 have a deviation of at most 0.02
    assert 9.5 < scores.mnist_score <= 10
    assert scores.confident > 0.95
    assert sum(scores.digits) == pytest.approx(1)
    assert scores.missing_digits == []
    assert scores.nearest == 0  # they are training images
    assert floor.nearest > 4


def noise(n):
    return np.random.default_rng(0).random((n, 28, 28, 1))


def test_noise_is_far_from_digits(real):
    ours, theirs = evaluate_images(noise(300)).scores, evaluate_images(real[:300]).scores
    assert ours.fid > 10 * theirs.fid
    assert ours.precision < 0.05
    assert ours.recall < 0.05
    assert ours.nearest > 10


def test_one_digit_alone_is_seen(mnist):
    threes = mnist[load_labels() == 3][:500]
    scores = evaluate_images(threes).scores
    assert scores.digits[3] > 0.99
    assert scores.digit_kl == pytest.approx(np.log(10), rel=0.05)
    assert len(scores.missing_digits) >= 6
    assert scores.mnist_score < 1.2
    assert scores.recall < 0.5


def test_bytes_and_floats_of_the_same_images_score_the_same(real):
    as_floats = real[:200, :, :, 0].astype(np.float32) / 255
    assert evaluate_images(as_floats) == evaluate_images(real[:200])
    assert evaluate_images(jnp.asarray(as_floats + 0.001)) == evaluate_images(real[:200])  # less than half a byte


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((200, 28, 28, 3)), r"must be \[N, 28, 28, 1\] or \[N, 28, 28\], got \[200, 28, 28, 3\]"),
        (np.zeros((200, 784)), r"got \[200, 784\]"),
        (noise(128), "at least 129 images are needed, one more than there are features, got 128"),
        (noise(0), "at least 129 images are needed"),
        (np.zeros((60_001, 28, 28), np.uint8), "at most 60,000 images can be scored, got 60,001"),
        (np.where(np.arange(28)[:, None] == 5, np.nan, noise(200)), "5,600 pixels are NaN or infinite"),
        (noise(200) * 255, r"must be in \[0, 1\], got values from .* to 255"),
        (noise(200) * 1e300, r"must be in \[0, 1\], got values from .* to 1e\+300"),
        (noise(200) * 2 - 1, r"must be in \[0, 1\], got values from -1 to 1"),
        (np.zeros((200, 28, 28), np.int64), r"uint8 or floating point in \[0, 1\], got int64"),
        (np.zeros((200, 28, 28), np.uint8), "all images are the same"),
        (np.full((200, 28, 28), 0.3), "all images are the same"),
    ],
)
def test_what_cannot_be_scored_is_told(images, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate_images(images)


def test_many_images_are_drawn_as_few_are(state, key):
    images = draw_many(state, key, 3)
    assert images.shape == (3, 28, 28, 1)
    np.testing.assert_allclose(images, sample(state, key, 3), atol=1e-5)  # sums in another order


@pytest.mark.parametrize("samples", [-1, 0, 128, 60_001])
def test_a_number_of_samples_out_of_range_is_told(samples, state, key):
    with pytest.raises(EvaluationError, match=f"samples must be 129 to 60,000, got {samples}"):
        evaluate(state, key, samples)


def test_images_of_another_shape_are_told_before_they_are_drawn(small_state, key):
    with pytest.raises(EvaluationError, match=r"\[28, 28, 1\], can be scored, got \[8, 8, 1\]"):
        evaluate(small_state, key)


def run(*argv):
    return cli.main(list(map(str, argv)))


def test_evaluate_prints_a_table_and_json_and_changes_nothing(finished, capsys):
    folder, _ = finished
    before = contents(folder)
    assert run("evaluate", folder, "--samples", 150) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"{folder} at step 11, last weights: 150 images; floor: as many real ones"
    assert "FID (lower is better)" in out
    assert run("evaluate", folder, "--samples", 150, "--checkpoint", 8, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["run"], result["step"], result["weights"], result["samples"]) == (str(folder), 8, "last", 150)
    assert set(result["scores"]) == set(result["floor"])
    assert result["scores"]["fid"] > result["floor"]["fid"]
    assert contents(folder) == before


def test_evaluate_scores_an_npy_of_another_program(real, tmp_path, capsys):
    np.save(tmp_path / "theirs.npy", real[:150])
    assert run("evaluate", tmp_path / "theirs.npy", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == str(tmp_path / "theirs.npy")
    assert result["scores"] == evaluate_images(real[:150]).to_json()["scores"]


def test_evaluate_tells_what_it_cannot_use_in_one_line(finished, tmp_path, capsys):
    folder, _ = finished
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}, None]))
    for argv, message in [
        ([tmp_path / "nowhere"], "holds no readable config.json"),
        ([folder, "--checkpoint", 7], "has no checkpoint 7 to read: it has"),
        ([folder, "--samples", 128], "--samples must be 129 to 60000, got 128"),
        ([folder, "--samples", "many"], "invalid int value: 'many'"),
        ([folder, "--weights", "average"], "keeps no average: it was trained without --ema"),
        ([tmp_path / "none.npy"], "No such file"),
        ([tmp_path / "text.npy"], "it is not a whole .npy of numbers"),
        ([tmp_path / "objects.npy"], "it is not a whole .npy of numbers"),
        ([tmp_path / "text.npy", "--samples", 200], "--samples is for runs"),
        (["caf\udce9.npy"], "file names must be printable text, got 'caf\\udce9.npy'"),
    ]:
        try:
            assert run("evaluate", *argv) == 2
        except SystemExit as done:  # argparse's own
            assert done.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err


def test_sample_draws_a_picture_or_an_array(finished, tmp_path, capsys):
    folder, _ = finished
    assert run("sample", folder, "--samples", 5, "--out", tmp_path / "five.npy") == 0
    assert "5 images" in capsys.readouterr().out
    images = np.load(tmp_path / "five.npy")
    assert (images.shape, images.dtype) == ((5, 28, 28, 1), np.uint8)
    assert run("sample", folder, "--samples", 5, "--seed", 1, "--out", tmp_path / "other.npy") == 0
    assert (np.load(tmp_path / "other.npy") != images).any()
    assert run("sample", folder, "--out", tmp_path / "grid.png") == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    for flags in (
        ["--out", tmp_path / "five.npy"],
        ["--out", "x.jpg"],
        ["--samples", 0],
        ["--seed", -1],
        ["--out", "\udce9.png"],
    ):
        capsys.readouterr()
        assert run("sample", folder, *flags) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (np.load(tmp_path / "five.npy") == images).all()


def test_the_table_has_every_score(real):
    result = evaluate_images(real[:150])
    text = table(result)
    for value in (result.scores.fid, result.floor.fid, result.scores.nearest, result.floor.nearest):
        assert f"{value:.3f}" in text
    assert len(text.splitlines()) == 20
    assert len({len(line) for line in text.splitlines()}) == 1


@pytest.fixture(scope="session")
def evaluated(run_python, tmp_path_factory):
    """Two runs of ten steps with an average and evaluations, one of them stopped after seven; their folders."""
    folder = tmp_path_factory.mktemp("evaluated")
    flags = "--batch-size 2 --sample-every 5 --checkpoint-every 4 --keep-checkpoints 1 --log-every 3 --ema 0.9 "
    flags += "--eval-every 3 --eval-samples 129"
    out = run_python(
        f"""
        from dcgan_jax import cli
        for line in (
            "--steps 10 --workdir {folder}/whole {flags}",
            "--steps 7 --workdir {folder}/halved {flags}",
            "--steps 10 --workdir {folder}/halved --resume",
        ):
            assert cli.train_main(line.split()) == 0
        """
    )
    assert out.count("pictures and evaluations use the average of the generator's weights (--ema 0.9)") == 3
    return folder / "whole", folder / "halved"


def test_training_evaluates_and_keeps_the_best_checkpoint_beside_the_newest(evaluated):
    folder, _ = evaluated
    scored = {row["step"]: row for row in rows(folder) if "evaluation" in row}
    assert list(scored) == [3, 6, 9]
    assert {row["weights"] for row in scored.values()} == {"average 0.9"}
    best = min(scored, key=lambda step: scored[step]["evaluation"]["scores"]["fid"])
    assert checkpoint_steps(folder / "checkpoints") == sorted({10, best}, reverse=True)
    assert [row["step"] for row in rows(folder) if "d_loss" in row] == [1, 3, 6, 9]


def test_a_run_resumed_has_the_same_evaluations_average_and_pictures(evaluated):
    whole, halved = evaluated
    assert rows(whole) == rows(halved)
    assert_same_bits(restore_run(whole).state, restore_run(halved).state)
    for name in ("5.png", "10.png"):
        assert (whole / "samples" / name).read_bytes() == (halved / "samples" / name).read_bytes()


def test_evaluate_and_sample_draw_with_the_average_where_there_is_one(evaluated, tmp_path, capsys):
    folder, _ = evaluated
    step = checkpoint_steps(folder / "checkpoints")[-1]
    (row,) = [row for row in rows(folder) if row["step"] == step and "evaluation" in row]
    assert run("evaluate", folder, "--checkpoint", step, "--samples", 129, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["weights"] == "average 0.9"
    assert result["scores"] == row["evaluation"]["scores"]  # the same noise as in training
    assert run("evaluate", folder, "--weights", "last", "--samples", 129, "--json") == 0
    assert json.loads(capsys.readouterr().out)["weights"] == "last"
    assert run("sample", folder, "--out", tmp_path / "a.npy") == 0
    assert "average 0.9 weights" in capsys.readouterr().out
    assert run("sample", folder, "--weights", "last", "--out", tmp_path / "b.npy") == 0
    assert (np.load(tmp_path / "a.npy") != np.load(tmp_path / "b.npy")).any()


def test_the_checkpoint_of_the_best_evaluation_is_kept_whenever_the_run_was_interrupted(run_python, tmp_path):
    """Evaluations at steps 3, 6 and 9 that score 1, 3 and 2."""
    run_python(
        f"""
        from dcgan_jax import cli, records
        from dcgan_jax.evaluation.scoring import Evaluation, Scores
        def score(state, key, samples):
            fid = {{3: 1.0, 6: 3.0, 9: 2.0}}[int(state.step)]
            scores = Scores(fid, *[0.0] * 5, [0.1] * 10, 0.0, [], 0.0)
            return Evaluation(samples, scores, scores)
        records.evaluate = score
        flags = "--batch-size 2 --checkpoint-every 2 --keep-checkpoints 1 --eval-every 3".split()
        for stops in ([10], [3, 10], [4, 7, 10], [9, 10]):
            folder = ["--workdir", f"{tmp_path}/" + "-".join(map(str, stops))]
            for i, stop in enumerate(stops):
                assert cli.train_main([*folder, "--steps", str(stop), *(["--resume"] if i else flags)]) == 0
        # Switched off, no more of them are made, and the best one's stays.
        folder = ["--workdir", "{tmp_path}/off"]
        assert cli.train_main([*folder, "--steps", "4", *flags]) == 0
        assert cli.train_main([*folder, "--steps", "8", "--resume", "--eval-every", "none"]) == 0
        """
    )
    for name in ("10", "3-10", "4-7-10", "9-10"):
        assert checkpoint_steps(tmp_path / name / "checkpoints") == [10, 3], name
    assert checkpoint_steps(tmp_path / "off" / "checkpoints") == [8, 3]
    assert [row["step"] for row in rows(tmp_path / "off") if "evaluation" in row] == [3]


def test_rows_edited_by_hand_neither_end_a_run_nor_count(evaluated, tmp_path, capsys):
    folder = shutil.copytree(evaluated[0], tmp_path / "run")
    before = (folder / "metrics.jsonl").read_text()
    odd = ['{"step": 4, "evaluation": 7}', '{"step": 4, "evaluation": {"scores": {}}}', "[" * 100_000, '{"step": "x"}']
    text = "\ufeff" + before + "\n".join(odd)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    drop_rows_after(folder / "metrics.jsonl", 9)
    best = _best_evaluated(folder, 129)
    assert best is not None
    assert best[1] in checkpoint_steps(folder / "checkpoints")
    assert _best_evaluated(folder, 150) is None  # scores of another number of images are others
    assert (folder / "metrics.jsonl").read_text().startswith(before)


def test_a_run_whose_settings_are_not_its_checkpoints_is_told(evaluated, tmp_path, capsys):
    folder = shutil.copytree(evaluated[0], tmp_path / "run")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"ema": 0.9', '"ema": 0.5'))
    assert run("evaluate", folder, "--samples", 129) == 2
    assert "has ema 0.9, not 0.5" in one_line(capsys)


def test_images_that_cannot_be_scored_do_not_end_a_run(run_python, tmp_path):
    out = run_python(
        f"""
        from dcgan_jax import cli, evaluation
        evaluation.draw_many = lambda state, key, n: evaluation.np.zeros((n, 28, 28, 1), "float32")
        flags = ["--steps", "2", "--batch-size", "2", "--eval-every", "1", "--eval-samples", "129"]
        print(cli.train_main([*flags, "--workdir", {str(tmp_path / "run")!r}]))
        """
    )
    assert "warning: at step 1 nothing could be evaluated: all images are the same" in out
    assert out.splitlines()[-1] == "0"
    assert [row["evaluation"] for row in rows(tmp_path / "run") if "evaluation" in row] == [None, None]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--eval-every", 5, "--dataset", "kmnist"], "only mnist can be evaluated"),
        (["--eval-every", 5, "--eval-samples", 100], "--eval-samples must be 129 to 60000, got 100"),
        (["--eval-every", 0], "--eval-every must be between 1 and"),
        (["--ema", 1], "--ema must be above 0 and below 1, got 1.0"),
        (["--ema", "nan"], "--ema must be above 0 and below 1, got nan"),
        (["--fakes", "eval"], "--fakes must be one of inference, training"),
    ],
)
def test_settings_of_evaluation_out_of_range_are_told(flags, message, tmp_path, capsys):
    assert run("train", *flags, "--workdir", tmp_path / "run") == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "run").exists()
