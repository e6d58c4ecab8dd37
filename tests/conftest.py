"""Fixtures, and the compilation cache that all processes of a test session share."""

import contextlib
import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from xla_options import LITTLE_OPTIMISED, as_flags

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is first imported

# Every program is compiled once a session, whichever process needs it first: this one, pytest-xdist's workers, which
# inherit the variables, or the commands under test. The folder is laid out as a user's cache directory.
_OWNER = "DCGAN_JAX_TEST_CACHE" not in os.environ
CACHE_HOME = Path(tempfile.mkdtemp(prefix="dcgan-jax-test-") if _OWNER else os.environ["DCGAN_JAX_TEST_CACHE"])
os.environ["DCGAN_JAX_TEST_CACHE"] = str(CACHE_HOME)
os.environ["KERAS_HOME"] = str(CACHE_HOME / "keras")  # the user's keras.json would change the oracle
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE_HOME / "dcgan-jax" / "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# By default glibc keeps freed memory in many arenas, 0.7 GiB a worker. These are read when a process starts: for
# pytest-xdist's workers and for the processes under test.
os.environ.setdefault("MALLOC_ARENA_MAX", "2")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**20))

# This process's programs are compiled quickly: LLVM optimises little, and fusions are not compiled by way of MLIR,
# which takes as long as all else. XLA reads the variable once, at the first compilation; afterwards it is taken away,
# so that the commands under test compile as a user's do. ``XLA_FLAGS`` from outside is left as it is.
_QUICK = "XLA_FLAGS" not in os.environ
if _QUICK:
    os.environ["XLA_FLAGS"] = as_flags(LITTLE_OPTIMISED)

import jax  # noqa: E402

if _QUICK:
    jax.jit(lambda: 0)()
    del os.environ["XLA_FLAGS"]

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from helpers import FLAGS, RECIPE, ROOT, finish, quick_jit, run_cli, small_gan  # noqa: E402

from dcgan_jax import init_state, load_dataset  # noqa: E402
from dcgan_jax.evaluation import scoring  # noqa: E402
from dcgan_jax.training import device_loop, run_files  # noqa: E402


def pytest_unconfigure():
    """Remove the cache at the end of the session."""
    if _OWNER:
        shutil.rmtree(CACHE_HOME, ignore_errors=True)


def once(name, make):
    """What ``make`` returns: made once a session, by the process that needs it first, and kept as a pickle."""
    path = CACHE_HOME / name
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not path.exists():
            path.write_bytes(pickle.dumps(make()))
    return pickle.loads(path.read_bytes())


@pytest.fixture(autouse=True, scope="session")
def real_digits():
    """What evaluations compute of MNIST's real images, 20 seconds of it, is computed `once`."""
    features, baseline = scoring.real_features, scoring.real_baseline

    def features_once(train, test, network):
        computed = once("real-features", lambda: features(train, test, network)[3:])
        return scoring.RealFeatures(train, test, network, *computed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "real_features", features_once)
        patch.setattr(scoring, "real_baseline", lambda n, real: once(f"real-{n}", lambda: baseline(n, real)))
        yield


@pytest.fixture(autouse=True, scope="session")
def steps_are_traced():
    """In this process, whose tests replace functions, and which compiles by options of its own, no step is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_loop, "program_file", lambda *_: None)
        yield


# The core broadcasts no ranks and promotes no dtypes but by name. Flax and Optax promote dtypes (in BatchNorm of
# bfloat16, Adam and schedules), so where tests use them only ranks are strict.
_STRICT_RANKS = {"test_models", "test_optimizers", "test_step"}
_STRICT = {"test_augment", "test_layers", "test_losses", "test_penalties"}


@pytest.fixture(autouse=True, scope="module")
def strict_promotion(request):
    """In the core's files JAX raises where it would broadcast ranks, and in most of them promote dtypes, by itself."""
    name = request.module.__name__
    with contextlib.ExitStack() as stack:
        if name in _STRICT | _STRICT_RANKS:
            stack.enter_context(jax.numpy_rank_promotion("raise"))
        if name in _STRICT:
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
        yield


@pytest.fixture(autouse=True, scope="module")
def free_memory():
    """Compiled programs and their constants are freed after each file; the cache has them."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def mnist():
    return load_dataset()


@pytest.fixture(scope="session")
def digits(mnist):
    """Four real digits, uint8 [4, 28, 28, 1]."""
    return jnp.asarray(mnist[:4])


@pytest.fixture(scope="session")
def state():
    """The tutorial's GAN, untrained."""
    return quick_jit(init_state)(jax.random.key(1))


@pytest.fixture(scope="session")
def small_state():
    """A GAN of a user's own modules, untrained, quick to compile."""
    return small_gan(jax.random.key(1))


@pytest.fixture(scope="session")
def small_images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8))


@pytest.fixture(scope="session")
def small_flags(tmp_path_factory):
    """The flags of a run of `RECIPE` as short as `FLAGS` say, apart from --steps, on 200 images of 8x8."""
    path = tmp_path_factory.mktemp("images") / "small.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), np.uint8))
    return ["--recipe", RECIPE, "--dataset", path, *FLAGS]


@pytest.fixture(scope="session")
def small_run(small_flags, tmp_path_factory):
    """The directory of a run of eleven steps by `small_flags`, trained in this process: to read, or to copy."""
    run_dir = tmp_path_factory.mktemp("small") / "run"
    assert run_cli("train", *small_flags, "--steps", 11, "--workdir", run_dir) == 0
    return run_dir


@pytest.fixture
def one_step_flags(small_flags, tmp_path):
    """The flags of a run of one step by `small_flags` on ``a.npy`` of the test's folder."""
    own = {"--dataset": tmp_path / "a.npy", "--batch-size": 4, "--steps": 1, "--workdir": tmp_path / "run"}
    return [*small_flags, *(each for pair in own.items() for each in pair)]


@pytest.fixture
def data_cache(tmp_path_factory, monkeypatch):
    """A user's cache directory of the test's own, for data sets."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    """An empty folder for pictures."""
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture(scope="session")
def cache_home():
    """The user's cache directory of the commands under test."""
    return CACHE_HOME


@pytest.fixture(scope="session")
def wheel():
    """A folder with nothing but what the project's wheel installs."""
    return once("wheel", install_wheel)


def install_wheel():
    folder = Path(tempfile.mkdtemp(dir=CACHE_HOME))
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run(built, check=True, capture_output=True)
    (archive,) = folder.glob("*.whl")
    installed = [*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", archive]
    subprocess.run(installed, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="session")
def train_process(wheel, cache_home):
    """Start ``python -m dcgan_jax train`` from the wheel; keyword arguments are those of `subprocess.Popen`."""

    def start(*flags, cwd, environment=(), **options):
        inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}  # a user has none
        return subprocess.Popen(
            [sys.executable, "-m", "dcgan_jax", "train", *map(str, flags)],
            cwd=cwd,
            env={
                **inherited,
                "XDG_CACHE_HOME": str(cache_home),
                "PYTHONPATH": str(wheel),
                "PYTHONSAFEPATH": "1",
                "PYTHONUNBUFFERED": "1",
                **dict(environment),
            },
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        )

    return start


@pytest.fixture(scope="session")
def finished(train_process, tmp_path_factory):
    """A run of eleven steps under ``runs/``: its directory, and what it printed."""

    def train():
        cwd = Path(tempfile.mkdtemp(dir=CACHE_HOME))
        code, out, err = finish(train_process("--steps", 11, *FLAGS, cwd=cwd))
        assert code == 0, err
        return cwd / "runs", out

    runs, out = once("finished", train)
    return shutil.copytree(runs, tmp_path_factory.mktemp("elsewhere") / "runs") / "0001", out


@pytest.fixture
def damaged_wheel(wheel, tmp_path):
    """A copy of `wheel` with one bit of MNIST's training images flipped, and the path of their archive."""
    site = shutil.copytree(wheel, tmp_path / "damaged")
    archive = next(site.rglob("train-images*"))
    content = bytearray(archive.read_bytes())
    content[1000] ^= 1
    archive.write_bytes(content)
    return site, archive


@pytest.fixture(scope="module")
def browser():
    """Chromium, as the system has it; without one the tests that need it are skipped."""
    from playwright.sync_api import sync_playwright  # imported when used: most files of tests do without

    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open an HTML file; keyword arguments are those of Playwright's `new_context`.

    At the end no page has reported an error or asked for anything but its own file.
    """
    problems, contexts = [], []

    def open_file(path, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 844}, **options)
        contexts.append(context)
        page, address = context.new_page(), path.resolve().as_uri()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        own = (address, "data:")
        page.on("request", lambda request: None if request.url.startswith(own) else problems.append(request.url))
        page.goto(address)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def interrupt_at(monkeypatch):
    """Send SIGINT to this process when a run has written the image of a name, one or more times.

    ``interrupt_at(name, times)`` returns a list that grows by each signal that did not end the run at once.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    write = run_files.save_png

    def install(name, times=1):
        survived = []

        def save_png(path, pixels):
            write(path, pixels)
            for i in range(times if path.name == name else 0):
                signal.raise_signal(signal.SIGINT)
                survived.append(i)

        monkeypatch.setattr(run_files, "save_png", save_png)
        return survived

    yield install
    signal.signal(signal.SIGINT, before)
