"""Work folders in object storage: the next step runs on another machine as if it were this one."""

from __future__ import annotations

import json

import pytest

from perennial.cli import main
from perennial.errors import ChecksumMismatch, DatasetMissing, MalformedInput, UsageError
from perennial.flows.training.kept_work import fetch, keep, read
from perennial.object_storage import ObjectFolder


class Counting(ObjectFolder):
    """Counts downloads, and fails as a storage that goes away after some uploads."""

    downloads = 0
    uploads_left = 1000

    def download(self, name, path):
        self.downloads += 1
        return super().download(name, path)

    def upload(self, name, path):
        if self.uploads_left == 0:
            raise OSError("the storage is away")
        self.uploads_left -= 1
        super().upload(name, path)


@pytest.fixture
def kept(tmp_path):
    return Counting(f"file://{tmp_path}/bucket/work/m/0123")


@pytest.fixture
def machines(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "views").mkdir(parents=True)
    (first / "examples.parquet").write_bytes(b"rows")
    (first / "views" / "tests.parquet").write_bytes(b"view")
    return first, second


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_machine_has_the_same_folder(machines, kept):
    first, second = machines
    keep(first, kept)
    fetch(second, "train", kept)
    assert contents(second) == contents(first)
    assert kept.downloads == 2
    fetch(second, "train", kept)
    assert kept.downloads == 2, "what is there is not copied again"
    assert read("examples.parquet", kept) == b"rows"


def test_what_a_later_step_removed_or_changed_is_so_everywhere(machines, kept):
    first, second = machines
    keep(first, kept)
    fetch(second, "train", kept)
    (second / "examples.parquet").unlink()
    (second / "views" / "tests.parquet").write_bytes(b"new")
    keep(second, kept)
    (first / "half_of_a_model").write_bytes(b"of a step that was killed here")
    fetch(first, "evaluate", kept)
    assert contents(first) == {"views/tests.parquet": b"new"}


def test_a_killed_upload_changes_nothing_for_others(machines, kept):
    first, second = machines
    keep(first, kept)
    before = contents(first)
    (first / "a_model").write_bytes(b"a")
    (first / "b_model").write_bytes(b"b")
    kept.uploads_left = 1
    with pytest.raises(OSError, match="away"):
        keep(first, kept)
    fetch(second, "evaluate", kept)
    assert contents(second) == before
    kept.uploads_left = 1000
    keep(first, kept)
    fetch(second, "evaluate", kept)
    assert contents(second) == contents(first)


def test_files_of_an_unfinished_write_are_not_kept(machines, kept):
    first, second = machines
    (first / ".model.77").mkdir()
    (first / ".model.77" / "model.onnx").write_bytes(b"half")
    keep(first, kept)
    fetch(second, "evaluate", kept)
    assert set(contents(second)) == {"examples.parquet", "views/tests.parquet"}


def test_only_the_first_step_begins_without_a_copy(machines, kept):
    first, second = machines
    with pytest.raises(DatasetMissing, match="no work folder of an earlier step"):
        fetch(second, "train", kept)
    fetch(first, "prepare", kept)
    assert contents(first) == {}, "what an earlier try has left here is of no finished step"


@pytest.mark.parametrize("name", ["../../outside", "/outside", "a/../../outside"])
def test_a_list_that_leads_out_of_the_folder_is_refused(machines, kept, name):
    first, second = machines
    keep(first, kept)
    digest = next(iter(json.loads(kept.find("contents.json"))["files"].values()))
    kept.write("contents.json", json.dumps({"files": {name: digest}}).encode())
    with pytest.raises(MalformedInput, match="outside"):
        fetch(second, "train", kept)
    assert not second.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": "../contents.json"}}', '{"files": {"a": "00"}}'])
def test_a_damaged_list_is_refused(machines, kept, text):
    keep(machines[0], kept)
    kept.write("contents.json", text.encode())
    with pytest.raises(MalformedInput):
        fetch(machines[1], "train", kept)


def test_changed_and_missing_objects_are_refused(machines, kept):
    first, second = machines
    keep(first, kept)
    name = next(name for name in kept.names("objects") if kept.find(name) == b"rows")
    kept.write(name, b"other rows")
    with pytest.raises(ChecksumMismatch, match="other bytes"):
        fetch(second, "train", kept)
    with pytest.raises(ChecksumMismatch, match="other bytes"):
        read("examples.parquet", kept)
    kept.remove(name)
    with pytest.raises(DatasetMissing, match="is gone"):
        fetch(second, "train", kept)
    assert "examples.parquet" not in contents(second), "nothing else stands in its place"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kept-in", "s3://bucket/work/m/1"], "--kept-in needs --workdir"),
        (["--kept-in", "bucket/work", "--workdir", "w"], "no address of a folder"),
    ],
)
def test_a_step_refuses_half_of_the_options(options, said, capsys):
    assert main(["train", "test_failure_predictor", *options]) == UsageError.exit_code
    assert said in capsys.readouterr().err
