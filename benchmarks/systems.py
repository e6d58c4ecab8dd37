"""The systems that can be timed, and the parent's side of a worker."""

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple


class System(NamedTuple):
    """What to start, and what must be installed for it."""

    module: str  # in benchmarks.peers
    packages: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


OURS = System("this_project")
PEERS = {
    "torch": System("pytorch", ("torch",)),
    "keras-tensorflow": System("keras_tutorial", ("keras", "tensorflow"), (("KERAS_BACKEND", "tensorflow"),)),
    "keras-torch": System("keras_tutorial", ("keras", "torch"), (("KERAS_BACKEND", "torch"),)),
    "flax-plain": System("flax_plain"),
}


def missing_packages(system: System) -> list[str]:
    """Packages that the system needs and that are not installed."""
    return [name for name in system.packages if importlib.util.find_spec(name) is None]


class Worker:
    """A system running in a process of its own, idle until asked."""

    device: str
    first_step: float

    def __init__(self, system: System, batch_size: int, wait: bool = True):
        """Start it and, unless processes that wait for each other are started, wait for its first step."""
        # Compiled afresh, whatever the user's settings: the first step's time is reported.
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", system.module, str(batch_size)],
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2", **dict(system.environment)},
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until its first step is done."""
        first = self.receive()
        self.device, self.first_step = first["device"], first["first_step"]

    def ask(self, request: str) -> dict[str, Any]:
        """One request of `benchmarks.worker`, and its answer."""
        self.send(request)
        return self.receive()

    def send(self, request: str) -> None:
        """Only the request."""
        assert self._process.stdin
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()

    def receive(self) -> dict[str, Any]:
        """The answer to a request that was sent."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with exit code {self._process.wait()}; its words are above")
        return json.loads(line)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ("jax", "jaxlib", "flax", "optax", "torch", "keras", "tensorflow", "tensorflow-cpu")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages if name in installed},
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
