"""Every system call of a command fails in turn, or its process is killed there: nothing intact is lost.

The networks are small and training takes milliseconds; all else is the command's own. The calls are counted and not
listed, so that those of a new version of Orbax or of Python are among them.
"""

import errno
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import PROGRAMS, all_files, run_files
from syscalls import SUPPORTED, Call, Supervisor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SUPPORTED, reason="Linux on x86-64 alone")]
EVERY = {"--batch-size": 2, "--log-every": 1, "--sample-every": 2, "--checkpoint-every": 4, "--keep-checkpoints": 2}
FLAGS = [str(word) for pair in EVERY.items() for word in pair]
KILL = "killed"


class Result(NamedTuple):
    """A command's exit code (None if it was killed) and output; its calls; and the one that was made to fail."""

    code: int | None
    out: str
    err: str
    calls: list[Call]
    failed: Call | None


class Server:
    """Runs commands in processes whose system calls on ``root`` it decides on."""

    def __init__(self, root: Path, supervisor: Supervisor, address: str):
        self.root, self._supervisor, self._address = root, supervisor, address
        self._warm = self._connect()
        self._names = (root / f"{i}" for i in itertools.count())

    def folder(self) -> Path:
        """A new name below the root: a thread of an earlier command may still be writing under its own."""
        return next(self._names)

    def run(self, *argv, chosen=lambda call: True, n=None, fault=None, **request) -> Result:
        """Run a command. Its ``n``-th call that is ``chosen`` fails with ``fault``; or the process is killed before it.

        One process runs all commands, but those that are to be killed.
        """
        connection, stream, pid = self._connect() if fault == KILL else self._warm
        calls, failed = [], []

        def policy(call):
            if not chosen(call):
                return None
            calls.append(call)
            if len(calls) != n:
                return None
            failed.append(call)
            if fault == KILL:
                os.kill(pid, signal.SIGKILL)
            return None if fault == KILL else fault

        self._supervisor.policy = policy
        print(json.dumps({"argv": list(map(str, argv)), **request}), file=stream, flush=True)
        answer = stream.readline()
        self._supervisor.policy = lambda call: None
        if fault == KILL:
            stream.close()
            connection.close()
        return Result(*(json.loads(answer) if answer else (None, "", "")), calls, failed[0] if failed else None)

    def bits(self, run_dir: Path) -> str:
        """The step of a run's latest checkpoint, and a digest of its arrays."""
        done = self.run(bits=str(run_dir))
        assert (done.code, done.err) == (0, "")
        return done.out

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        stream = connection.makefile("rw")
        return connection, stream, int(stream.readline())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root, elsewhere = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("elsewhere")
    address = str(elsewhere / "socket")
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        process = subprocess.Popen(
            [sys.executable, PROGRAMS / "serve_commands.py", str(theirs.fileno()), str(listening.fileno())],
            pass_fds=[theirs.fileno(), listening.fileno()],
            cwd=elsewhere,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
                "OPENBLAS_NUM_THREADS": "1",  # NumPy starts its threads when it is imported
            },
        )
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    try:
        yield Server(root, Supervisor(descriptors[0], root), address)
    finally:
        process.kill()
        process.wait()


def checkpoints(run_dir):
    """The files of each directory in a run's ``checkpoints``, by its name."""
    folder = run_dir / "checkpoints"
    return {p.name: all_files(p) for p in folder.iterdir() if p.is_dir()} if folder.is_dir() else {}


@pytest.fixture(scope="module")
def whole(server):
    """An uninterrupted run of ten steps: its files and the bits of its last checkpoint."""
    run_dir = server.folder()
    assert server.run("train", "--workdir", run_dir, "--steps", 10, *FLAGS).code == 0
    return run_files(run_dir), server.bits(run_dir)


@pytest.fixture(scope="module")
def interrupted(server):
    """A run with checkpoints of steps 4 and 8, a damaged one of step 9, and what a killed process had begun."""
    run_dir = server.folder()
    assert server.run("train", "--workdir", run_dir, "--steps", 8, *FLAGS).code == 0
    shutil.copytree(run_dir / "checkpoints" / "8", run_dir / "checkpoints" / "9")
    (run_dir / "checkpoints" / "9" / "run.json").write_text("{")
    shutil.copytree(run_dir / "checkpoints" / "4" / "state", run_dir / "checkpoints" / "10.partial" / "state")
    with (run_dir / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 9, "d_lo')
    return run_dir


def assert_one_line_or_success(result):
    """The command worked, and at most warned; or it says in one line why not. No traceback, whatever thread failed."""
    assert "Traceback" not in result.out + result.err, result.err
    lines = result.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert (result.code, len(errors)) in ((0, 0), (2, 1)), result.err
    for line in lines:
        assert line.startswith(("error: ", "warning: ")) or "is damaged: " in line, line
    assert result.err.count("\n") == len(lines)


def assert_resumes(server, run_dir, whole, *flags):
    """After the fault is over the run ends in the bits, rows and images of the uninterrupted one; nothing is left."""
    resumed = server.run("train", "--workdir", run_dir, *flags)
    done = resumed.code == 2 and "already has 10 steps" in resumed.err
    assert done or (resumed.code == 0 and "error" not in resumed.err), resumed.err
    files, bits = whole
    ours = run_files(run_dir)
    assert {name for name in {*ours, *files} if ours.get(name) != files.get(name)} <= {"config.json", "models.txt"}
    assert server.bits(run_dir) == bits
    if not done:
        assert not list(run_dir.rglob("*.partial"))


def check_resume_and_save(server, interrupted, whole, result, run_dir):
    """What holds when one call of resuming and saving was made to fail."""
    if result.code is not None:
        assert_one_line_or_success(result)
    before, after = checkpoints(interrupted), checkpoints(run_dir)
    blamed = f"{run_dir / 'checkpoints' / '8'} is damaged: " in result.err  # its own bytes could not be read
    assert before["8"] in (after.get("8"), after.get("8.damaged") if blamed else None)
    if "10" not in after:  # else step 4 has expired
        assert before["4"] == after.get("4")
    assert before["9"] in (after.get("9"), after.get("9.damaged"))
    json.loads((run_dir / "config.json").read_text())
    rows = (run_dir / "metrics.jsonl").read_bytes()
    assert whole[0]["metrics.jsonl"].startswith(rows) or (interrupted / "metrics.jsonl").read_bytes() == rows
    assert_resumes(server, run_dir, whole, "--resume", "--steps", 10)


def try_all(server, prepare, argv, check, plans):
    """For each plan, a fault and a choice of calls, let it happen at each of these calls in turn; print the numbers."""
    counts, problems, began = {}, [], time.monotonic()
    for fault, chosen in plans:
        for n in itertools.count(1):
            run_dir = server.folder()
            prepare(run_dir)
            result = server.run(*argv(run_dir), chosen=chosen, n=n, fault=fault)
            if result.failed is None:  # the command has fewer calls
                shutil.rmtree(run_dir, ignore_errors=True)
                break
            label = fault if fault == KILL else errno.errorcode.get(fault, "short")
            of_name = counts.setdefault(label, {})
            of_name[result.failed.name] = of_name.get(result.failed.name, 0) + 1
            try:
                check(result, run_dir)
            except AssertionError as error:
                problems.append(f"{label} {result.failed}: {error}")
                print(problems[-1], flush=True)
            shutil.rmtree(run_dir, ignore_errors=True)
    total = sum(sum(of_name.values()) for of_name in counts.values())
    print(f"{total} faults in {time.monotonic() - began:.0f} s: {counts}")
    assert not problems, f"{len(problems)} of {total}\n" + "\n".join(problems)
    return counts


def changes(call):
    """Calls that change a file or a directory, flush or lock one."""
    return call.changes or call.name in ("fsync", "fdatasync", "flock", "fcntl")


def first_reads():
    """Calls that only read, each once for a file; the command verifies a checkpoint several times."""
    seen = set()

    def chosen(call):
        if changes(call):
            return False
        name = re.sub("[0-9a-f]{32}", "*", str(call))
        return not (name in seen or seen.add(name))

    return chosen


ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)


@pytest.mark.parametrize("fault", [*ERRORS, KILL], ids=["EIO", "ENOSPC", "EACCES", KILL])
def test_each_change_of_resume_and_save(fault, server, interrupted, whole):
    """A run that resumes passes over a damaged checkpoint, saves another and deletes an expired one."""
    try_all(
        server,
        lambda run_dir: shutil.copytree(interrupted, run_dir),
        lambda run_dir: ["train", "--workdir", run_dir, "--resume", "--steps", 10],
        lambda result, run_dir: check_resume_and_save(server, interrupted, whole, result, run_dir),
        [(fault, lambda call: call.changes if fault == KILL else changes(call))],
    )
