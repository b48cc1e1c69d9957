"""The DataStore port: the same cases over the fake and over DVC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from doubles.data import MemoryData

from perennial.errors import ChecksumMismatch, DatasetMissing, ToolError


@pytest.fixture(params=["memory", "dvc"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryData()
    return dvc(tmp_path)


def dvc(tmp_path, remote=None):
    from perennial.adapters.dvc_data import DvcData

    return DvcData(tmp_path / "repo", str(remote or tmp_path / "remote"))


@pytest.fixture
def write(tmp_path):
    def file(name, content):
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return file


def test_an_empty_store_has_no_latest(store):
    assert store.latest() is None


def test_what_was_committed_comes_back(store, write, tmp_path):
    revision = store.commit({"m/a.bin": write("a", b"one"), "m/views/b.bin": write("b", b"two")}, "first")
    assert set(revision.files) == {"m/a.bin", "m/views/b.bin"}
    assert revision.files["m/a.bin"] == "f97c5d29941bfb1b2fdab0874906ab82"  # md5 of "one"
    store.checkout(revision.revision, tmp_path / "out")
    assert (tmp_path / "out/m/a.bin").read_bytes() == b"one"
    assert (tmp_path / "out/m/views/b.bin").read_bytes() == b"two"


def test_files_are_fetched_by_their_hashes(store, write, tmp_path):
    revision = store.commit({"m/a.bin": write("a", b"one"), "m/views/b.bin": write("b", b"two")}, "first")
    store.commit({"m/a.bin": write("a", b"three")}, "second")
    store.fetch(revision.files, tmp_path / "out")
    assert (tmp_path / "out/m/a.bin").read_bytes() == b"one"
    assert (tmp_path / "out/m/views/b.bin").read_bytes() == b"two"
    with pytest.raises(DatasetMissing, match=r"m/a\.bin"):
        store.fetch({"m/a.bin": "0" * 32}, tmp_path / "out")


def test_another_machine_fetches_from_the_remote(write, tmp_path):
    """It has the remote, and neither the repository nor the cache of the one that committed."""
    from perennial.adapters.dvc_data import DvcData

    committing = dvc(tmp_path / "one", tmp_path / "remote")
    revision = committing.commit({"m/a.bin": write("a", b"one")}, "first")
    shutil.rmtree(tmp_path / "one")
    other = DvcData(tmp_path / "other" / "repo", str(tmp_path / "remote"))
    other.fetch(revision.files, tmp_path / "out")
    assert (tmp_path / "out/m/a.bin").read_bytes() == b"one"
    (stored,) = [path for path in (tmp_path / "remote").rglob("*") if path.is_file()]
    stored.chmod(0o644)
    stored.write_bytes(b"six")
    with pytest.raises((ChecksumMismatch, DatasetMissing, ToolError)):
        other.fetch(revision.files, tmp_path / "again")


def test_same_bytes_are_the_same_revision_whatever_came_between(store, write, tmp_path):
    one = {"data": write("one", b"1")}
    first = store.commit(one, "first")
    assert store.commit(one, "again") == first
    second = store.commit({"data": write("two", b"2")}, "second")
    assert second.revision != first.revision
    assert store.latest() == second
    assert store.commit(one, "back") == first
    assert store.latest() == first
    for revision, content in ((first, b"1"), (second, b"2")):
        store.checkout(revision.revision, tmp_path / "out")
        assert (tmp_path / "out/data").read_bytes() == content


def test_unknown_revision_and_missing_source_are_named(store, write, tmp_path):
    with pytest.raises(DatasetMissing, match="nowhere"):
        store.commit({"data": tmp_path / "nowhere"}, "first")
    assert store.latest() is None
    store.commit({"data": write("one", b"1")}, "first")
    with pytest.raises(DatasetMissing, match="0000000"):
        store.checkout("0" * 40, tmp_path / "out")


def test_dvc_fetches_from_the_remote_when_the_cache_is_gone(write, tmp_path):
    store = dvc(tmp_path)
    revision = store.commit({"data": write("one", b"1")}, "first")
    shutil.rmtree(tmp_path / "repo/.dvc/cache")
    store.checkout(revision.revision, tmp_path / "out")
    assert (tmp_path / "out/data").read_bytes() == b"1"


def test_dvc_without_cache_and_remote_is_told_and_made_again(write, tmp_path):
    store, files = dvc(tmp_path), {"data": write("one", b"1")}
    revision = store.commit(files, "first")
    shutil.rmtree(tmp_path / "repo/.dvc/cache")
    shutil.rmtree(tmp_path / "remote")
    with pytest.raises(DatasetMissing, match="neither in DVC's cache nor in its remote"):
        store.checkout(revision.revision, tmp_path / "again")
    assert not (tmp_path / "again/data").exists()
    assert store.commit(files, "again") == revision
    store.checkout(revision.revision, tmp_path / "again")
    assert (tmp_path / "again/data").read_bytes() == b"1"


def test_dvc_in_a_folder_with_any_name(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, remote in (("stäte", None), ("größe 数据", "relative")):
        (tmp_path / folder).mkdir()
        store = dvc(tmp_path / folder, remote)
        revision = store.commit({"data": write("one", b"1")}, "größe")
        shutil.rmtree(tmp_path / folder / "repo/.dvc/cache")
        store.checkout(revision.revision, tmp_path / folder / "out")
        assert (tmp_path / folder / "out/data").read_bytes() == b"1"
    assert (tmp_path / "relative").is_dir()


def test_dvc_remote_that_cannot_be_reached_is_an_error_with_its_name(write, tmp_path):
    store = dvc(tmp_path, "/proc/nope")
    with pytest.raises(ToolError, match="/proc/nope"):
        store.commit({"data": write("one", b"1")}, "first")
    assert store.latest() is None


def test_dvc_goes_on_after_a_kill(write, tmp_path):
    """SIGKILL at the push: the next commit of the same files ends as if nothing had happened."""
    source = write("one", b"1")
    script = f"""
import os, pathlib, signal
from dvc.repo import Repo
from perennial.adapters.dvc_data import DvcData
Repo.push = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
DvcData(pathlib.Path({str(tmp_path / "repo")!r}), {str(tmp_path / "remote")!r}).commit(
    {{"data": pathlib.Path({str(source)!r})}}, "first")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=dict(os.environ))
    assert done.returncode == -9, done.stderr.decode()
    store = dvc(tmp_path)
    assert store.latest() is None, "no revision names bytes that the remote does not have"
    revision = store.commit({"data": source}, "first")
    shutil.rmtree(tmp_path / "repo/.dvc/cache")
    store.checkout(revision.revision, tmp_path / "out")
    assert (tmp_path / "out/data").read_bytes() == b"1"


@pytest.mark.parametrize("where", ["ssh://u:p%40ss@h/d", "https://u:p%40ss@h"])
def test_an_error_of_a_remote_shows_no_password(where):
    """It is in the log of a task, which more people read than have the address."""
    from perennial.adapters.dvc_data import _tool_errors

    with pytest.raises(ToolError, match="h") as raised, _tool_errors(where):
        raise ConnectionError(f"p@ss refused at {where}")
    assert "p@ss" not in raised.value.message
    assert "p%40ss" not in raised.value.message


@pytest.mark.server
def test_dvc_over_s3(write, tmp_path, s3):
    s3.create_bucket(Bucket="data")
    store = dvc(tmp_path, "s3://data/perennial")
    revision = store.commit({"data": write("one", b"1")}, "first")
    shutil.rmtree(tmp_path / "repo/.dvc/cache")
    store.checkout(revision.revision, tmp_path / "out")
    assert (tmp_path / "out/data").read_bytes() == b"1"
