"""The systems that can be timed, each in a process of its own."""

import contextlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import ROOT


class System(NamedTuple):
    """A module to start, its required packages, its environment, its steps per call, arguments of ``prepare``."""

    module: str  # in benchmarks.peers
    packages: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    steps: int = 1
    variant: tuple[str, ...] = ()  # further arguments of its `prepare`


def _keras(backend: str, *variant: str) -> System:
    return System("keras_tutorial", ("keras", backend), (("KERAS_BACKEND", backend),), variant=variant)


# With huge pages, as train.py restarts itself, and without, as in a program that does not request them.
OURS = System("this_project", (), (("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),), 1, ("tutorial", "float32", "run"))
LIBRARY = System("this_project", environment=(("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0"),))
PEERS = {
    "torch": System("pytorch", ("torch",)),
    "torch-channels-last": System("pytorch", ("torch",), variant=("channels-last",)),
    "torch-compiled": System("pytorch", ("torch",), variant=("compiled",)),
    "torch-bfloat16": System("pytorch", ("torch",), variant=("eager", "bfloat16")),
    "torch-bfloat16-channels-last": System("pytorch", ("torch",), variant=("channels-last", "bfloat16")),
    "torch-bfloat16-compiled": System("pytorch", ("torch",), variant=("compiled", "bfloat16")),
    "keras-tensorflow": _keras("tensorflow"),
    "keras-tensorflow-compiled": _keras("tensorflow", "compiled"),
    "keras-torch": _keras("torch"),
    "keras-jax": _keras("jax"),
    "flax-plain": System("flax_plain"),
    # Not peers, but this project's other preset, and its step as in users' programs.
    "recommended": System("recommended", environment=OURS.environment, steps=4),
    "dcgan-jax-library": LIBRARY,
    "dcgan-jax-bfloat16": OURS._replace(variant=("tutorial", "bfloat16", "run")),
    "dcgan-jax-library-bfloat16": LIBRARY._replace(variant=("tutorial", "bfloat16")),
}


def missing_packages(system: System) -> list[str]:
    """Packages that the system needs and that are not installed."""
    return [name for name in system.packages if importlib.util.find_spec(name) is None]


class WorkerError(RuntimeError):
    """A worker has failed, or ended."""


class Worker:
    """A system running in a process of its own, idle until asked."""

    device: str
    first_step: float

    def __init__(self, system: System, batch_size: int, wait: bool = True, tree: Path = ROOT):
        """Start it from a source tree and, unless it is one process of a job, ``wait`` for its first step."""
        # Without the user's compilation cache, because the time to compile is reported.
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", system.module, str(batch_size), *system.variant],
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2", **dict(system.environment)},
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until its first step is done."""
        first = self.receive()
        self.device, self.first_step = first["device"], first["first_step"]

    def ask(self, request: str) -> dict[str, Any]:
        """Send a request of `benchmarks.worker`, and return its answer."""
        self.send(request)
        return self.receive()

    def turn(self, steps: int, longest: float = math.inf) -> list[dict[str, Any]]:
        """The answers of ``steps`` steps after a warm-up step, as that follows a pause.

        If the warm-up takes at least ``longest`` seconds, only its answer.
        """
        first = self.ask("step")
        return [first] if first["seconds"] >= longest else [self.ask("step") for _ in range(steps)]

    def send(self, request: str) -> None:
        """Send a request without waiting for its answer."""
        assert self._process.stdin
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End the process. Any thread may call it while another waits for an answer, which then fails."""
        self._process.kill()

    def close(self) -> None:
        """End the process and wait for it."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # a request that was not read
                if pipe:
                    pipe.close()

    def receive(self) -> dict[str, Any]:
        """The answer to a request that was sent.

        Raises:
          WorkerError: if the system has raised an error, whose first line it has, or has ended; its output is above.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"a worker ended with exit code {self._process.wait()}; its output is above")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer
