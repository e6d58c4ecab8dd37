"""Check that this tree computes the same bits as an earlier revision of the repository.

    python tests/programs/compare_revisions.py REVISION

Three things are compared, on the JAX of the Python that runs this:

- the StableHLO of ``train_step`` and of ``run_steps`` at capacities 1 and 25, for every preset;
- a run of 11 steps by REVISION, with the same run by this tree, and with the first one resumed from its step 8 by this
  tree, if its files have the same format; in one process;
- the same in two processes.

It takes some four minutes on two cores, and needs git. The exit code is 1 if anything differs.
"""

import hashlib
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FLAGS = "--steps 11 --batch-size 2 --log-every 3 --sample-every 5 --checkpoint-every 4 --seed 3"


def print_hashes() -> None:
    """The hash of each program of the ``dcgan_jax`` that is imported, as JSON."""
    import jax
    import jax.numpy as jnp

    from dcgan_jax import init_state, train_step
    from dcgan_jax.presets import PRESETS
    from dcgan_jax.training.device_loop import run_steps

    key, images = jax.random.key(1), jnp.zeros((100, 28, 28, 1), jnp.uint8)
    source: Any = images  # of revisions without batch sources
    if "source" in inspect.signature(run_steps).parameters:
        from dcgan_jax.training.batch_source import DeviceImages

        source = DeviceImages(images)
    programs = {}
    for preset in PRESETS:
        state = init_state(jax.random.key(0), preset=preset)
        programs[f"{preset}, train_step"] = train_step.lower(state, images[:8], key)
        for capacity in (1, 25):
            lowered = run_steps.lower(state, source, key, 1, batch_size=8, capacity=capacity)
            programs[f"{preset}, run_steps, capacity {capacity}"] = lowered
    print(json.dumps({k: hashlib.sha256(v.as_text().encode()).hexdigest() for k, v in programs.items()}))


def python(tree: Path, *args: object, **environment: str) -> subprocess.Popen[str]:
    """A Python process that imports ``dcgan_jax`` from ``tree``."""
    return subprocess.Popen(
        [sys.executable, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def hashes(tree: Path) -> dict[str, str]:
    out, _ = python(tree, __file__, "--print-hashes").communicate()
    return json.loads(out)


def train(tree: Path, run_dir: Path, *flags: str, processes: int) -> None:
    """Run ``train`` of a tree in one process, or in a job of several on this machine."""
    command = ("-m", "dcgan_jax", "train", "--workdir", run_dir, *flags)
    if processes == 1:
        started = [python(tree, *command)]
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        job = {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(processes)}
        started = [python(tree, *command, "--distributed", **job, JAX_PROCESS_ID=str(i)) for i in range(processes)]
    for process in started:
        process.communicate()
        if process.returncode:
            raise SystemExit(f"training in {run_dir} ended with exit code {process.returncode}")


def print_leaves(run_dir: str) -> None:
    """The hash of each array of a run's last state, by the ``dcgan_jax`` that is imported, as JSON."""
    import jax
    import numpy as np

    from dcgan_jax import load_run

    leaves = jax.tree_util.tree_leaves_with_path(load_run(run_dir, 11).state)
    bits = {jax.tree_util.keystr(at, simple=True, separator="/"): np.asarray(leaf).tobytes() for at, leaf in leaves}
    print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in bits.items()}))


def differences(ours: Path, tree: Path, theirs: Path) -> list[str]:
    """What differs in a run of this tree and one of another: metrics, samples, the bits of the last checkpoint."""
    found = []
    for path in [theirs / "metrics.jsonl", *sorted(theirs.rglob("*.png"))]:
        name = path.relative_to(theirs)
        if not (ours / name).exists() or (ours / name).read_bytes() != path.read_bytes():
            found.append(str(name))
    printed = [python(*each).communicate()[0] for each in (leaves_of(ROOT, ours), leaves_of(tree, theirs))]
    a, b = map(json.loads, printed)
    return found + [name for name in {**a, **b} if a.get(name) != b.get(name)]


def leaves_of(tree: Path, run_dir: Path) -> tuple[object, ...]:
    return tree, __file__, "--print-leaves", run_dir


def run_format(run_dir: Path) -> Any:
    """The format of a run's files; None before they had one."""
    return json.loads((run_dir / "config.json").read_text()).get("format")


def main(revision: str) -> int:
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = folder / "before"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", before, revision], cwd=ROOT, check=True)
        try:
            ours, theirs = hashes(ROOT), hashes(before)
            for program in theirs:
                same = ours[program] == theirs[program]
                failed |= not same
                print(
                    f"{program}: {'the same program' if same else 'ANOTHER PROGRAM'} ({ours[program][:12]})", flush=True
                )
            for processes in (1, 2):
                theirs, ours, resumed = (folder / f"{name}-{processes}" for name in ("theirs", "ours", "resumed"))
                train(before, theirs, *FLAGS.split(), processes=processes)
                train(ROOT, ours, *FLAGS.split(), processes=processes)
                found = {"trained": differences(ours, before, theirs)}
                if run_format(theirs) == run_format(ours):
                    shutil.copytree(theirs, resumed)
                    shutil.rmtree(resumed / "checkpoints" / "11")
                    train(ROOT, resumed, "--resume", processes=processes)
                    found["resumed from step 8"] = differences(resumed, before, theirs)
                else:
                    print("its runs have another format, and are not resumed", flush=True)
                for what, names in found.items():
                    failed |= bool(names)
                    result = f"DIFFERS in {', '.join(names)}" if names else "the same bits"
                    print(f"{what} in {processes} process(es): {result}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", before], cwd=ROOT, check=True)
    return int(failed)


if __name__ == "__main__":
    if sys.argv[1:] == ["--print-hashes"]:
        print_hashes()
    elif sys.argv[1:2] == ["--print-leaves"]:
        print_leaves(sys.argv[2])
    elif len(sys.argv) == 2:
        sys.exit(main(sys.argv[1]))
    else:
        sys.exit(__doc__)
