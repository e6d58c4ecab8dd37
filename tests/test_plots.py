"""Curves of runs, in whatever state the runs are."""

import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.evaluation.comparability import PERCEPTUAL
from dcgan_jax.plots import PlotError, save_plot, smooth
from dcgan_jax.training.history import History


def metrics(n, every=10):
    row = {"d_loss": 0.5, "d_accuracy": 0.7, "g_accuracy": 0.3}
    return [{"step": every * i, "g_loss": 1.0 + i % 2, **row} for i in range(n)]


def evaluation(step, fid):
    scored = {"samples": 129, "scores": {"fid": fid}, "floor": {"fid": 1.064}}
    return {"step": step, "weights": "last", "evaluation": None if fid is None else scored}


def texts(path, *arguments):
    """The texts of a plot as an SVG."""
    save_plot(path, *arguments)
    tree = xml.etree.ElementTree.parse(path)
    return {element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")}


def test_smoothed_curve_is_the_mean_around_each_step():
    steps = np.arange(10.0, 80, 10)
    np.testing.assert_array_equal(smooth(steps, steps**2, 1), [steps, steps**2])
    means = smooth(steps, np.array([0, 3, 3, 0, 6, 0, 0]), 3)
    np.testing.assert_allclose(means, [[20, 30, 40, 50, 60], [2, 2, 3, 2, 2]])
    assert [len(each) for each in smooth(steps, steps, 4)] == [4, 4]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plot_of_each_format(suffix, tmp_path):
    """The same rows make the same file."""
    runs = {"a": History(metrics(200), [evaluation(100, 20.0), evaluation(200, None), evaluation(300, 9.0)])}
    for name in ("one", "two"):
        save_plot(tmp_path / (name + suffix), runs)
    one, two = ((tmp_path / (name + suffix)).read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])


def test_runs_have_their_colours(tmp_path):
    save_plot(tmp_path / "a.png", {"a": History(metrics(200), []), "b": History(metrics(50, 30), [])})
    with Image.open(tmp_path / "a.png") as png:
        pixels = np.asarray(png.convert("RGB"))
    for colour in ([0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]):
        assert (pixels == colour).all(-1).any()


def test_fid_is_drawn_where_there_is_one(tmp_path):
    """With the floor, by whichever run has it."""
    scored, other = History([], [evaluation(100, 20.0)]), History(metrics(3), [])
    failed = History(metrics(3), [evaluation(1, None)])
    fid = {"FID (lower is better)", "real images: 1.06"}
    assert fid <= texts(tmp_path / "a.svg", {"a": scored, "b": other})
    assert not fid & texts(tmp_path / "b.svg", {"a": failed, "b": other})


def test_scores_of_other_images_have_their_own_axis(tmp_path):
    runs = {name: History(metrics(3), [evaluation(100, 20.0)]) for name in "abc"}
    same = texts(tmp_path / "a.svg", runs)
    assert same == texts(tmp_path / "b.svg", runs | {}, dict.fromkeys(runs, "mnist"))
    found = texts(tmp_path / "c.svg", runs, {"a": "mnist", "b": "kmnist", "c": "mnist"})
    assert found - same == {"of 129 images, of mnist", "of 129 images, of kmnist"}


@pytest.mark.parametrize("kids", [[300.0, 2.0, 0.0, -0.5], [-0.5, -0.2], [3.0, 2.0]])
def test_scores_of_0_and_less_are_drawn(kids, tmp_path):
    """As KIDs are, near the floor; a logarithmic axis has no place for them."""
    scored = {"samples": 129, "features": PERCEPTUAL, "floor": {"kid_x1000": -0.4}}
    rows = [{**scored, "scores": {"kid_x1000": kid}} for kid in kids]
    evaluations = [{"step": 100 * i, "weights": "last", "evaluation": row} for i, row in enumerate(rows)]
    drawn = texts(tmp_path / "a.svg", {"a": History(metrics(3), evaluations)})
    assert "real images: -0.40" in drawn
    assert not any("math" in text for text in drawn)  # labels of axes, which are no formulas


def test_calls_of_the_discriminator_are_drawn(tmp_path):
    """Of one run and of several, also if the images could not be scored."""
    calls = {"calls": {"train": 3.0, "held_out": 1.0, "fakes": -1.0, "overfitting": 0.5}}
    called = History(metrics(3), [{**evaluation(100, 20.0), **calls}, {**evaluation(200, None), **calls}])
    without = History(metrics(3), [evaluation(100, 20.0)])
    drawn = {"mean logit of the discriminator", "training images", "held-out images", "fakes"}
    assert drawn <= texts(tmp_path / "a.svg", {"a": called})
    assert drawn <= texts(tmp_path / "b.svg", {"a": without, "b": called})
    assert not drawn & texts(tmp_path / "c.svg", {"a": without})


@pytest.mark.parametrize("rows", [[], metrics(1), metrics(2), [{"step": 3}], [{"step": 1, "d_loss": float("nan")}]])
def test_runs_with_few_rows_are_drawn(rows, tmp_path):
    save_plot(tmp_path / "a.png", {"a": History(rows, [])})


def test_names_of_runs_are_no_markup(tmp_path):
    names = ["runs/$x_1$", "_hidden", "<img onerror=a>", "한글 run", "\\frac"]
    assert set(names) <= texts(tmp_path / "a.svg", dict.fromkeys(names, History(metrics(3), [])))
    save_plot(tmp_path / "a.png", dict.fromkeys(names, History(metrics(3), [])))


def test_settings_of_the_user_change_nothing(tmp_path, monkeypatch):
    """And are as they were afterwards."""
    import matplotlib

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    runs = {"a": History(metrics(5), [])}
    save_plot(tmp_path / "a.png", runs)
    with matplotlib.rc_context({"text.usetex": True, "lines.linestyle": ":", "savefig.facecolor": "red"}):
        save_plot(tmp_path / "b.png", runs)
        assert matplotlib.rcParams["text.usetex"]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_missing_matplotlib_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"this needs the package matplotlib: pip install 'dcgan-jax\[plot\]'"):
        save_plot(tmp_path / "a.png", {"a": History(metrics(3), [])})
    assert list(tmp_path.iterdir()) == []
