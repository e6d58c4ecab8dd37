"""`report --explore`: a page that carries a generator draws what `generate` draws, and is a pleasure to use."""

import json
import re

import jax
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import all_files, one_error_line, run_cli, small_gan

from dcgan_jax import Generator, TrainConfig, generate, init_state, interpolate
from dcgan_jax.report.explorer import MAX_BYTES, explorer_page, write_explorer
from dcgan_jax.report.render import ReportError
from dcgan_jax.report.weights import principal_directions
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.run import create_run

# The directions of a page are a mean over 32 noises, which is most of the time that it takes; here over two.
SAMPLES = "dcgan_jax.report.weights._SAMPLES", 2
HOSTILE = "<img src=x onerror=alert(1)>"
KEY = jax.random.key(5)
# Of an image, the zeros of doubled maps left out: two convolutions after doubling (3x3 inputs an output), and two more.
MULTIPLY_ADDS = 14**2 * 256 * 128 * 9 + 28**2 * 128 * 64 * 9 + 28**2 * 64 * 32 * 25 + 28**2 * 32 * 25
PLAIN_LOOP = """(n) => {
  const a = new Float32Array(1024).fill(0.5);
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[i & 1023] * a[(i + 1) & 1023];
  return sum;
}"""
STATES = {
    "digits": {},
    "classes": {"classes": 3},
    "colour": {"generator": Generator((32, 20, 3))},
    "cut": {"generator": Generator((36, 36, 1)), "latent_size": 7},  # doubled three times from 5 pixels, to 9, 18, 36
}


def with_statistics(state):
    """The state with parameters and batch statistics as after training: none is 0 or 1 any more."""
    rng = np.random.default_rng(0)

    def moved(path, leaf):
        noise = rng.uniform(0.5, 1.5, leaf.shape) if path[-1].key == "var" else rng.normal(0, 0.05, leaf.shape)
        return (leaf + noise).astype(leaf.dtype)

    params, stats = jax.tree_util.tree_map_with_path(moved, (state.generator.params, state.generator.batch_stats))
    return state.replace(generator=state.generator.replace(params=params, batch_stats=stats))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A folder with an explorer of each of `STATES`, and the states by name."""
    folder = tmp_path_factory.mktemp("explorers")
    states = {name: with_statistics(init_state(jax.random.key(1), **options)) for name, options in STATES.items()}
    for name, state in states.items():
        classes = None if state.classes is None else ("cat", HOSTILE, "</script>")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*SAMPLES)
            page = explorer_page(state, f"{name} {HOSTILE}", [("Data", HOSTILE)], classes, max_bytes=20_000_000)
        (folder / f"{name}.html").write_bytes(page)
    return folder, states


@pytest.fixture
def explore(pages, open_page):
    """Open the explorer of a name, and wait until it has drawn its first picture."""

    def open_explorer(name, *arguments, **options):
        page = open_page(pages[0] / f"{name}.html", *arguments, **options)
        page.get_by_text("Drawn here").wait_for()
        return page

    return open_explorer


def settled(page):
    """The page, when it has drawn everything, and its address holds the picture."""
    page.wait_for_function("() => waiting.size === 0 && !running && location.hash === link.hash")
    return page


def shown(page):
    """The pixels of the large picture, uint8 [H, W, 3]."""
    script = "[picture.height, picture.width, ...picture.getContext('2d').getImageData(0, 0, WIDTH, HEIGHT).data]"
    height, width, *pixels = page.evaluate(script)
    return np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]


def class_button(page, name):
    return page.get_by_role("group", name="Class").get_by_role("button", name=name, exact=True)


def pressed(page):
    """The texts of the buttons that are pressed, of all that can be."""
    return page.locator("button[aria-pressed=true]").all_inner_texts()


def all_pixels(page):
    """Those of every canvas of the page, as lists: the large picture, the ends of the walk, and the tiles."""
    script = "c => c.map((c) => Array.from(c.getContext('2d').getImageData(0, 0, WIDTH, HEIGHT).data))"
    return page.locator("canvas").evaluate_all(script)


@pytest.mark.parametrize("name", ["digits", "classes", "colour", pytest.param("cut", marks=pytest.mark.slow)])
def test_images_are_those_of_generate(name, pages, explore):
    """Of 16 noises, to 2 of 255 levels, which nobody sees.

    Half precision moves each weight by 2^-12 of itself at most; with a trained generator a pixel moves by 0.4 levels.
    """
    state = pages[1][name]
    noise = jax.random.uniform(KEY, (16, state.latent_size), minval=-1)
    labels = None if state.classes is None else jax.numpy.arange(16) % state.classes
    expected = np.asarray(generate(state, noise, labels))
    page = explore(name)
    numbers = [0] * 16 if labels is None else labels.tolist()
    images = page.evaluate(
        "([noises, labels]) => noises.map((noise, i) => Array.from(generate(noise, labels[i])))",
        [np.asarray(noise).tolist(), numbers],
    )
    images = np.array(images).reshape(expected.shape)
    assert expected.std(axis=0).max() > 0.05  # the images differ
    assert np.abs(images - expected).max() <= 2 / 255


def test_canvas_shows_the_generated_image(pages, explore):
    """The pixels of the canvas are the image rounded to bytes: in colours, and grey as three equal ones."""
    for name in ("colour", "digits"):
        page = settled(explore(name))
        noise = np.array([page.evaluate("shownNoise()")], np.float32)
        expected = np.asarray(generate(pages[1][name], noise))[0]
        assert np.abs(shown(page) / 255 - expected).max() <= 2 / 255 + 0.5 / 255


def test_image_is_faster_than_a_plain_loop(explore):
    """Of as many multiply-adds. Both by the clock of the page's own thread, so that other processes do not count.

    Measured: half of that time, and 65 ms an image on an AMD EPYC.
    """
    page = settled(explore("digits"))
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def thread_time():
        metrics = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
        return metrics["ThreadTime"]

    def seconds(code, n):
        before = thread_time()
        page.evaluate(code, n)
        return thread_time() - before

    images = seconds("(n) => { for (let i = 0; i < n; i++) generate(randomNoise(i)); }", 10)
    assert 0 < images / 10 < seconds(PLAIN_LOOP, MULTIPLY_ADDS)


def test_sliders_move_the_picture_and_back(explore):
    page = settled(explore("digits"))
    first, noise = shown(page), np.array(page.evaluate("shown.noise"))
    slider = page.get_by_label("Direction 1")
    slider.press("End")
    settled(page)
    direction = np.array(page.evaluate("data.directions[0]"))
    np.testing.assert_allclose(
        page.evaluate("shownNoise()"), np.clip(noise + 2 * direction, -127 / 64, 127 / 64), atol=1 / 128 + 1e-9
    )
    assert (shown(page) != first).any()
    assert page.locator("output").first.inner_text() == "2.00"
    page.get_by_role("button", name="Reset directions").click()
    settled(page)
    assert (shown(page) == first).all()
    assert slider.input_value() == "0"


def test_random_button_draws_another_picture(explore):
    page = settled(explore("digits"))
    first = shown(page)
    page.get_by_role("button", name="Random picture").click()
    assert (shown(settled(page)) != first).any()


def test_walk_goes_from_one_seed_to_the_other(explore):
    """Its ends are the pictures of the seeds, which are the same each time; the way is that of `interpolate`."""
    page = settled(explore("digits"))
    page.get_by_label("To seed").fill("17")
    position = page.get_by_label("Position")
    noises = {}
    for key in ("Home", "End"):
        position.press(key)
        noises[key] = page.evaluate("shown.noise")
    assert noises["Home"] == page.evaluate("randomNoise(1)")
    assert noises["End"] == page.evaluate("randomNoise(17)")
    position.fill("0.3")
    expected = interpolate(jax.numpy.array(noises["Home"]), jax.numpy.array(noises["End"]), 11)[3]
    # Half a step of the noise, and what the cosine of float32 has lost.
    np.testing.assert_allclose(page.evaluate("shown.noise"), expected, atol=1 / 128 + 1e-5)
    settled(page)


def test_picture_is_chosen_from_a_grid(explore):
    page = settled(explore("digits"))
    tile = page.get_by_role("button", name="Show picture 5", exact=True)
    pixels = tile.locator("canvas").evaluate("c => Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data)")
    tile.press("Enter")
    assert (shown(settled(page)) == np.array(pixels).reshape(28, 28, 4)[..., :3]).all()
    page.get_by_role("button", name="Other pictures").click()
    settled(page)
    assert (
        tile.locator("canvas").evaluate("c => Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data)") != pixels
    )


def test_link_restores_the_picture_and_its_class(explore, open_page, pages):
    page = settled(explore("classes"))
    class_button(page, HOSTILE).click()
    page.get_by_label("Direction 2").press("End")
    settled(page)
    address = page.evaluate("location.href")
    other = open_page(pages[0] / "classes.html")
    other.goto("about:blank")
    other.goto(address)
    other.get_by_text("Drawn here").wait_for()
    assert (shown(settled(other)) == shown(page)).all()
    assert pressed(other) == [HOSTILE]
    assert other.evaluate("location.href") == address


@pytest.mark.parametrize(
    "hash", ["#", "#abc", "#" + "A" * 133, "#" + "A" * 134 + ".7", "#<img src=x>", "#" + "A" * 9999]
)
def test_address_without_a_picture_says_so(hash, explore):
    page = settled(explore("digits"))
    page.evaluate("hash => { location.hash = hash; }", hash)
    if hash != "#":
        page.get_by_text("The address holds no picture of this generator").wait_for()
    settled(page)


@pytest.mark.parametrize("keys", [None, ("Tab", "Tab", "Enter")])
def test_class_changes_every_picture(keys, explore):
    """By a click or the keyboard; every picture keeps its noise, and comes back to the bit with the first class."""
    page = settled(explore("classes"))
    names = ["cat", HOSTILE, "</script>"]
    assert page.get_by_role("group", name="Class").get_by_role("button").all_inner_texts() == names
    assert pressed(page) == ["cat"]
    noise, first = page.evaluate("shown.noise"), all_pixels(page)
    assert len(first) == 1 + 2 + 16
    if keys is None:
        class_button(page, "</script>").click()
    else:
        class_button(page, "cat").focus()
        for key in keys:
            page.keyboard.press(key)
    settled(page)
    assert pressed(page) == ["</script>"]
    assert page.evaluate("[shown.noise, shown.label]") == [noise, 2]
    assert all(ours != before for ours, before in zip(all_pixels(page), first, strict=True))
    page.evaluate("paint(picture, randomNoise(1), 2)")
    assert all_pixels(page)[0] == all_pixels(page)[1]  # the start of the walk, which is the picture of seed 1
    class_button(page, "cat").click()
    settled(page)
    assert all_pixels(page) == first


def test_followed_link_changes_all_classes(explore):
    page = settled(explore("classes"))
    first = all_pixels(page)
    page.evaluate("location.hash = toHash(shown.noise, 1)")
    page.wait_for_function("shown.label === 1")
    settled(page)
    assert pressed(page) == [HOSTILE]
    assert all(ours != before for ours, before in zip(all_pixels(page), first, strict=True))


def test_generator_without_classes_has_no_buttons(explore):
    page = settled(explore("digits"))
    assert page.locator("[aria-pressed]").count() == 0


@pytest.mark.parametrize("name", ["classes", "colour"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_explorer_is_accessible_and_fits(name, width, scheme, explore):
    page = settled(explore(name, width, color_scheme=scheme))
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("h1").inner_text() == f"{name} {HOSTILE}"


def test_directions_are_those_of_the_largest_change():
    """Against the Jacobians themselves, on a generator of a user's own; the shares of all directions add up to 1."""
    state = small_gan(jax.random.key(1))
    directions, shares = principal_directions(state, KEY, 5)
    np.testing.assert_allclose(directions @ directions.T, np.eye(5), atol=1e-6)
    assert (np.diff(shares) <= 0).all()
    assert shares.sum() == pytest.approx(1)
    jacobians = jax.vmap(jax.jacfwd(lambda z: state.generator.infer(z[None]).ravel()))(
        np.asarray(state.noise(KEY, (32, 5)))
    )
    along = np.square(np.einsum("spz,nz->spn", jacobians, directions)).sum((0, 1))
    np.testing.assert_allclose(along / np.square(jacobians).sum(), shares, rtol=1e-4)


def test_large_generators_are_refused_in_one_line(tmp_path):
    state = jax.eval_shape(lambda: init_state(jax.random.key(0), generator=Generator((64, 64, 3))))
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), state)
    with pytest.raises(
        ReportError, match=r"^an explorer of this generator of 64x64x3 images would have 2\d\.\d MB, and at"
    ):
        write_explorer(state, tmp_path / "a.html", "large")
    assert all_files(tmp_path) == {}


def test_what_the_page_cannot_draw_is_refused(tmp_path, state):
    with pytest.raises(
        ReportError, match=r"^an explorer needs the generator dcgan_jax\.Generator, got SmallGenerator$"
    ):
        write_explorer(small_gan(jax.random.key(0)), tmp_path / "a.html", "own")
    params = jax.tree.map(lambda leaf: leaf * np.nan, state.generator.params)
    with pytest.raises(ReportError, match="NaN or infinite, in its layer 1$"):
        write_explorer(state.replace(generator=state.generator.replace(params=params)), tmp_path / "a.html", "NaN")
    with pytest.raises(ReportError, match="this state has a noise of its own$"):
        write_explorer(state.replace(noise=jax.random.normal), tmp_path / "a.html", "normal")
    assert all_files(tmp_path) == {}


def test_command_writes_the_explorer_of_a_run(tmp_path, monkeypatch, capsys):
    """Of its average where it has one; other runs, other files and flags without --explore are refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(*SAMPLES)
    config = TrainConfig(batch_size=2, ema=0.9, workdir="run")
    create_run(config, *create_state(config))
    assert run_cli("report", "run", "--explore") == 0
    assert (
        capsys.readouterr().out
        == "an explorer of run at step 0, average of the weights (decay 0.9), in run/explorer.html\n"
    )
    text = (tmp_path / "run" / "explorer.html").read_text()
    assert len(text) <= MAX_BYTES
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert data["facts"] == [["Step", "0"], ["Weights", "average 0.9"], ["Data", "mnist, 28x28 grey"]]
    (tmp_path / "mine.html").write_text("mine")
    before = all_files(tmp_path)
    for arguments, message in (
        (["run", "run2", "--explore"], "--explore takes one run, got 2"),
        (["run2", "--explore"], "there is no run in run2"),
        (["run", "--explore", "--checkpoint", 7], "has no checkpoint 7"),
        (["run", "--explore", "--out", "mine.html"], "mine.html exists and is not a report"),
        (["run", "--weights", "last"], "--weights is for --explore"),
        (["run", "--recipe", "own.py"], "--recipe is for --explore"),
    ):
        assert run_cli("report", *arguments) == 2
        assert message in one_error_line(capsys)
    assert all_files(tmp_path) == before
