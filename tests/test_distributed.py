"""Batches that several devices share: eight that are one CPU in truth, and processes that are real."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import FLAGS, one_line, rows

from dcgan_jax import cli
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.run import restore_run

EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
# Batch normalisation takes these away again, so their gradients are rounding alone, and RMSprop makes as large a
# step of rounding as of anything: they differ between any two programs, and change nothing that is learned.
CANCELLED = [f"generator/params/{layer}/bias" for layer in ("dense", "conv_1", "conv_2", "conv_3")]


def test_eight_devices_do_the_ten_steps_that_one_does(run_python):
    """In float64: in float32 RMSprop's first updates make steps of 3e-4 from gradients that are rounding alone."""
    out = run_python(
        """
        import json, re
        import jax, numpy as np
        jax.config.update("jax_enable_x64", True)
        from dcgan_jax import init_state, load_dataset, train_step
        from dcgan_jax.training.distributed import data_mesh, replicate, split

        def float64(leaf):
            return leaf.astype("float64") if leaf.dtype == "float32" else leaf

        mesh, data, n = data_mesh(), load_dataset(), 8
        one = jax.tree.map(float64, init_state(jax.random.key(0)))
        many, sharding = replicate(one, mesh), split(mesh)
        loss_gaps = []
        for i in range(10):
            images, key = data[i * n : (i + 1) * n], jax.random.key(i)
            one, metrics = train_step(one, images, key)
            many, others = train_step(many, jax.device_put(images, sharding), key)
            loss_gaps += [abs(float(metrics[k] / others[k]) - 1) for k in ("d_loss", "g_loss")]
        gaps = {}
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(many), strict=True):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if "params" in name or "batch_stats" in name:
                gaps[name] = float(abs(np.asarray(x) - np.asarray(y)).max() / abs(np.asarray(x)).max())
        program = train_step.lower(many, jax.device_put(images, sharding), key).compile()
        collectives = re.findall(
            r"= (.*?) ((?:all|reduce|collective|ragged)-[a-z-]+?)(?:-start)?\\(", program.as_text()
        )
        alone = train_step.lower(one, images, key).compile()
        work = program.cost_analysis()["flops"] / alone.cost_analysis()["flops"]
        print(json.dumps([loss_gaps, gaps, collectives, work]))
        """,
        **EIGHT,
    )
    loss_gaps, gaps, collectives, work = json.loads(out)
    assert len(loss_gaps) == 20
    assert max(loss_gaps) < 1e-10
    assert {name: gap for name, gap in gaps.items() if gap > 1e-9}.keys() <= set(CANCELLED)
    # Gradients, statistics and metrics are summed over the devices; nothing of the batch leaves the device it is on.
    assert {kind for _, kind in collectives} == {"all-reduce"}
    assert 5 <= len(collectives) <= 20
    # Each device draws its own fakes alone: if all drew all of them, that would be more than a half.
    assert work < 1 / 3
    assert not any(f"f64[{n}," in shapes or "u8[" in shapes for shapes, _ in collectives for n in (8, 16))


@pytest.mark.slow
def test_in_float32_descent_on_eight_devices_keeps_to_one_and_rmsprop_drifts(run_python):
    """Losses to 1e-5 and each network, as one vector, to 1e-4, where an optimizer does not magnify rounding."""
    out = run_python(
        """
        import json
        import jax, numpy as np, optax
        from dcgan_jax import init_state, load_dataset, preset, train_step
        from dcgan_jax.training.distributed import data_mesh, replicate, split

        mesh, data, n, gaps = data_mesh(), load_dataset(), 16, {}
        for name in ("descent", "keras3", "tutorial"):
            pair = (optax.sgd(0.1), optax.sgd(0.1)) if name == "descent" else preset(name)
            one = init_state(jax.random.key(0), discriminator_tx=pair[0], generator_tx=pair[1])
            many, sharding = replicate(one, mesh), split(mesh)
            losses = []
            for i in range(10):
                images, key = data[i * n : (i + 1) * n], jax.random.key(i)
                one, metrics = train_step(one, images, key)
                many, others = train_step(many, jax.device_put(images, sharding), key)
                losses.append(max(abs(float(metrics[k] / others[k]) - 1) for k in ("d_loss", "g_loss")))
            params = []
            for half in ("generator", "discriminator"):
                x, y = (jax.flatten_util.ravel_pytree(jax.device_get(getattr(s, half).params))[0] for s in (one, many))
                params.append(float(np.linalg.norm(x - y) / np.linalg.norm(x)))
            gaps[name] = {"losses": losses, "params": params}
        print(json.dumps(gaps))
        """,
        **EIGHT,
    )
    gaps = json.loads(out)
    for name, gap in gaps.items():
        losses, params = (" ".join(f"{value:.0e}" for value in gap[what]) for what in ("losses", "params"))
        print(f"{name}: losses by step {losses}; parameters of G and D after ten {params}")
    assert max(gaps["descent"]["losses"]) < 1e-5
    assert max(gaps["descent"]["params"]) < 1e-4


@pytest.fixture
def job(command, wheel, tmp_path):
    """Start a job of so many processes on this machine, as a cluster would; all are killed at the end."""
    started = []

    def start(count, *flags, folder, path=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        variables = {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        flags = ("--distributed", "--workdir", folder, *flags)
        for i in range(count):
            environment = {**variables, "JAX_PROCESS_ID": str(i)}
            if path:  # before the package's own
                environment["PYTHONPATH"] = os.pathsep.join([str(path), str(wheel)])
            with (tmp_path / f"{folder.name}-{i}.txt").open("w") as told:
                process = command(*flags, cwd=tmp_path, environment=environment, stdout=told, stderr=subprocess.STDOUT)
            started.append(process)
        return started[-count:]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition, seconds=600):  # four processes that compile on two busy cores
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def assert_same_losses(folder, finished):
    """The rows of a run of one process; from step to step RMSprop multiplies what rounding has made different."""
    ours, theirs = rows(folder), rows(finished)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert row["d_loss"] == pytest.approx(other["d_loss"], rel=1e-5 if row["step"] == 1 else 0.1)
        assert row["g_loss"] == pytest.approx(other["g_loss"], rel=1e-5 if row["step"] == 1 else 0.1)


def test_two_processes_train_the_run_of_one_and_the_first_alone_writes(job, finished, tmp_path):
    folder = tmp_path / "run"
    processes = job(2, "--steps", 11, *FLAGS, folder=folder)
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert_same_losses(folder, finished[0])
    assert {p.relative_to(folder) for p in folder.rglob("*.png")} == {
        p.relative_to(finished[0]) for p in finished[0].rglob("*.png")
    }
    assert checkpoint_steps(folder / "checkpoints") == checkpoint_steps(finished[0] / "checkpoints")
    assert not list(folder.rglob("*process_1*"))
    assert "on cpu, 2 of them" in (tmp_path / "run-0.txt").read_text()
    assert "[D loss" not in (tmp_path / "run-1.txt").read_text()
    # The checkpoint is one like any other: a single process reads it.
    assert int(restore_run(folder).state.step) == 11


@pytest.mark.slow
def test_a_job_survives_sigterm_and_sigkill_of_one_of_its_processes(job, command, finished, tmp_path):
    """Two processes, one of which has SIGTERM; then four, one of which is killed; then one goes on to the end."""
    folder = tmp_path / "run"
    flags = ["--log-every", 3, "--sample-every", 5, "--checkpoint-every", 4, "--seed", 3, "--batch-size", 4]
    whole = command("--steps", 60, *flags, "--workdir", tmp_path / "whole", cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert whole.wait(timeout=600) == 0

    processes = job(2, "--steps", 60, *flags, folder=folder)
    wait_for(lambda: (folder / "checkpoints" / "8").exists())
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    saved = checkpoint_steps(folder / "checkpoints")[0]
    assert f"stopped and saved at step {saved}" in (tmp_path / "run-0.txt").read_text()

    processes = job(4, "--resume", folder=folder)
    wait_for(lambda: checkpoint_steps(folder / "checkpoints")[0] > saved + 4)
    processes[2].kill()
    assert all(process.wait(timeout=300) != 0 for process in processes)
    assert "error: the job is broken" in (tmp_path / "run-0.txt").read_text()
    assert "Traceback" not in (tmp_path / "run-0.txt").read_text()

    killed_at = checkpoint_steps(folder / "checkpoints")[0]
    assert killed_at < 60
    last = command("--resume", "--workdir", folder, cwd=tmp_path, stdout=subprocess.PIPE)
    out, _ = last.communicate(timeout=600)
    assert last.returncode == 0
    assert "saved with devices 4, now 1" in out
    assert f"going on from step {killed_at}" in out
    assert [row["step"] for row in rows(folder)] == [row["step"] for row in rows(tmp_path / "whole")]
    assert rows(folder)[0]["d_loss"] == pytest.approx(rows(tmp_path / "whole")[0]["d_loss"], rel=1e-5)
    print(
        f"saved at {saved} by SIGTERM, killed after {killed_at}; last rows",
        rows(folder)[-1],
        rows(tmp_path / "whole")[-1],
    )


def test_a_first_process_that_cannot_begin_ends_the_others(job, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").touch()
    processes = job(2, "--steps", 5, "--batch-size", 2, folder=tmp_path / "run")
    assert [process.wait(timeout=120) for process in processes] == [2, 2]
    assert "is not an empty folder" in (tmp_path / "run-0.txt").read_text()
    assert "error" not in (tmp_path / "run-1.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--devices", 2], "--devices must be at most 1, those of this machine, got 2"),
        (["--devices", 0], "--devices must be between 1 and"),
    ],
)
def test_devices_that_cannot_be_had_are_told(flags, message, tmp_path, capsys):
    assert cli.train_main([*map(str, flags), "--workdir", str(tmp_path / "run")]) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_job_that_nobody_describes_and_a_device_that_there_is_not_are_told(command, tmp_path):
    for flags, environment, message in (
        (["--distributed"], {}, "--distributed finds no job to join (coordinator_address should be defined"),
        (["--dry-run"], {"JAX_PLATFORMS": "nonsense"}, "JAX finds no device (Unable to initialize backend 'nonsense'"),
    ):
        process = command(
            *flags, "--workdir", tmp_path / "run", cwd=tmp_path, environment=environment, stderr=subprocess.PIPE
        )
        _, err = process.communicate(timeout=60)
        assert process.returncode == 2
        assert err.startswith(f"error: {message}")
        assert err.count("\n") == 1


@pytest.mark.slow
def test_an_error_on_another_process_ends_the_job_at_once(job, tmp_path):
    """The second process has no data set; nobody waits for the minutes that JAX would."""
    folder = tmp_path / "run"
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif os.environ.get('JAX_PROCESS_ID') == '1':\n"
        "    import dcgan_jax.data as d, dcgan_jax.training.loop as l\n"
        "    def fail(*a, **k): raise d.DatasetError('no data here')\n"
        "    l.load_dataset = fail\n"
    )
    began = time.monotonic()
    processes = job(2, "--steps", 5, "--batch-size", 2, folder=folder, path=tmp_path)
    assert processes[1].wait(timeout=120) == 2
    assert processes[0].wait(timeout=120) != 0
    assert time.monotonic() - began < 150
    assert "error: the job is broken (no data here)" in (tmp_path / "run-1.txt").read_text()


def test_a_batch_that_the_devices_cannot_share_is_told_and_fewer_devices_train_it(run_python, tmp_path):
    out = run_python(
        f"""
        import sys
        from dcgan_jax import cli
        sys.stderr = sys.stdout
        flags = ["--steps", "1", "--batch-size", "2", "--workdir", {str(tmp_path / "run")!r}]
        print(cli.train_main([*flags, "--dry-run"]))
        print(cli.train_main([*flags, "--devices", "2", "--dry-run"]))
        print(cli.train_main([*flags, "--devices", "all"]))
        """,
        **EIGHT,
    )
    assert out.count("error: --batch-size must be a multiple of 8, the devices that share it, got 2") == 2
    assert [line for line in out.splitlines() if line.isdecimal()] == ["2", "0", "2"]


def test_the_step_runs_on_explicit_axes_in_shard_map_and_under_checkpoint(run_python):
    """Small networks; `jax.make_mesh` makes explicit axes unless it is told otherwise."""
    out = run_python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P
        from conftest import SmallDiscriminator, SmallGenerator, assert_close
        from dcgan_jax import generate, generator_step, init_state, sample, train_step

        def new(key):
            return init_state(key, generator=SmallGenerator(), discriminator=SmallDiscriminator(), latent_size=5)

        mesh, key = jax.make_mesh((8,), ("data",)), jax.random.key(0)
        split, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
        assert mesh.axis_types[0].name == "Explicit"
        images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
        state = new(key)
        whole, metrics = train_step(state, images, key)

        # One GAN whose batch is split.
        many, others = train_step(jax.device_put(state, everywhere), jax.device_put(images, split), key)
        assert many.generator.params["Dense_0"]["kernel"].sharding.is_fully_replicated
        assert_close(others["d_loss"], metrics["d_loss"], 1e-5)
        assert_close(others["g_loss"], metrics["g_loss"], 1e-5)
        # A state that is on no mesh yet.
        many, others = train_step(state, jax.device_put(images, split), key)
        assert many.generator.params["Dense_0"]["kernel"].sharding.is_fully_replicated
        assert_close(others["d_loss"], metrics["d_loss"], 1e-5)
        alone, _ = generator_step(state, key, np.int64(16), like=jax.device_put(images, split))
        alone, _ = generator_step(jax.device_put(state, everywhere), key, 16, like=jax.device_put(images, split))
        assert_close(alone.generator.batch_stats, generator_step(state, key, 16)[0].generator.batch_stats, 1e-5)
        z = np.zeros((16, 5), np.float32)
        drawn = generate(jax.device_put(state, everywhere), jax.device_put(z, split))
        assert drawn.sharding.spec[0] == "data"
        assert_close(drawn, generate(state, z), 1e-5)
        assert sample(jax.device_put(state, everywhere), key, 3).shape == (3, 8, 8, 1)

        # Eight GANs, one a device: under vmap, and in shard_map.
        keys = jax.random.split(key, 8)
        population = jax.vmap(new)(keys)
        _, expected = jax.vmap(train_step, in_axes=(0, None, 0))(population, images, keys)
        population, split_keys = jax.device_put((population, keys), split)
        _, spread = jax.jit(jax.vmap(train_step, in_axes=(0, None, 0)))(population, images, split_keys)
        assert spread["d_loss"].sharding.spec == P("data")
        assert_close(spread["d_loss"], expected["d_loss"], 1e-5)
        one_each = jax.shard_map(
            jax.vmap(train_step, in_axes=(0, None, 0)),
            mesh=mesh, in_specs=(P("data"), P(), P("data")), out_specs=P("data"),
        )
        _, mapped = jax.jit(one_each)(population, jax.device_put(images, everywhere), split_keys)
        assert_close(mapped["d_loss"], expected["d_loss"], 1e-5)

        # A gradient through a step, which is computed again for it.
        def after(scale):
            params = jax.tree.map(lambda p: p * scale, state.generator.params)
            scaled = state.replace(generator=state.generator.replace(params=params))
            return jax.checkpoint(train_step)(scaled, images, key)[1]["g_loss"]

        slope = jax.grad(after)(1.0)
        assert np.isfinite(slope) and slope != 0
        print("done")
        """,
        **EIGHT,
    )
    assert out.strip() == "done"
