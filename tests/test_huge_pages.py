"""A command that computes starts itself again with huge pages: once, as the same process, and only if it may."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT

from dcgan_jax.cli import huge_pages
from dcgan_jax.cli.huge_pages import is_of_use, is_started_by

PROGRAM = """
import os, sys
from dcgan_jax.cli import restart_with_huge_pages
print("begins", os.getpid(), flush=True)
restart_with_huge_pages(sys.argv[1:])
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.optimize)
"""


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A Linux on which programs may ask for huge pages, whatever this machine is."""
    setting = tmp_path / "enabled"
    setting.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_SYSTEM_SETTING", setting)
    monkeypatch.setattr(huge_pages, "_has_accelerator", lambda: False)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return setting


def environment() -> dict[str, str]:
    """That of the tests, without what a restart sets."""
    return {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}


def run(*command: str, **kwargs) -> subprocess.CompletedProcess[str]:
    env = {**environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, **kwargs)


@pytest.fixture
def program(tmp_path):
    if not is_of_use() and "GLIBC_TUNABLES" not in os.environ:
        pytest.skip("here programs cannot ask for huge pages, or an accelerator computes")
    path = tmp_path / "a program.py"
    path.write_text(PROGRAM)
    return str(path)


def test_restarts_once_in_the_same_process(program):
    lines = run("-O", program, "train", "--workdir", "a b").stdout.splitlines()
    first, second, result = lines
    assert first == second
    assert result == "glibc.malloc.hugetlb=1 ['train', '--workdir', 'a b'] 1"


@pytest.mark.parametrize("arguments", [["train", "--no-huge-pages"], ["train", "-h"], ["sample", "mnist"], []])
def test_does_not_restart(program, arguments):
    lines = run(program, *arguments).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("None")


def test_a_program_from_a_pipe_is_not_lost(program):
    lines = run("-", "train", input=Path(program).read_text()).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1] == "None ['train'] 0"


def test_a_profiled_program_stays_as_it_is(program):
    lines = run("-m", "cProfile", program, "train").stdout.splitlines()
    assert lines[1] == "None ['train'] 0"


@pytest.mark.parametrize("entry", [["train.py"], ["-m", "dcgan_jax", "train"]])
def test_training_has_huge_pages(program, entry, tmp_path):
    command = [sys.executable, *entry, "--workdir", str(tmp_path / "run"), "--dry-run"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    try:
        while b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" not in Path(f"/proc/{process.pid}/environ").read_bytes():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("command_line", "argv", "expected"),
    [
        (["python", "train.py", "--steps", "5"], ["train.py", "--steps", "5"], True),
        (["python", "-u", "-Xutf8", "train.py"], ["train.py"], True),
        (["python", "-m", "dcgan_jax", "train"], ["/there/dcgan_jax/__main__.py", "train"], True),
        (["python", "/venv/bin/dcgan-jax", "train"], ["/venv/bin/dcgan-jax", "train"], True),
        (["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], ["train.py", "--steps", "5"], False),
        (["python", "-m", "pdb", "train.py"], ["train.py"], False),
        (["python", "-", "train"], ["-", "train"], False),
        (["python", "-c", "...", "train"], ["-c", "train"], False),
        (["python", "own.py"], ["train.py", "train"], False),
    ],
)
def test_knows_how_it_was_started(command_line, argv, expected):
    assert is_started_by(command_line, argv) == expected


def test_of_use_where_programs_may_ask(elsewhere):
    assert is_of_use()


@pytest.mark.parametrize("setting", ["[always] madvise never", "always madvise [never]", ""])
def test_the_system_decides_for_all(elsewhere, setting):
    elsewhere.write_text(setting)
    assert not is_of_use()


@pytest.mark.parametrize("library", ["glibc 2.31", "musl 1.2", "", None])
def test_other_c_libraries(elsewhere, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    assert not is_of_use()


def test_the_users_own_setting_stays(elsewhere, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    assert not is_of_use()


def test_an_accelerator_has_its_own_memory(elsewhere, monkeypatch):
    monkeypatch.setattr(huge_pages, "_has_accelerator", lambda: True)
    assert not is_of_use()
