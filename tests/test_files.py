"""Atomic writes: a reader never meets half of a file or folder."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest

from perennial import files


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "state.json"
    files.write_json(path, {"b": 1, "a": 2})
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert [child.name for child in path.parent.iterdir()] == ["state.json"]


def test_an_exception_leaves_the_old_content(tmp_path):
    path = tmp_path / "table"
    files.write_text(path, "old")

    def write_half():
        with files.replacing(path) as temporary:
            temporary.write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_never_readable_by_others(tmp_path):
    path = tmp_path / "passwords.json"
    files.write_text(path, "old")
    files.write_text(path, "secret", files.PRIVATE)
    assert stat.S_IMODE(path.stat().st_mode) == files.PRIVATE


def test_a_new_folder_appears_whole_and_the_first_writer_wins(tmp_path):
    path = tmp_path / "store" / "version"
    with files.new_folder(path) as temporary:
        assert not path.exists()
        (temporary / "model").write_text("mine")
        path.mkdir()
        (path / "model").write_text("theirs")
    assert (path / "model").read_text() == "theirs"
    assert list(path.parent.iterdir()) == [path]


def test_digests(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert files.sha256(path) == hashlib.sha256(b"content").hexdigest()
    assert files.md5(path) == hashlib.md5(b"content").hexdigest()  # noqa: S324


def test_what_another_account_put_in_the_place_of_a_file_is_not_read(tmp_path):
    """A pipe would be waited for without an end, a link leads to files of the reader."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert files.read_plain(path, 100) == (b"content", 7)
    assert files.read_plain(path, 3) == (b"con", 7)
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder", "missing"):
        with pytest.raises(OSError, match=name):
            files.read_plain(tmp_path / name, 100)


def test_what_took_the_place_of_a_temporary_file_is_not_waited_for(tmp_path):
    def swapped() -> None:
        with files.replacing(tmp_path / "file") as temporary:
            temporary.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        swapped()
    assert not list(tmp_path.iterdir())
