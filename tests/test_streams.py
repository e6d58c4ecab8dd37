"""Standard streams and signals: a run continues without its streams, and a signal makes it save and stop.

A process is started where Python's start or exit, or a terminal that is closed, is the point.
"""

import contextlib
import hashlib
import io
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import pytest
from helpers import QUICK_COMPILATION, ROOT, latest_valid_step, metric_rows, run_cli, screen, terminal
from programs.small_recipe import init

from dcgan_jax import TrainConfig, train
from dcgan_jax.cli.errors import run_command
from dcgan_jax.console import counted, print_line, print_result, terminal_columns
from dcgan_jax.training.progress import Reporter
from dcgan_jax.training.signals import stop_signals

METRICS = {"d_loss": 0.531, "d_accuracy": 0.69, "g_loss": 0.99, "g_accuracy": 0.12}


class OnlyWrite:
    """A notebook's or a service's stream: no ``isatty``, ``flush``, ``fileno`` or ``encoding``."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Raises(OnlyWrite):
    def write(self, text):
        raise RuntimeError("the kernel is gone")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", encoding="utf-8")


def full_disk():
    return open("/dev/full", "w", encoding="utf-8")


BAD = [lambda: None, closed, Raises, broken_pipe, full_disk]


@contextlib.contextmanager
def streams(stdout, stderr):
    """Make these the standard streams; of files, what could not be written is dropped at the end."""
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        yield
    for stream in (stdout, stderr):
        with contextlib.suppress(Exception):  # no file, or closed
            if (descriptor := stream.fileno()) > 2:
                with open(os.devnull, "w") as null:
                    os.dup2(null.fileno(), descriptor)
                stream.close()


@pytest.mark.parametrize("bad", BAD)
def test_bad_stream_is_passed_over(bad):
    with streams(bad(), bad()):
        for error in (False, True):
            print_line("a", error=error)
            print_line("b", error=error)
        assert terminal_columns(sys.stdout) == terminal_columns(sys.stderr) == 0


def test_stream_that_only_writes_is_enough():
    stream = OnlyWrite()
    with streams(stream, None):
        print_line("a")
        assert terminal_columns(stream) == 0
        assert run_cli("sample", "absent") == 2
    assert stream.text == "a\n"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"Z\\xfcrich \\u6570"), ("utf-8", "Zürich 数".encode())])
def test_encoding_without_a_letter_escapes_it(encoding, shown):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with streams(stream, None):
        print_line("Zürich 数")
        assert stream.buffer.getvalue() == shown + b"\n"


def test_result_that_is_lost_is_an_error(capsys):
    """A reader that has left, as ``head`` does, is none."""
    with streams(full_disk(), sys.stderr):
        assert run_command(lambda: print_result("scores"), cache=False) == 2
    assert capsys.readouterr().err == "error: cannot write to standard output (No space left on device)\n"
    with streams(full_disk(), sys.stderr):
        assert run_cli("train", "--dry-run") == 2
    assert capsys.readouterr().err == "error: cannot write to standard output (No space left on device)\n"
    with streams(broken_pipe(), sys.stderr):
        assert run_command(lambda: print_result("scores"), cache=False) == 0
    assert capsys.readouterr().err == ""


def test_run_completes_without_streams(small_flags, tmp_path):
    """Standard output's reader has left, standard error is closed; in another thread than the main one."""
    outcomes = []
    dataset = str(small_flags[small_flags.index("--dataset") + 1])
    config = TrainConfig(steps=2, batch_size=2, dataset=dataset, log_every=1, workdir=str(tmp_path / "run"))
    with streams(broken_pipe(), closed()):
        thread = threading.Thread(target=lambda: outcomes.append(train(config, init=init)))
        thread.start()
        thread.join()
    assert outcomes[0].state.step == 2
    assert [row["step"] for row in metric_rows(tmp_path / "run")] == [1, 2]
    assert latest_valid_step(tmp_path / "run" / "checkpoints") == (2, [])


@pytest.mark.parametrize("redirection", [">/dev/full", "| true", ">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_do_not_change_the_exit(redirection):
    """Python would report text that it cannot write while it exits, with exit code 120."""
    script = f'"$0" -m dcgan_jax --help {redirection}; echo "${{PIPESTATUS[0]}}" >"$1"'
    reader, writer = os.pipe()
    with open(reader) as code:
        done = subprocess.run(
            ["bash", "-c", script, sys.executable, f"/dev/fd/{writer}"],
            cwd=ROOT,
            pass_fds=[writer],
            capture_output=True,
            text=True,
            timeout=600,
        )
        os.close(writer)
        assert (code.read(), done.stderr) == ("0\n", "")


def test_closed_descriptors_are_not_reused(tmp_path):
    """The next file that is opened would be the one that libraries print into."""
    program = (
        "import sys; from dcgan_jax.console import standard_streams\n"
        "with standard_streams(), open(sys.argv[1], 'w') as file: print(file.fileno(), file=file)"
    )
    script = '"$0" -c "$1" "$2" <&- >&- 2>&-'
    subprocess.run(["bash", "-c", script, sys.executable, program, tmp_path / "file"], cwd=ROOT, check=True)
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.parametrize(
    ("columns", "pattern"),
    [
        (200, r"1205/10000 \|.{40}\| D 0\.53 69% G 0\.99 12% +[\d.]+(step/s|s/step) ETA [\d:]+"),
        (80, r"1205/10000 \|.{10,40}\| D 0\.53 69% G 0\.99 12% +[\d.]+(step/s|s/step) ETA [\d:]+"),
        (60, r"1205/10000 D 0\.53 69% G 0\.99 12% +[\d.]+(step/s|s/step) ETA [\d:]+"),
        (40, r"1205/10000 +[\d.]+(step/s|s/step) ETA [\d:]+"),
        (24, r"1205/10000 ETA [\d:]+"),
        (20, r"1205 ETA [\d:]+"),
    ],
)
def test_bar_shows_what_fits(columns, pattern):
    """Of the columns the bar is given up first, the time that is left never."""
    with terminal(columns) as (stream, shown), streams(stream, stream):
        reporter = Reporter(TrainConfig(steps=10_000), 1200)
        time.sleep(0.2)
        reporter.log(1205, METRICS)
        reporter.update(1205)
        reporter.close()
    *_, bar, last = screen(shown)
    assert re.fullmatch(pattern, bar)
    assert len(bar) < columns
    assert last == ""


@pytest.mark.parametrize("columns", [0, 19])
def test_terminal_without_room_has_plain_lines(columns):
    with terminal(columns) as (stream, shown), streams(stream, stream):
        reporter = Reporter(TrainConfig(), 0)
        reporter.log(1, METRICS)
        reporter.close()
    assert screen(shown) == ["1: [D loss: 0.531000, acc: 0.690000]  [A loss: 0.990000, acc: 0.120000]", ""]


def test_printed_lines_appear_above_the_bar():
    """Whoever prints them, and in whatever parts; and not on the bar's line."""
    with terminal(80) as (stream, shown), streams(stream, stream):
        reporter = Reporter(TrainConfig(steps=10), 0)
        print_line("begins")
        print("two", "parts", flush=True)
        print("a library's", file=sys.stderr)
        reporter.update(10)
        reporter.close()
        print_line("done")
    lines = screen(shown)
    assert lines[:3] == ["begins", "two parts", "a library's"]
    assert lines[3].startswith("10/10 |")
    assert lines[4:] == ["done", ""]


def test_lines_of_a_run_have_rows_of_their_own(small_flags, tmp_path):
    with terminal(80) as (stream, shown), streams(stream, stream):
        assert run_cli("train", *small_flags, "--steps", 1, "--workdir", tmp_path / "run") == 0
    dataset = small_flags[small_flags.index("--dataset") + 1]
    training, networks, device, note, bar, done, end = screen(shown)
    assert training == f"training 1 step of 2 images of {dataset} in {tmp_path / 'run'}"
    assert networks == "the networks, losses and optimizers are those of small_recipe.py:init"
    assert device == "on cpu; the first step compiles, which takes a while"
    assert note.startswith("note: a discriminator can memorise 200 images: ")
    assert bar.startswith("1/1 |")
    assert re.fullmatch(f"done: 1 step, .*; the last samples are {tmp_path / 'run' / 'fakes.png'}", done)
    assert end == ""


def test_one_is_singular():
    """In English 0 is plural."""
    assert [counted(n, "image") for n in (0, 1, 2, 1200)] == ["0 images", "1 image", "2 images", "1,200 images"]


def test_terminal_that_closes_does_not_end_a_run():
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as stream, streams(stream, stream):
        sys.stdout.reconfigure(line_buffering=True)
        import termios

        termios.tcsetwinsize(slave, (24, 80))
        reporter = Reporter(TrainConfig(), 0)
        os.close(master)
        for step in range(1, 5):
            reporter.log(step, METRICS)
            reporter.update(step)
            print_line("a line")
        reporter.close()


# What a closed terminal and batch systems send, more than once.
NEVER_URGENT = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]


@pytest.fixture
def default_signals():
    """Signals as in a terminal: a process that was started in the background, or by nohup, ignores some of them."""
    defaults = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(NEVER_URGENT, signal.SIG_DFL)}
    before = {each: signal.signal(each, handler) for each, handler in defaults.items()}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", NEVER_URGENT)
def test_some_signals_are_never_urgent(number):
    """As a terminal closes, the shell and the kernel each send one; then Ctrl-C still only requests a stop."""
    with stop_signals() as stop:
        assert stop(1) is None
        for _ in range(3):
            signal.raise_signal(number)
        assert stop(2) == number
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_callers_own_handler_is_kept(number):
    """A program that submits jobs has a handler of its own, which starts the job again."""
    handled, acknowledged = [], []
    before = signal.signal(number, lambda *_: handled.append(number))
    try:
        with stop_signals(acknowledged.append) as stop:
            signal.raise_signal(number)
            assert stop(1) is None
    finally:
        signal.signal(number, before)
    assert (handled, acknowledged) == ([number], [])


def test_hangup_stays_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop(1) is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, *NEVER_URGENT])
def test_job_of_processes_gets_sigterm(number, monkeypatch):
    """JAX watches for it, so that all processes stop after the same step."""
    monkeypatch.setattr("jax.process_count", lambda: 2)
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with stop_signals():
            signal.raise_signal(number)
            if number != signal.SIGINT:
                signal.raise_signal(number)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signal_is_acknowledged_while_compiling():
    """The main thread is in a call that returns long after the signal, as the compiler is."""
    acknowledged = []

    def acknowledge(number):
        acknowledged.append((number, time.monotonic()))

    with stop_signals(acknowledge) as stop:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 3_000_000)
        returned = time.monotonic()
        assert stop(1) == signal.SIGINT
    ((number, at),) = acknowledged
    assert number == signal.SIGINT
    assert at < returned
    assert signal.set_wakeup_fd(-1) == -1


def test_callers_own_signal_is_not_acknowledged():
    """A timer of its own, for example: only what requests a stop is, and still is after it."""
    rung, acknowledged = [], []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        with stop_signals(acknowledged.append) as stop:
            signal.raise_signal(signal.SIGALRM)
            signal.raise_signal(signal.SIGINT)
            assert stop(1) == signal.SIGINT
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (rung, acknowledged) == ([1], [signal.SIGINT])


@pytest.mark.usefixtures("default_signals")
def test_closed_terminal_saves_the_run(train_process, small_flags, tmp_path):
    """Its processes get SIGHUP, and whatever they write afterwards fails."""
    master, slave = pty.openpty()
    options = {"environment": {"XLA_FLAGS": QUICK_COMPILATION}, "stdin": slave, "stdout": slave, "stderr": slave}
    process = train_process("--steps", 100_000, *small_flags, cwd=tmp_path, **options)
    os.close(slave)
    shown = b""
    while b"\n3: " not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=600) == 0
    step, problems = latest_valid_step(tmp_path / "runs" / "0001" / "checkpoints")
    assert problems == []
    assert step is not None
    assert 3 <= step < 100_000


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("command", [["train.py"], ["-m", "dcgan_jax", "sample", "absent"]])
def test_ctrl_c_during_import_is_one_line(command, tmp_path):
    command = [str(ROOT / part) if part.endswith(".py") else part for part in command]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while "jaxlib" not in maps.read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


@pytest.fixture
def cache_config():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


COMMANDS = [
    ["train", "--resume", "--workdir", "absent"],
    ["sample", "absent"],
    ["interpolate", "absent", "--seeds", "0,1"],
    ["evaluate", "absent"],
    ["train-classifier", "--dataset", "./absent", "--out", "a.npz"],
    ["export", "absent", "--format", "safetensors"],
    ["import", "absent.safetensors"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_user_without_home_has_no_cache(command, cache_config, tmp_path, monkeypatch, capsys):
    """One line says so; none with --no-compilation-cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as for a user without an entry
    assert run_cli(*command) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: compiled programs cannot be cached (could not determine the home directory")
    assert error.startswith("error: ")
    assert jax.config.jax_compilation_cache_dir is None
    assert run_cli(*command, "--no-compilation-cache") == 2
    assert capsys.readouterr().err == error + "\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", [True, False])
def test_cache_in_place_of_a_file_is_one_line(named, cache_config, tmp_path, monkeypatch, capsys):
    """The user's cache directory, or the one that JAX_COMPILATION_CACHE_DIR names."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    if named:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file"))  # as the variable does
    assert run_command(lambda: None, cache=True) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: compiled programs cannot be cached ([Errno ")
    assert str(tmp_path / "file") in line


def test_full_cache_is_one_line(monkeypatch, capsys):
    """JAX warns of each program."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jax._src.compilation_cache.put_executable_and_time", full)
    monkeypatch.setattr("jax._src.compilation_cache.get_executable_and_time", lambda *_: (None, None))

    def work():
        for i in range(3):
            jax.jit(lambda x, i=i: x * (i + 0.2026))(1.0)

    assert run_command(work, cache=False) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "compiled programs cannot be cached (OSError: [Errno 28] No space left on device)" in line


def test_help_is_80_columns_wide(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    for argv in ([], *([command[0]] for command in COMMANDS)):
        assert run_cli(*argv, "--help") == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
    with pytest.raises(SystemExit) as done:
        monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert done.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
