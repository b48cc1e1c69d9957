"""Work folders in object storage: the next step runs on another machine as if it were this one."""

from __future__ import annotations

import json

import pytest

from perennial.cli import main
from perennial.errors import (
    ChecksumMismatch,
    DatasetMissing,
    FileRefused,
    MalformedInput,
    ToolError,
    TrainingFailed,
    UsageError,
)
from perennial.flows.training import kept_work
from perennial.flows.training.kept_work import CONTENTS, LOCK, MARKER, Fetched, copied, fetch, read
from perennial.object_storage import ObjectFolder, storage


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


def keep(folder, kept):
    """Keep a folder as a step that began with what is kept now."""
    kept_work.keep(folder, kept, Fetched(kept.find(CONTENTS), {}))


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
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MARKER, LOCK)
    }


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


@pytest.mark.parametrize(
    "name", ["../../outside", "/outside", "a/../../outside", "", ".", ".kept-in", "a/.b", "a//b", "a\x00b"]
)
def test_a_list_that_leads_out_of_the_folder_is_refused(machines, kept, name):
    first, second = machines
    keep(first, kept)
    digest = next(iter(json.loads(kept.find("contents.json"))["files"].values()))
    kept.write("contents.json", json.dumps({"files": {name: digest}}).encode())
    with pytest.raises(MalformedInput, match="names "):
        fetch(second, "train", kept)
    assert not second.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        f'{{"files": {{"a": "{"0" * 64}", "a/b": "{"0" * 64}"}}}}',
        '{"files": {"a": "../contents.json"}}',
        '{"files": {"a": "00"}}',
    ],
)
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
        (["--kept-in", "s3://bucket/work", "--workdir", "w", "--data", "d"], "leave --data and --bounds out"),
        (["--kept-in", "s3://bucket/work", "--workdir", "w", "--bounds"], "leave --data and --bounds out"),
    ],
)
def test_a_step_refuses_half_of_the_options(options, said, capsys):
    assert main(["evaluate", "test_failure_predictor", *options]) == UsageError.exit_code
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_copy_loses_no_file(tmp_path, machines, kept):
    """`--workdir .` in a project, or the folder of another run."""
    first, second = machines
    before = contents(first)
    keep(first, kept)
    with (
        pytest.raises(FileRefused, match="has files that would be removed"),
        copied(first, "train", kept, print),
    ):
        pytest.fail("the step ran")
    assert contents(first) == before
    with copied(second, "train", kept, print):
        assert contents(second) == before
    other = ObjectFolder(f"file://{tmp_path}/bucket/work/m/4567")
    keep(first, other)
    with (
        pytest.raises(FileRefused, match="is the work folder of"),
        copied(second, "train", other, print),
    ):
        pytest.fail("the step ran")
    assert contents(second) == before
    assert main(["train", "test_failure_predictor", "--workdir", str(first), "--kept-in", kept.address]) == 13


def test_what_a_killed_claim_left_is_no_file_of_others(tmp_path, machines, kept):
    folder = tmp_path / "third"
    folder.mkdir()
    (folder / f".{MARKER}.77").write_text("half")
    with copied(folder, "prepare", kept, print):
        (folder / "examples.parquet").write_bytes(b"rows")
    assert read("examples.parquet", kept) == b"rows"


def test_a_try_that_was_taken_for_dead_changes_nothing_after_a_later_one(machines, kept):
    """It must not take the results of later steps away, nor put its model beside their evaluation."""
    first, second = machines
    keep(first, kept)
    old = first.with_name("old")
    fetched = fetch(old, "train", kept)
    (old / "model").write_bytes(b"of the old try")
    with copied(second, "train", kept, print):
        (second / "model").write_bytes(b"of the new try")
    with copied(second, "register", kept, print):
        (second / "registered.json").write_bytes(b"1.0.0")
    with pytest.raises(TrainingFailed, match="another try of the training has kept"):
        kept_work.keep(old, kept, fetched)
    assert read("model", kept) == b"of the new try"
    assert read("registered.json", kept) == b"1.0.0"


def test_a_second_try_on_the_machine_waits_for_the_first(machines, kept):
    """Its fetch would remove what the first has written."""
    import threading

    first, second = machines
    keep(first, kept)
    begun, said = threading.Event(), []

    def waits(text):
        said.append(text)
        begun.set()

    def second_try():
        with copied(second, "train", kept, waits):
            said.append((second / "model").read_bytes())

    with copied(second, "train", kept, print):
        thread = threading.Thread(target=second_try)
        thread.start()
        assert begun.wait(60)
        (second / "model").write_bytes(b"of the first")
    thread.join(60)
    assert said == [f"another try works in {second}: waiting for its end", b"of the first"]


def test_the_first_step_begins_anew_whatever_is_kept(machines, kept):
    """Also where objects are gone, or another plant had a run of this name in the bucket."""
    first, second = machines
    keep(first, kept)
    for name in kept.names("objects"):
        kept.remove(name)
    with copied(second, "prepare", kept, print):
        assert contents(second) == {}
        (second / "examples.parquet").write_bytes(b"rows")
    assert read("examples.parquet", kept) == b"rows", "its object is stored again, though the list had it"


def test_only_what_changed_is_looked_at_after_a_step(machines, kept, monkeypatch):
    first, second = machines
    keep(first, kept)
    fetched = fetch(second, "train", kept)
    (second / "examples.parquet").write_bytes(b"ROWS")
    hashed = []
    sha256 = kept_work.files.sha256
    monkeypatch.setattr(kept_work.files, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    kept_work.keep(second, kept, fetched)
    assert hashed == ["examples.parquet"]
    assert read("examples.parquet", kept) == b"ROWS"


def test_an_answer_of_s3_that_ends_too_early_is_an_error_with_what_to_do():
    """As behind a proxy that cuts; s3fs hands on what its HTTP library says after some tries."""
    from aiohttp import ClientPayloadError

    with pytest.raises(ToolError, match="payload is not completed"), storage("s3://work/plant"):
        raise ClientPayloadError("Response payload is not completed")


@pytest.mark.server
def test_over_s3(machines, s3):
    first, second = machines
    kept = ObjectFolder("s3://work/plant/m/0123")
    with pytest.raises(ToolError) as raised:
        keep(first, kept)
    assert raised.value.hint == "does the bucket exist?"
    s3.create_bucket(Bucket="work")
    keep(first, kept)
    with copied(second, "train", kept, print):
        assert contents(second) == contents(first)
        (second / "examples.parquet").write_bytes(b"ROWS")
    assert read("examples.parquet", kept) == b"ROWS"
    assert len(kept.names("objects")) == 3
    with copied(second, "prepare", kept, print):
        assert contents(second) == {}
    with pytest.raises(DatasetMissing, match=r"has no examples\.parquet"):
        read("examples.parquet", kept)
