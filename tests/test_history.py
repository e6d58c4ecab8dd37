"""`read_history`: what a run has measured, whatever state its file is in."""

import json
import math

import pytest

from dcgan_jax.training.history import History, read_history

LOSSES = {"step": 1, "d_loss": 0.5, "g_loss": 1.0}
EVALUATION = {"samples": 129, "scores": {"fid": 8.5, "kid": 1.0}, "floor": {"fid": 1.0, "kid": 0.0}}
SCORED = {"step": 4, "weights": "last", "evaluation": EVALUATION}
FAILED = {"step": 8, "weights": "last", "evaluation": None}


def history(folder, *lines):
    (folder / "metrics.jsonl").write_bytes(b"".join(lines))
    return read_history(folder)


def line(row):
    return json.dumps(row).encode() + b"\n"


def test_rows_are_metrics_or_evaluations(tmp_path):
    """In their order; an evaluation that failed is a row too."""
    later = {**LOSSES, "step": 5}
    assert history(tmp_path, *map(line, (LOSSES, SCORED, later, FAILED))) == History([LOSSES, later], [SCORED, FAILED])


def test_run_without_rows_has_an_empty_history(tmp_path):
    assert read_history(tmp_path / "absent") == read_history(tmp_path) == history(tmp_path) == History([], [])


@pytest.mark.parametrize("cut", range(1, 34, 4))
def test_row_being_written_is_left_out(cut, tmp_path):
    assert history(tmp_path, line(LOSSES), line({**LOSSES, "step": 2})[:-cut]).metrics[:1] == [LOSSES]
    assert len(read_history(tmp_path).metrics) == (2 if cut == 1 else 1)


def test_values_that_are_not_finite_are_kept(tmp_path):
    (row,) = history(tmp_path, b'{"step": 3, "d_loss": NaN, "g_loss": Infinity}\n').metrics
    assert math.isnan(row["d_loss"])
    assert row["g_loss"] == math.inf


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\x00\x00\x00",
        b"\xff\xfe{",
        b"[" * 100_000,
        b"7",
        b'[{"step": 1}]',
        b'{"d_loss": 1.0}',
        b'{"step": "1", "d_loss": 1.0}',
        b'{"step": true, "d_loss": 1.0}',
        b'{"step": -1, "d_loss": 1.0}',
        b'{"step": 2, "d_loss": "low"}',
        b'{"step": 2, "d_loss": 1' + b"0" * 400 + b"}",
        b'{"step": 2, "evaluation": 7}',
        b'{"step": 2, "evaluation": {}}',
        json.dumps({**SCORED, "evaluation": {**EVALUATION, "samples": None}}).encode(),
        json.dumps({**SCORED, "evaluation": {**EVALUATION, "scores": {"fid": math.nan}}}).encode(),
        json.dumps({**SCORED, "evaluation": {**EVALUATION, "floor": [1]}}).encode(),
    ],
    ids=range(17),
)
def test_lines_that_are_no_rows_are_left_out(odd, tmp_path):
    assert history(tmp_path, line(LOSSES), odd + b"\n", line(SCORED)) == History([LOSSES], [SCORED])


def test_former_names_of_scores_are_read(tmp_path):
    """Scores of digits had names of their own."""
    former = {"fid": 8.5, "mnist_score": 9.0, "digits": [0.25, 0.75], "digit_kl": 0.5, "missing_digits": [3, 7]}
    scores = {"fid": 8.5, "class_score": 9.0, "shares": {"0": 0.25, "1": 0.75}, "class_kl": 0.5, "missing": ["3", "7"]}
    row = {"step": 4, "evaluation": {"samples": 129, "scores": former, "floor": former}}
    (read,) = history(tmp_path, line(row)).evaluations
    assert read == {"step": 4, "evaluation": {"samples": 129, "scores": scores, "floor": scores}}
