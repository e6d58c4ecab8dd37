"""Free memory as Linux tells it, from small trees of its files; and steps that do not fit."""

import jax
import pytest

from dcgan_jax.errors import UserError
from dcgan_jax.memory import NotEnoughMemoryError, check_step_fits, free_memory, release_free_memory
from dcgan_jax.training.distributed import data_mesh

GIB = 2**30
V1_NONE = 9223372036854771712  # what version 1 writes where there is no limit


@pytest.fixture
def system(tmp_path):
    """Write files below a root, which has 8 GiB free, and return it."""

    def write(files):
        for name, content in {"proc/meminfo": f"MemTotal: {2**24} kB\nMemAvailable: {2**23} kB\n", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


def v2(group, limit, used, cached=0):
    """The files of a group in version 2."""
    folder = f"sys/fs/cgroup{group}"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 7\n",
    }


def v1(group, limit, used, cached=0):
    """The files of a group in version 1."""
    folder = f"sys/fs/cgroup/memory{group}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {cached}\n",
    }


def in_groups(*lines):
    return {"proc/self/cgroup": "".join(f"{line}\n" for line in lines)}


def test_machine_without_groups(system):
    assert free_memory(system({})) == 8 * GIB


def test_limit_at_the_root_of_version_2(system):
    """A container in a namespace of its own: its group is the mount."""
    root = system(in_groups("0::/") | v2("", 3 * GIB, 2 * GIB, GIB // 2))
    assert free_memory(root) == GIB + GIB // 2


def test_limit_of_a_job_in_version_2(system):
    """The step of a SLURM job has no limit of its own; the job has."""
    job = "/system.slice/slurmstepd.scope/job_5"
    groups = v2(f"{job}/step_0/user/task_0", "max", GIB) | v2(f"{job}/step_0", "max", GIB) | v2(job, 4 * GIB, 3 * GIB)
    assert free_memory(system(in_groups(f"0::{job}/step_0/user/task_0") | groups)) == GIB


def test_the_tightest_level_holds(system):
    groups = v2("/job/step", 2 * GIB, GIB) | v2("/job", 4 * GIB, 4 * GIB - 5) | v2("/other", 1, 1)
    assert free_memory(system(in_groups("0::/job/step") | groups)) == 5


def test_limit_of_docker_in_version_1(system):
    """The path is that of the host, and the container sees its own group as the mount."""
    root = system(in_groups("5:cpuset:/docker/3f2a", "4:memory:/docker/3f2a", "0::/") | v1("", 2 * GIB, GIB, 4096))
    assert free_memory(root) == GIB + 4096


def test_limit_of_a_job_in_version_1(system):
    job = "/slurm/uid_1000/job_5"
    groups = v1("", V1_NONE, 9 * GIB) | v1(job, 3 * GIB, GIB) | v1(f"{job}/step_0/task_0", V1_NONE, GIB)
    assert free_memory(system(in_groups(f"9:cpu,memory:{job}/step_0/task_0") | groups)) == 2 * GIB


@pytest.mark.parametrize(
    "groups",
    [
        in_groups("0::/") | v2("", "max", GIB),
        in_groups("4:memory:/") | v1("", V1_NONE, GIB),
        in_groups("4:memory:/") | v1("", V1_NONE - 15 * 4096, GIB),  # of pages of 64 KiB
    ],
    ids=["v2", "v1", "v1 of large pages"],
)
def test_no_limit(groups, system):
    root = system(groups)
    assert free_memory(root) == 8 * GIB
    (root / "proc/meminfo").unlink()
    assert free_memory(root) is None


def test_group_that_has_taken_all(system):
    """More than its limit is taken for a moment while pages are given back."""
    assert free_memory(system(in_groups("0::/") | v2("", GIB, GIB + 4096))) == 0


def test_group_outside_of_the_namespace(system):
    """Its path leads above the mount, and other folders are not read."""
    root = system(
        in_groups("0::/../../job") | v2("", 2 * GIB, GIB) | {"job/memory.max": "1", "job/memory.current": "1"}
    )
    assert free_memory(root) == GIB


def test_damaged_files_say_nothing(system):
    files = {"proc/self/cgroup": "\n:\n0\n::", "sys/fs/cgroup/memory.max": "\x00", "proc/meminfo": "MemAvailable: x\n"}
    assert free_memory(system(files)) is None


def test_other_systems_do_not_say(tmp_path):
    assert free_memory(tmp_path) is None


def test_this_system_has_some():
    free = free_memory()
    assert free is None or free > 0


def test_step_that_does_not_fit_is_refused(monkeypatch):
    step = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((512, 512), "float32")).compile()  # 1 MiB
    monkeypatch.setattr("dcgan_jax.memory.free_memory", lambda: 2**20)
    check_step_fits(step, 7000, data_mesh(1))
    monkeypatch.setattr("dcgan_jax.memory.free_memory", lambda: 2**20 - 1)
    with pytest.raises(NotEnoughMemoryError, match=r"^`batch_size` 7,000: a step takes 0.0 GiB of memory, and"):
        check_step_fits(step, 7000, data_mesh(1))
    monkeypatch.setattr("dcgan_jax.memory.free_memory", lambda: None)
    check_step_fits(step, 7000, data_mesh(1))
    assert issubclass(NotEnoughMemoryError, UserError)


def test_memory_given_back_twice():
    release_free_memory()
    release_free_memory()
