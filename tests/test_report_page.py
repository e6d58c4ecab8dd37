"""The page of `report` in a browser: it can be read, moved and heard, and asks for nothing from elsewhere."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import evaluation_row, write_run

from dcgan_jax import TrainConfig
from dcgan_jax.report import read_source, write_report
from dcgan_jax.training.record import RunRecord

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports of one run, two, one whose texts look like markup, one at its first step, and one without any."""
    folder = tmp_path_factory.mktemp("reports")
    evaluations = [evaluation_row(step, 1000 / step) for step in (250, 500)]
    one = write_run(folder / "one", evaluations=evaluations)
    record = RunRecord((64, 64, 3), (HOSTILE, "</script>"))
    hostile = write_run(folder / HOSTILE, TrainConfig(conditional=True, dataset=HOSTILE), record)
    empty = write_run(folder / "empty", rows=0, grids=(), checkpoint=False)
    first = write_run(folder / "first", rows=1, evaluations=evaluations[:1], grids=(0,))
    np.save(folder / "images.npy", np.random.default_rng(1).integers(0, 256, (60, 8, 8, 1), np.uint8))
    config = TrainConfig(dataset=str(folder / "images.npy"), hold_out=20)
    near = write_run(folder / "near", config, RunRecord((8, 8, 1)))
    gone = write_run(folder / "gone", TrainConfig(dataset=str(folder / "gone.npy")), RunRecord((8, 8, 1)))
    groups = {
        "near": [near],
        "near and gone": [near, gone],
        "one": [one],
        "two": [one, hostile],
        "hostile": [hostile],
        "first": [first],
        "empty": [empty],
    }
    for name, runs in groups.items():
        write_report([read_source(run) for run in runs], folder / f"{name}.html", nearest="near" in name)
    return folder


def test_slider_moves_the_picture(reports, open_page):
    """By pointer and by keyboard; the picture and its text follow."""
    page = open_page(reports / "one.html")
    picture, slider = page.locator(".pictures img").first, page.get_by_label("Step", exact=True)
    assert picture.get_attribute("alt") == "Samples of one at step 500"
    last = picture.get_attribute("src")
    slider.press("Home")
    assert picture.get_attribute("alt").endswith("at step 0")
    assert picture.get_attribute("src") != last
    assert slider.get_attribute("aria-valuetext") == "step 0"
    slider.press("ArrowRight")
    assert page.locator("figcaption").first.inner_text() == "Samples at step 1"
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert picture.get_attribute("src") == last
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 488


def test_play_shows_one_grid_after_the_other(reports, open_page):
    page = open_page(reports / "one.html")
    page.get_by_role("button", name="Play").click()
    assert page.locator("figcaption").first.inner_text() == "Samples at step 0"
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_text("Samples at step 500").wait_for()
    page.get_by_role("button", name="Play").wait_for()


def test_curve_shows_the_value_under_the_pointer(reports, open_page):
    """The mean and what was logged, at the step below the pointer; the last value when it has left."""
    page = open_page(reports / "one.html")
    rows = read_source(reports / "one").history.metrics
    plot, chart = page.get_by_role("slider", name="FID by step", exact=True), page.locator("figure.chart")
    fid = chart.filter(has=plot)
    plot.scroll_into_view_if_needed()
    area = plot.locator(".u-over").bounding_box()
    page.mouse.move(area["x"] + 2, area["y"] + 50)
    assert fid.locator(".at").inner_text() == "Step 250"
    assert fid.locator(".legend").inner_text().split() == ["FID", "4"]
    page.mouse.move(area["x"] + area["width"] - 2, area["y"] + 50)
    assert fid.locator(".at").inner_text() == "Step 500"
    page.mouse.move(5, 5)
    assert fid.locator(".at").inner_text() == "Last"

    plot = page.get_by_role("slider", name="Losses by step")
    plot.press("Home")
    for _ in range(3):
        plot.press("ArrowRight")
    # The mean of three rows around the fourth, and the fourth.
    mean, logged = sum(row["d_loss"] for row in rows[2:5]) / 3, rows[3]["d_loss"]
    text = plot.get_attribute("aria-valuetext")
    assert text.startswith("step 40: Discriminator loss ")
    shown = [float(part.split()[-1]) for part in text.split(":")[1].split(",")[:2]]
    assert shown == [pytest.approx(mean, abs=5e-5), pytest.approx(logged, abs=5e-5)]  # to four digits
    assert plot.get_attribute("aria-valuenow") == "40"


def test_logarithmic_axis_changes_the_curves(reports, open_page):
    """So does hiding what was logged; no value of these runs is 0, and an accuracy of 0 would be left out."""
    page = open_page(reports / "one.html")
    picture = "canvas => canvas.toDataURL()"
    canvas = page.locator("canvas").first
    shown = [canvas.evaluate(picture)]
    for name in ("Logarithmic", "As logged"):
        page.get_by_label(name).click()
        page.wait_for_function("old => document.querySelector('canvas').toDataURL() !== old", arg=shown[-1])
        shown.append(canvas.evaluate(picture))
    assert len(set(shown)) == 3


def test_first_row_is_drawn(reports, open_page):
    page = open_page(reports / "first.html")
    assert page.locator("canvas").count() == 4
    page.get_by_label("Logarithmic").click()
    assert page.locator("figure.chart").nth(2).locator(".legend").inner_text().split() == ["FID", "4"]


def test_samples_are_beside_nearest_training_pictures(reports, open_page):
    page = open_page(reports / "near.html")
    section = page.get_by_role("region", name="Nearest training pictures")
    pairs = section.get_by_role("listitem")
    assert pairs.count() == 16
    texts = pairs.locator("img").evaluate_all("images => images.map((image) => image.alt)")
    assert texts[:2] == ["Sample 1", "Training picture nearest to sample 1"]
    distances = [float(text) for text in pairs.all_inner_texts()]
    assert distances == sorted(distances)
    assert section.get_by_text("Of 20 held-out pictures").count() == 1
    widths = pairs.locator("img").evaluate_all("images => images.map((image) => image.naturalWidth)")
    assert widths == [8] * 32
    page = open_page(reports / "near and gone.html")
    assert page.get_by_text("Left out: ").count() == 1
    assert page.get_by_role("heading", name="gone", exact=True, level=3).count() >= 1


def test_each_chart_has_a_table(reports, open_page):
    page = open_page(reports / "one.html")
    charts = page.locator("figure.chart")
    for i in range(charts.count()):
        charts.nth(i).get_by_text("Values as a table").click()
        assert charts.nth(i).locator("tbody tr").count() in (2, 25)
    assert charts.nth(2).locator("tbody").inner_text().split() == ["250", "4", "500", "2"]


def test_texts_of_a_run_are_shown_as_texts(reports, open_page):
    page = open_page(reports / "hostile.html")
    assert page.locator("h1").inner_text() == str(reports / HOSTILE)
    assert page.title() == str(reports / HOSTILE)
    page.get_by_text("Config").click()
    assert page.get_by_role("cell", name=f"{HOSTILE}, </script>").count() == 1
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("name", ["near", "near and gone", "one", "two", "hostile", "first", "empty"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_page_is_accessible_and_fits(name, width, scheme, reports, open_page):
    """Axe finds nothing, with every part of the page open, and nothing is wider than the window."""
    page = open_page(reports / f"{name}.html", width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    brightness = [sum(map(int, c.removeprefix("rgb(").removesuffix(")").split(","))) for c in colours]
    assert (brightness[0] < brightness[1]) == (scheme == "light")
