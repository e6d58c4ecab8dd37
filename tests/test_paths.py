"""Paths that people give: a home directory is expanded everywhere, and a URL is refused before anything is made."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers import one_error_line, run_cli

from dcgan_jax import TrainConfig, load_dataset, load_run, save_grid
from dcgan_jax.errors import UserError
from dcgan_jax.paths import local_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's home directory, beside the working one; both are empty."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.parametrize(
    "path", ["a", "./~a", "a/~", "/a", "C:/a", "C:\\a", "C://a", "a:b", "a b/c:d", "..", "Zürich 数字", "10:30/run"]
)
def test_local_paths_stay_as_they_are(path):
    assert local_path(path, "--out") == Path(path)


def test_home_directories_are_expanded(home):
    assert local_path("~", "--out") == home
    assert local_path("~/a/~", "--out") == home / "a" / "~"
    assert local_path(Path("~/a"), "--out") == home / "a"
    assert local_path("~root/a", "--out") == Path("~root/a").expanduser()
    with pytest.raises(UserError, match=r"^--out is ~nobody-here/a, whose home directory is not known: write ./~no"):
        local_path("~nobody-here/a", "--out")


URLS = ["gs://bucket/run", "s3://bucket/run", "https://host/run", "file:///run", "HDFS://host/run", "user@host:/run"]


@pytest.mark.parametrize("url", [*URLS, Path("gs://bucket/run")])
def test_urls_are_refused(url):
    with pytest.raises(UserError, match=f"^--out must be a local path, not a URL, got {url}$"):
        local_path(url, "--out")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --resume --workdir={}/run", "nothing to resume in {}/run"),
        ("train --resume --workdir {}/run --dry-run", "nothing to resume in {}/run"),
        ("train --dataset kmnist --data-dir {}/file --dry-run", "cannot write the data directory {}/file/downloads"),
        ("sample {}/run --out a.png", "there is no run in {}/run"),
        ("sample run --out {}/nodir/a.png", "the directory {}/nodir of --out does not exist"),
        ("evaluate {}/run", "there is no run in {}/run"),
        ("evaluate {}/a.npy", "there is no file or folder {}/a.npy"),
        ("export {}/run --format safetensors", "there is no run in {}/run"),
        ("export run --format safetensors --out {}/nodir/a.safetensors", "{}/nodir of --out does not exist"),
        ("import {}/a.safetensors", "{}/a.safetensors"),
    ],
)
def test_commands_expand_home_and_refuse_urls(command, message, home, capsys):
    (home / "file").write_text("")
    assert run_cli(*command.format("~").split()) == 2
    assert message.format(home) in one_error_line(capsys)
    assert run_cli(*command.format("gs://bucket").split()) == 2
    assert "must be a local path, not a URL, got gs://bucket/" in one_error_line(capsys)
    assert sorted(path.name for path in home.parent.rglob("*")) == ["file", "home", "work"]


def test_functions_expand_home_and_refuse_urls(home, monkeypatch):
    config = TrainConfig(workdir="~/run", data_dir="~/data")
    assert (config.workdir, config.data_dir) == (str(home / "run"), str(home / "data"))
    assert TrainConfig.from_values(dataclasses.asdict(config)) == config
    save_grid("~/grid.png", np.zeros((1, 28, 28, 1)))
    assert (home / "grid.png").exists()
    with pytest.raises(UserError, match=f"there is no run in {home}/run"):
        load_run("~/run")
    monkeypatch.setenv("TFDS_DATA_DIR", "~/grid.png")
    with pytest.raises(UserError, match=f"cannot write the data directory {home}/grid.png/downloads"):
        load_dataset("kmnist")
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://bucket")
    for call in (
        lambda: TrainConfig(workdir="gs://bucket/run"),
        lambda: TrainConfig(data_dir="gs://bucket/data"),
        lambda: save_grid("gs://bucket/a.png", np.zeros((1, 28, 28, 1))),
        lambda: load_run("gs://bucket/run"),
        lambda: load_dataset("kmnist"),
        lambda: load_dataset("kmnist", data_dir="gs://bucket/data"),
    ):
        with pytest.raises(UserError, match="must be a local path, not a URL, got gs://bucket"):
            call()
