"""Scores as tuples, as JSON, as a line and as a table."""

import json

import pytest

from dcgan_jax.evaluation.results import (
    Evaluation,
    PerceptualScores,
    PixelScores,
    Scores,
    format_table,
    present_names,
    summary,
)

SHARES = {"영": 0.25, "one\nthing": 0.75, "two": 0.0}
SCORES = Scores(7.5, 0.125, 0.5, 0.25, 2.0, 0.75, SHARES, 0.5, ["two"], 3.0)
PERCEPTUAL = PerceptualScores(1.25, 0.5, 0.25, 3.0)
PIXELS = PixelScores({"16x24": 4.0}, 4.0, 3.0, 5.0)


def of(scores, features="0" * 64):
    return Evaluation(129, scores, scores, features)


def test_json_leaves_out_what_is_none():
    result = json.loads(json.dumps(of(SCORES).to_json()))
    assert result["scores"] == {name: value for name, value in SCORES._asdict().items() if value is not None}
    assert not {"second_fid", "as_asked"} & result["floor"].keys()
    assert of(SCORES._replace(second_fid=2.0, as_asked=0.5)).to_json()["scores"]["second_fid"] == 2.0


def test_second_fid_is_shown_where_it_is():
    assert "second" not in summary(of(SCORES)) + format_table(of(SCORES))
    both = of(SCORES._replace(second_fid=2.0))
    assert "by a second classifier 2.00 (2.00), " in summary(both)
    assert "FID by a second classifier" in format_table(both)


def test_perceptual_fid_is_shown_where_it_is():
    """Where there are more images than features; a run is followed by KID."""
    assert summary(of(PERCEPTUAL)).startswith("1,000 KID 1.25 (real images: 1.25), precision 0.500 (0.500), recall")
    assert "FID" not in format_table(of(PERCEPTUAL)) and "fid" not in of(PERCEPTUAL).to_json()["scores"]
    assert "FID" in format_table(of(PERCEPTUAL._replace(fid=2.0)))


@pytest.mark.parametrize(
    "scores", [SCORES, SCORES._replace(second_fid=2.0, as_asked=0.5), PIXELS, PERCEPTUAL._replace(fid=2.0)], ids=type
)
def test_table_has_a_line_for_each_score(scores):
    lines = format_table(of(scores)).splitlines()
    assert len({len(line) for line in lines}) == 1
    values = [value for value in scores if value is not None]
    # Each of the shares, or of the distances, has a line of its own.
    assert len(lines) == 1 + sum(len(value) if isinstance(value, dict) else 1 for value in values)


def test_missing_classes_are_named_or_counted():
    def missing(*names):
        lines = format_table(of(SCORES._replace(missing=list(names)))).splitlines()
        return next(line.split()[-1] for line in lines if "missing" in line), lines

    assert missing()[0] == "none"
    assert missing("3", "7")[0] == "7"
    assert "3 7" in str(missing("3", "7")[1])
    assert missing("Trouser", "Sandal")[0] == "2"


def test_names_that_are_present_stay():
    scores = of(SCORES).to_json()["scores"]
    assert present_names(scores) is scores
    assert present_names(PIXELS._asdict()) == PIXELS._asdict()
    assert present_names({"step": 5, "digits": "odd", "missing_digits": None}) == {
        "step": 5,
        "shares": "odd",
        "missing": None,
    }
