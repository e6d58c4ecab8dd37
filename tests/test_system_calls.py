"""Every system call of a command fails in turn, or its process is killed there: nothing intact is lost.

The networks are small and training takes milliseconds; all else is the command's own. The calls are counted and not
listed, so that those of a new version of Orbax or of Python are among them.
"""

import collections
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import PROGRAMS, all_files, read_tensorboard, run_files, scalars
from syscalls import SUPPORTED, Call, Supervisor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SUPPORTED, reason="Linux on x86-64 alone")]
EVERY = {"--batch-size": 2, "--log-every": 1, "--sample-every": 2, "--checkpoint-every": 4, "--keep-checkpoints": 2}
FLAGS = [str(word) for pair in EVERY.items() for word in pair]
KILL, LASTING = "killed", "lasting"


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

    def run(self, *argv, chosen=lambda call: True, n=None, fault=None, lasting=False, after=None, **request) -> Result:
        """Run a command. Its ``n``-th call that is ``chosen`` fails with ``fault``; or the process is killed before it.

        With ``lasting``, all such calls from then on fail. One process runs all commands, but those that are to be
        killed. They may also be ``after`` some seconds.
        """
        connection, stream, pid = self._connect() if fault == KILL else self._warm
        calls, failed = [], []

        def policy(call):
            if not chosen(call):
                return None
            calls.append(call)
            if n is None or len(calls) < n or (len(calls) > n and not lasting):
                return None
            failed.append(call)
            if fault == KILL:
                os.kill(pid, signal.SIGKILL)
            return None if fault == KILL else fault

        self._supervisor.policy = policy
        print(json.dumps({"argv": list(map(str, argv)), **request}), file=stream, flush=True)
        timer = threading.Timer(after or 0, os.kill, (pid, signal.SIGKILL))
        if after is not None:
            timer.start()
        answer = stream.readline()
        timer.cancel()
        self._supervisor.policy = lambda call: None
        if fault == KILL:
            self._disconnect(connection, stream)
        return Result(*(json.loads(answer) if answer else (None, "", "")), calls, failed[0] if failed else None)

    def bits(self, run_dir: Path) -> str:
        """The step of a run's latest checkpoint, and a digest of its arrays."""
        done = self.run(bits=str(run_dir))
        assert (done.code, done.err) == (0, "")
        return done.out

    def close(self):
        """End the process that runs the commands."""
        self._disconnect(*self._warm[:2])

    def _disconnect(self, connection, stream):
        stream.close()
        connection.close()

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
    server = Server(root, Supervisor(descriptors[0], root), address)
    try:
        yield server
    finally:
        server.close()
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
    done = resumed.code == 2 and "already has" in resumed.err
    assert done or (resumed.code == 0 and "error" not in resumed.err), resumed.err
    files, bits = whole
    ours = run_files(run_dir)
    assert {name for name in {*ours, *files} if ours.get(name) != files.get(name)} <= {"config.json", "models.txt"}
    assert "models.txt" in ours
    assert server.bits(run_dir) == bits
    if not done:
        assert not list(run_dir.rglob("*.partial"))


def try_all(server, prepare, command, check, *plans):
    """For each plan, a fault and which calls to choose, let it happen at each of these calls in turn.

    Args:
      server: from the fixture.
      prepare: makes the directory that it is given.
      command: the arguments of the command for that directory.
      check: checks the directory after the fault, and the `Result`.
      plans: each a fault, and a function that returns a new ``chosen`` for `Server.run`; and ``LASTING``, if so.
    """
    counts, problems, began = {}, [], time.monotonic()
    for fault, choose, *lasting in plans:
        for n in itertools.count(1):
            folder = server.folder()
            prepare(folder)
            result = server.run(*command(folder), chosen=choose(), n=n, fault=fault, lasting=bool(lasting))
            if result.failed is None:  # the command has fewer calls
                break
            name = fault if fault == KILL else errno.errorcode.get(fault, "short")
            counts.setdefault(name, collections.Counter())[result.failed.name] += 1
            try:
                check(folder, result)
            except AssertionError as error:
                problems.append(f"{name} {result.failed}: {error}")
                print(problems[-1], flush=True)
            shutil.rmtree(folder, ignore_errors=True)  # an earlier thread may still be writing there
    total = sum(each.total() for each in counts.values())
    seconds = time.monotonic() - began
    print(f"{total} faults in {seconds:.0f} s:", *(f"{name} {dict(each)}" for name, each in counts.items()))
    assert not problems, f"{len(problems)} of {total}"
    assert total > 0


def try_resuming(server, interrupted, check, plan):
    """`try_all` of a plan on copies of the interrupted run, which resumes to step ten."""
    try_all(
        server,
        lambda run_dir: shutil.copytree(interrupted, run_dir),
        lambda run_dir: ["train", "--workdir", run_dir, "--resume", "--steps", 10],
        check,
        plan,
    )


def changes(call):
    """Calls that change, flush or lock a file or a directory."""
    return call.changes or call.name in ("fsync", "fdatasync", "flock", "fcntl")


def first_reads():
    """Calls that only read, each once for a file; a command verifies a checkpoint several times."""
    seen = set()

    def chosen(call):
        name = re.sub("[0-9a-f]{32}", "*", str(call))
        return not (changes(call) or name in seen or seen.add(name))

    return chosen


def all_changes():
    return changes


def files_changed():
    """Between two calls that change something the files are the same: before one is after the other."""
    return lambda call: call.changes


ALL = [(errno.EIO, all_changes), (errno.ENOSPC, all_changes), (errno.EACCES, all_changes), (KILL, files_changed)]
IDS = ["EIO", "ENOSPC", "EACCES", "kill"]


def new_content():
    """What a full disk refuses; files can still be deleted."""
    return lambda call: call.changes and call.name not in ("unlink", "unlinkat", "rmdir", "ftruncate")


DISKS = [(errno.EROFS, files_changed, LASTING), (errno.ENOSPC, new_content, LASTING)]
READS = [(errno.EIO, first_reads), (errno.EACCES, first_reads), (errno.EMFILE, first_reads)]


@pytest.mark.parametrize(
    "plan",
    [*ALL, *DISKS, *READS],
    ids=[*IDS, "read-only from then", "full from then", "reads EIO", "reads EACCES", "reads EMFILE"],
)
def test_resume_and_save(plan, server, interrupted, whole):
    """A run that resumes passes over a damaged checkpoint, saves another and deletes an expired one."""
    before = checkpoints(interrupted)

    def check(run_dir, result):
        if result.code is not None:
            assert_one_line_or_success(result)
        after = checkpoints(run_dir)
        blamed = f"{run_dir / 'checkpoints' / '8'} is damaged: " in result.err  # its own bytes could not be read
        assert before["8"] in (after.get("8"), after.get("8.damaged") if blamed else None)
        assert "10" in after or before["4"] == after.get("4")  # it expires with the new one
        assert before["9"] in (after.get("9"), after.get("9.damaged"))
        json.loads((run_dir / "config.json").read_text())
        rows = (run_dir / "metrics.jsonl").read_bytes()
        assert whole[0]["metrics.jsonl"].startswith(rows) or (interrupted / "metrics.jsonl").read_bytes() == rows
        assert_resumes(server, run_dir, whole, "--resume", "--steps", 10)

    try_resuming(server, interrupted, check, plan)


def of_event_files():
    return lambda call: changes(call) and "/tensorboard" in str(call)


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC, errno.EACCES, KILL], ids=IDS)
def test_event_files(fault, server, interrupted, whole):
    """A run that cannot write them continues without them, or says why it does not start; the next start has all."""

    def check(run_dir, result):
        if result.code is not None:
            assert_one_line_or_success(result)
        assert checkpoints(run_dir)["8"] == checkpoints(interrupted)["8"]
        assert_resumes(server, run_dir, whole, "--resume", "--steps", 10)
        assert server.run("train", "--workdir", run_dir, "--resume", "--steps", 11, "--tensorboard").code == 0
        logged = [(step, name, value) for step, name, value in read_tensorboard(run_dir) if name != "samples"]
        assert sorted(logged) == sorted(scalars(run_dir))

    try_all(
        server,
        lambda run_dir: shutil.copytree(interrupted, run_dir),
        lambda run_dir: ["train", "--workdir", run_dir, "--resume", "--steps", 10, "--tensorboard"],
        check,
        (fault, of_event_files),
    )


def short_writes():
    return lambda call: call.name in ("write", "pwrite64", "writev")


def interruptible():
    return lambda call: call.name in ("open", "openat", "write", "writev", "pwrite64", "fsync", "fcntl", "flock")


def unlocked():
    return lambda call: call.name in ("fcntl", "flock")


@pytest.mark.parametrize(
    "plan",
    [(-7, short_writes), (errno.EINTR, interruptible), (errno.ENOLCK, unlocked)],
    ids=["short", "EINTR", "ENOLCK"],
)
def test_uncommon_results(plan, server, interrupted, whole):
    """A write of fewer bytes than given, and a call that a signal interrupted, are no errors to begin with."""

    def check(run_dir, result):
        assert_one_line_or_success(result)
        assert checkpoints(run_dir)["8"] == checkpoints(interrupted)["8"]
        assert_resumes(server, run_dir, whole, "--resume", "--steps", 10)

    try_resuming(server, interrupted, check, plan)


@pytest.mark.parametrize("plan", ALL, ids=IDS)
def test_start(plan, server, whole):
    """Before its first checkpoint a run restarts; before it has a config its directory can be used again."""

    def check(run_dir, result):
        if result.code is not None:
            assert_one_line_or_success(result)
        resume = ["--resume", "--steps", 10] if (run_dir / "config.json").exists() else ["--steps", 10, *FLAGS]
        assert_resumes(server, run_dir, whole, *resume)

    try_all(
        server, lambda run_dir: None, lambda run_dir: ["train", "--workdir", run_dir, "--steps", 2, *FLAGS], check, plan
    )


@pytest.mark.parametrize("plan", ALL, ids=IDS)
def test_import(plan, server, interrupted):
    """A run either starts with the imported weights, or there is none."""
    weights = server.root / "weights.safetensors"
    if not weights.exists():
        done = server.run("export", interrupted, "--format", "safetensors", "--checkpoint", 8, "--out", weights)
        assert done.code == 0, done.err
    flags = ["--steps", 2, *FLAGS]
    run_dir = server.folder()
    assert server.run("import", weights, "--workdir", run_dir, *flags).code == 0
    first = server.bits(run_dir)
    assert server.run("train", "--workdir", run_dir, "--resume").code == 0
    whole = run_files(run_dir), server.bits(run_dir)

    def check(run_dir, result):
        if result.code is not None:
            assert_one_line_or_success(result)
        if not (run_dir / "config.json").exists():
            whole_checkpoint = any(name == "0" for name in checkpoints(run_dir))
            again = server.run("import", weights, "--workdir", run_dir, *flags)
            if whole_checkpoint:
                assert result.code is None
                assert "is not an empty directory: choose another --workdir" in again.err
                return
            assert again.code == 0, again.err
        assert server.bits(run_dir) == first
        assert_resumes(server, run_dir, whole, "--resume")

    try_all(
        server,
        lambda run_dir: None,
        lambda run_dir: ["import", weights, "--workdir", run_dir, *flags],
        check,
        plan,
    )


@pytest.mark.parametrize("name", ["samples.png", "samples.npy", "gan.safetensors"])
def test_files_for_others(name, server, interrupted):
    """Samples and exports are there as a whole or not at all, and the run is not changed."""
    export = ["export", interrupted, "--format", "safetensors"]
    command = [*(export if name.endswith("safetensors") else ["sample", interrupted]), "--checkpoint", 8]
    folder = server.folder()
    folder.mkdir()
    assert server.run(*command, "--out", folder / name).code == 0
    expected, run_before = (folder / name).read_bytes(), all_files(interrupted)

    def check(folder, result):
        if result.code is not None:
            assert_one_line_or_success(result)
            assert (result.code == 0) == (folder / name).exists()
        if (folder / name).exists():
            assert (folder / name).read_bytes() == expected
        else:
            assert server.run(*command, "--out", folder / name).code == 0
            assert all_files(folder) == {name: expected}
        assert all_files(interrupted) == run_before

    try_all(server, Path.mkdir, lambda folder: [*command, "--out", folder / name], check, *ALL, *READS[:2])


def test_run_killed_100_times_ends_in_same_bits(server):
    """At any moment, a moment after a save has begun, or at one of the calls of a start or a resume."""
    chance, kills, moments, within_a_save = random.Random(3), 0, collections.Counter(), 0
    flags = ["--steps", 40, *FLAGS]
    whole_dir = server.folder()
    assert server.run("train", "--workdir", whole_dir, *flags).code == 0
    whole, run_dir, longest = (run_files(whole_dir), server.bits(whole_dir)), server.folder(), 8.0
    while kills < 100:
        resume = ["--resume"] if (run_dir / "config.json").exists() else flags
        moment = ("any", "save", "resume")[kills % 3]
        began = time.monotonic()
        result = server.run(
            *("train", "--workdir", run_dir, *resume),
            chosen=lambda call, moment=moment: moment == "resume" or ".partial/" in call.path,
            n={"any": 0, "save": chance.randrange(1, 400), "resume": chance.randrange(1, 250)}[moment],
            fault=KILL,
            after=chance.uniform(0, longest) if moment == "any" else None,
        )
        if result.code is None:
            kills += 1
            moments[moment] += 1
            within_a_save += any((run_dir / "checkpoints").glob("*.partial"))
            continue
        assert (result.code, result.err) == (0, "")
        longest = time.monotonic() - began if "resume" not in resume else longest
        assert_resumes(server, run_dir, whole, "--resume")
        run_dir = server.folder()
    print(f"{kills} kills survived, {within_a_save} of them within a save: {dict(moments)}")
    assert within_a_save >= 15
    assert_resumes(server, run_dir, whole, *(["--resume"] if (run_dir / "config.json").exists() else flags))
