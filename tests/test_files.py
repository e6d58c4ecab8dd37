"""Files are replaced as a whole, and read only with the digest they were published with."""

import errno
import hashlib
import os

import pytest

from dcgan_jax.errors import UserError
from dcgan_jax.files import PARTIAL, create_dir, read_verified, replace_file


class FileError(UserError):
    """An error class of the caller's."""


def write(text):
    return lambda path: path.write_text(text)


def test_replace_file_creates_and_replaces(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for text in ("first", "a second, longer one", "3"):
        replace_file(path, write(text))
        assert path.read_text() == text
        assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_reader_sees_the_old_file_until_renamed(tmp_path):
    """While the new content is written, only the name with ``.partial`` holds part of it."""
    path = tmp_path / "grid.png"
    path.write_text("old")
    written = []

    def in_two_parts(partial):
        with partial.open("w") as file:
            for part in ("new ", "content"):
                file.write(part)
                file.flush()
                assert path.read_text() == "old"
                written.append(partial.read_text())

    replace_file(path, in_two_parts)
    assert written == ["new ", "new content"]
    assert path.read_text() == "new content"


def test_open_reader_keeps_the_old_content(tmp_path):
    """The file is replaced, not overwritten: what another program has opened does not change under it."""
    path = tmp_path / "file"
    path.write_text("old content")
    with path.open() as reader:
        assert reader.read(3) == "old"
        replace_file(path, write("new"))
        assert reader.read() == " content"


def test_content_is_flushed_before_the_rename(tmp_path, monkeypatch):
    """Otherwise a crash of the machine may leave the new name without its content."""
    path, order = tmp_path / "file", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("flush"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("rename"), replace(*paths)))
    replace_file(path, write("content"))
    assert order == ["flush", "rename"]
    assert path.read_text() == "content"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError(), KeyboardInterrupt()])
@pytest.mark.parametrize("before", ["old", None])
def test_failing_writer_leaves_the_old_file(error, before, tmp_path):
    """And nothing beside it, whether it fails in the middle or is interrupted."""
    path = tmp_path / "file"
    if before:
        path.write_text(before)

    def fails(partial):
        partial.write_text("half of the n")
        raise error

    with pytest.raises(type(error)):
        replace_file(path, fails)
    assert [p.read_text() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_writer_that_fails_at_once_is_reported(tmp_path):
    """Its own error is raised, although there is nothing to remove."""
    with pytest.raises(ZeroDivisionError):
        replace_file(tmp_path / "file", lambda _: 1 // 0)
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "nowhere" / "file", write("content"))
    assert list(tmp_path.iterdir()) == []


def test_failing_rename_leaves_no_partial_file(tmp_path):
    """A directory of that name cannot be replaced by a file."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "taken", write("content"))
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_leftover_of_a_killed_process_is_replaced(tmp_path):
    (tmp_path / f"file{PARTIAL}").write_text("what a killed process had written so far, longer than the content")
    replace_file(tmp_path / "file", write("content"))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "content")]


def test_read_verified_returns_the_bytes(tmp_path):
    content = bytes(range(256))
    (tmp_path / "file").write_bytes(content)
    assert read_verified(tmp_path / "file", hashlib.sha256(content).hexdigest(), FileError, "reinstall") == content


@pytest.mark.parametrize("damaged", [b"", b"conten", b"contenT", b"content\n"])
def test_read_verified_refuses_other_content(damaged, tmp_path):
    path, expected = tmp_path / "file", hashlib.sha256(b"content").hexdigest()
    path.write_bytes(damaged)
    with pytest.raises(FileError) as error:
        read_verified(path, expected, FileError, "reinstall")
    found = hashlib.sha256(damaged).hexdigest()
    assert str(error.value) == (
        f"{path} is damaged or another file (SHA-256 {found[:12]}..., expected {expected[:12]}...): reinstall"
    )


def test_read_verified_reports_an_unreadable_file(tmp_path):
    for path, reason in ((tmp_path / "missing", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(FileError) as error:
            read_verified(path, "0" * 64, FileError, "reinstall")
        assert str(error.value) == f"cannot read {path} ({reason}): reinstall"


def two_files(folder):
    for name in ("a", "b"):
        (folder / name).write_text(name)


@pytest.mark.parametrize("there", [False, True])
def test_create_dir_has_all_files_or_none(there, tmp_path):
    """It is new, or empty."""
    path = tmp_path / "new"
    if there:
        path.mkdir()

    def interrupted(folder):
        two_files(folder)
        assert path.exists() == there
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_dir(path, interrupted)
    assert [p.name for p in tmp_path.rglob("*")] == ["new"] * there
    create_dir(path, two_files)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "new"]


def test_create_dir_does_not_touch_others(tmp_path):
    """Files that are there stay, and so does a directory that another process writes."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(OSError, match="full"):
        create_dir(tmp_path / "full", two_files)
    (tmp_path / ("new" + PARTIAL)).mkdir()
    with pytest.raises(FileExistsError, match="new.partial"):
        create_dir(tmp_path / "new", two_files)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["full", "mine", "new.partial"]
