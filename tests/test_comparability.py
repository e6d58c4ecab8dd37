"""What makes the figures of two evaluations comparable."""

import pytest

from dcgan_jax.evaluation.classifier import SHA256
from dcgan_jax.evaluation.comparability import PERCEPTUAL, PIXELS, Comparability
from dcgan_jax.training.history import History, comparable_evaluations, figures


@pytest.mark.parametrize(
    ("features", "figure", "title", "text"),
    [
        (SHA256, "fid", "FID", "1,290 images"),
        ("ab" * 32, "fid", "FID", "1,290 images in the features abababababab"),
        (PERCEPTUAL, "kid_x1000", "KID times 1,000", "1,290 images in perceptual features"),
        (None, "swd_mean", "Sliced Wasserstein distance", "1,290 images by their pixels"),
    ],
)
def test_figure_and_its_names(features, figure, title, text):
    kind = Comparability.of({"samples": 1290, "features": features})
    assert (kind.figure, kind.title, str(kind)) == (figure, title, text)
    assert kind.by_pixels == (features is None)
    assert kind.name.lower() == title.lower()


def test_unnamed_features_are_the_packages_own():
    assert Comparability.of({"samples": 5}) == Comparability(SHA256, 5)
    assert Comparability.of({"samples": 5, "features": None}) == Comparability(PIXELS, 5)


def test_evaluations_are_grouped_by_it():
    def row(step, samples, **features):
        scores = {"fid": float(step), "swd_mean": 0.5}
        return {"step": step, "evaluation": {"samples": samples, "scores": scores, "floor": scores, **features}}

    rows = [row(1, 5), row(2, 6), row(3, 5, features=None), {"step": 4, "evaluation": None}, row(5, 5)]
    groups = comparable_evaluations(History([], rows))
    assert groups == {
        Comparability(SHA256, 5): [rows[0], rows[4]],
        Comparability(SHA256, 6): [rows[1]],
        Comparability(PIXELS, 5): [rows[2]],
    }
    assert figures(History([], rows))[Comparability(SHA256, 5)] == [(1.0, 1), (5.0, 5)]
    assert figures(History([], rows))[Comparability(PIXELS, 5)] == [(0.5, 3)]
