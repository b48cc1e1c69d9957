"""A plant of files and SQLite is saved while it changes, and restored elsewhere as it was at one moment."""

from __future__ import annotations

import base64
import errno
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from backups.saved_plant import KEPT, KEYS, PASSPHRASE, elsewhere, names, note, save, write
from signing import FOLDER

from perennial.adapters.backup import places
from perennial.cli import main
from perennial.errors import (
    BackupBroken,
    BackupRunning,
    FileRefused,
    LedgerBroken,
    NotAllowed,
    ReleaseConflict,
    SchemaMismatch,
    SettingsError,
    UsageError,
)
from perennial.flows.governance.ledger_check import check
from perennial.local.backup import manifest
from perennial.local.backup.exclusion import files_stay
from perennial.local.backup.restore import restore
from perennial.settings import Settings
from perennial.wiring import database


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_what_is_restored(plant, tmp_path, passphrase):
    saved, new = save(plant, tmp_path / "backup", passphrase), elsewhere(tmp_path)
    restore(new, tmp_path / "backup", passphrase, lambda line: None)
    keys = KEYS if passphrase else {}
    assert names(new.state) == KEPT.keys() | keys.keys() | {"perennial.db", "mlflow/mlflow.db"}
    assert all((new.state / name).read_text() == text for name, text in (KEPT | keys).items())
    assert check(database.store(new).ledger, None, None, lambda *_: False).newest == saved.ledger.hash
    with sqlite3.connect(new.mlflow_dir / "mlflow.db") as connection:
        (moved,) = connection.execute("SELECT artifact_uri FROM runs").fetchone()
    assert moved == f"{new.artifacts}/1/run/artifacts"
    assert not any(text.encode() in (tmp_path / "backup" / name).read_bytes()
                   for name in names(tmp_path / "backup") for text in KEYS.values())  # fmt: skip
    assert new.state.stat().st_mode & 0o077 == 0
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


def test_keys_open_with_their_passphrase_only(plant, tmp_path):
    save(plant, tmp_path / "backup", PASSPHRASE)
    with pytest.raises(NotAllowed):
        restore(elsewhere(tmp_path), tmp_path / "backup", "another passphrase", print)
    with pytest.raises(UsageError, match="fewer than"):
        save(plant, tmp_path / "other", "short")
    assert not (tmp_path / "other").exists(), "it is said before anything is copied"
    save(plant, tmp_path / "other")
    with pytest.raises(UsageError, match="has no keys"):
        restore(elsewhere(tmp_path), tmp_path / "other", PASSPHRASE, print)
    assert not elsewhere(tmp_path).state.exists()


def test_what_happens_meanwhile_is_not_named_without_its_files(plant, tmp_path):
    """A version is registered after the database was copied: its files may be in the backup, its name is not."""

    def meanwhile(line: str) -> None:
        if line.startswith("database of releases"):
            write(plant.state, {"mlflow/artifacts/1/late/model.onnx": "late"})
            note(plant, "late")

    saved, new = save(plant, tmp_path / "backup", say=meanwhile), elsewhere(tmp_path)
    restore(new, tmp_path / "backup", None, print)
    assert saved.ledger.seq == 1
    assert [row.entry.kind for row in database.store(new).ledger.rows()] == ["first"]
    assert (new.mlflow_dir / "artifacts/1/late/model.onnx").is_file()


@pytest.mark.parametrize("times", [1, 1000])
def test_traffic_that_moves_during_the_copy_of_the_database(plant, tmp_path, monkeypatch, times):
    """Route and record are of one moment: the copy is made again, and given up where the traffic never rests."""
    from perennial.adapters.sql import snapshot

    copies, original = [], snapshot.save

    def save_and_move(url: str, target: Path):
        saved = original(url, target)
        if len(copies) < times:
            note(plant, "moved")
            write(
                plant.state, {"envoy/routes.json": json.dumps({"generation": len(copies) + 2, "routes": {}})}
            )
        copies.append(target)
        return saved

    monkeypatch.setattr(snapshot, "save", save_and_move)
    if times > 1:
        with pytest.raises(ReleaseConflict, match="moved the traffic"):
            save(plant, tmp_path / "backup")
        return
    assert save(plant, tmp_path / "backup").ledger.seq == 2
    assert (tmp_path / "backup/state/envoy/routes.json").read_text() == '{"generation": 2, "routes": {}}'


def removed_while_copied(monkeypatch, name: str) -> None:
    """Remove a file at the end of its copy, as another process may at any time."""
    original = shutil.copystat

    def copystat(source: Path, target: Path, **more: bool) -> None:
        if source.name == name:
            source.unlink()
        original(source, target, **more)

    monkeypatch.setattr(shutil, "copystat", copystat)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_file_that_goes_while_it_is_copied_is_not_there_and_the_backup_is_whole(
    plant, tmp_path, monkeypatch, is_encrypted
):
    keys = f"k:{base64.b64encode(bytes(32)).decode()}" if is_encrypted else None
    plant, place = (
        each.model_copy(update={"encryption_keys": keys}) for each in (plant, elsewhere(tmp_path))
    )
    write(plant.state, {"reports/gone.html": "a page"})
    with monkeypatch.context() as patch:
        removed_while_copied(patch, "gone.html")
        save(plant, tmp_path / "backup")
    restore(place, tmp_path / "backup", None, print)
    assert not (place.state / "reports/gone.html").exists()


@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device", "file")]
)
def test_a_stopped_backup_is_none_and_is_begun_anew(plant, tmp_path, monkeypatch, stop):
    copied, original = [], places.copy_file

    def copy_some(source: Path, target: Path):
        if len(copied) == 5:
            raise stop
        copied.append(source)
        return original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(places, "copy_file", copy_some)
        with pytest.raises(type(stop)):
            save(plant, tmp_path / "backup")
    with pytest.raises(BackupBroken, match="unfinished"):
        restore(elsewhere(tmp_path), tmp_path / "backup", None, print)
    write(tmp_path / "backup", {"state/gone": "since"})
    save(plant, tmp_path / "backup")
    restore(elsewhere(tmp_path), tmp_path / "backup", None, print)
    assert not (elsewhere(tmp_path).state / "gone").exists()


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_a_damaged_backup_is_refused_before_anything_is_written(plant, tmp_path, damage):
    save(plant, tmp_path / "backup")
    path = tmp_path / "backup/state/serving/store/abc/model.onnx"
    match damage:
        case "changed":
            path.write_text("other")
        case "missing":
            path.unlink()
        case "added":
            path.with_name("more").write_text("more")
    with pytest.raises(BackupBroken, match=r"serving/store/abc/.* is missing, added or changed"):
        restore(elsewhere(tmp_path), tmp_path / "backup", None, print)
    assert not elsewhere(tmp_path).state.parent.exists()


def test_places_that_are_not_empty(plant, tmp_path):
    save(plant, tmp_path / "backup")
    with pytest.raises(FileRefused, match="not empty"):
        save(plant, tmp_path / "backup")
    with pytest.raises(FileRefused, match="not empty"):
        restore(plant, tmp_path / "backup", None, print)
    with pytest.raises(FileRefused, match="in the state folder"):
        save(plant, plant.state / "backup")
    new = Settings(
        home=tmp_path / "new", database_url=f"sqlite:///{tmp_path / 'store.db'}", trusted_keys=FOLDER
    )
    (tmp_path / "store.db").touch()
    with pytest.raises(FileRefused, match=r"store\.db exists"):
        restore(new, tmp_path / "backup", None, print)


def test_a_disk_that_is_too_small(plant, tmp_path, monkeypatch):
    save(plant, tmp_path / "backup")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(FileRefused, match="bytes free"):
        restore(elsewhere(tmp_path), tmp_path / "backup", None, print)
    assert not elsewhere(tmp_path).state.exists()


@pytest.mark.parametrize(
    "change", [{"perennial": "99.0"}, {"packages": {"mlflow": "99.0"}}, {"schema_revision": "9"}]
)
def test_a_backup_of_a_newer_version(plant, tmp_path, change):
    saved = save(plant, tmp_path / "backup")
    newer = saved.model_copy(update=change)
    (tmp_path / "backup" / manifest.FILE).write_text(newer.model_dump_json())
    with pytest.raises(SchemaMismatch, match=r"99|revision 9"):
        restore(elsewhere(tmp_path), tmp_path / "backup", None, print)


def test_a_broken_ledger_is_not_saved(plant, tmp_path):
    note(plant, "second")
    with sqlite3.connect(plant.state / "perennial.db") as connection:
        connection.execute("DELETE FROM perennial_ledger WHERE seq = 2")
    with pytest.raises(LedgerBroken):
        save(plant, tmp_path / "backup")
    assert not (tmp_path / "backup" / manifest.FILE).exists()


def test_a_serving_machine_has_nothing_to_save(plant, tmp_path):
    with pytest.raises(SettingsError, match="copies only"):
        save(plant.model_copy(update={"plane": "serving"}), tmp_path / "backup")


def test_places_beside_the_state_folder(plant, tmp_path):
    """Data revisions and the exchange of serving machines may be folders elsewhere, or buckets."""
    write(tmp_path, {"remote/files/md5/ab/cd": "rows", "exchange/versions/abc/model.onnx": "model"})
    beside = {"dvc_remote": str(tmp_path / "remote"), "exchange": f"file://{tmp_path / 'exchange'}"}
    save(plant.model_copy(update=beside), tmp_path / "backup")
    new = elsewhere(tmp_path)
    with pytest.raises(SettingsError, match=r"files of (dvc-remote|exchange) beside"):
        restore(new, tmp_path / "backup", None, print)
    there = {
        "dvc_remote": str(tmp_path / "new" / "remote"),
        "exchange": f"file://{tmp_path / 'new' / 'exchange'}",
    }
    restore(new.model_copy(update=there), tmp_path / "backup", None, print)
    assert names(tmp_path / "new") == {"remote/files/md5/ab/cd", "exchange/versions/abc/model.onnx"}


def test_nobody_deletes_files_of_versions_meanwhile(plant, tmp_path):
    with files_stay(plant), pytest.raises(BackupRunning):
        save(plant, tmp_path / "backup")


def test_the_commands(plant, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(plant.state))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    assert main(["backup", str(tmp_path / "backup"), "--keys", str(tmp_path / "passphrase")]) == 0
    assert "left out: logs of the processes (1 files)" in capsys.readouterr().out
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "new"))
    assert main(["restore", str(tmp_path / "backup")]) == 0
    out = capsys.readouterr().out
    assert "the ledger holds with 1 entries" in out
    assert f"cp {tmp_path / 'new' / 'keys' / 'signing.pem.pub'}" in out
    assert main(["restore", str(tmp_path / "backup")]) == FileRefused.exit_code
