"""Backups that are encrypted: nothing readable lies there, keys rotate, and what was changed is refused."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from backups.saved_plant import KEPT, KEYS, PASSPHRASE, elsewhere, names, save

from perennial.adapters.backup import sqlite_copy
from perennial.cli import main
from perennial.encryption import header, keyring
from perennial.errors import BackupBroken, FileRefused
from perennial.flows.governance.ledger_check import check
from perennial.local.backup.restore import backup_folder, restore
from perennial.secret_errors import DecryptionFailed, KeyMissing
from perennial.settings import Settings
from perennial.wiring import database


@pytest.fixture
def keys(tmp_path) -> str:
    keyring.generate(tmp_path / "encryption.keys", "old")
    return (tmp_path / "encryption.keys").read_text()


@pytest.fixture
def saved(plant, tmp_path, keys) -> Settings:
    """The plant, saved into `backup`, with its keys."""
    plant = plant.model_copy(update={"encryption_keys": keys})
    save(plant, tmp_path / "backup", PASSPHRASE)
    return plant


def new_place(tmp_path, keys: str | None) -> Settings:
    return elsewhere(tmp_path).model_copy(update={"encryption_keys": keys})


def rotated_keys(tmp_path) -> str:
    keyring.generate(tmp_path / "encryption.keys", "new")
    return (tmp_path / "encryption.keys").read_text()


def only(key_id: str, keys: str) -> str:
    return next(line for line in keys.splitlines() if line.startswith(f"{key_id}:"))


def test_what_is_restored_is_what_was_saved(saved, tmp_path, keys):
    new = new_place(tmp_path, keys)
    made = restore(new, tmp_path / "backup", PASSPHRASE, lambda line: None)
    assert names(new.state) == KEPT.keys() | KEYS.keys() | {"perennial.db", "mlflow/mlflow.db"}
    assert all((new.state / name).read_text() == text for name, text in (KEPT | KEYS).items())
    assert check(database.store(new).ledger, None, None, lambda *_: False).newest == made.ledger.hash
    source, target = (each.state / "serving/store/abc/model.onnx" for each in (saved, new))
    assert (target.stat().st_mode, target.stat().st_mtime) == (source.stat().st_mode, source.stat().st_mtime)
    assert {path.name for path in new.state.parent.iterdir()} == {"state"}  # no scratch is left


def test_nothing_in_it_can_be_read_and_nothing_is_left_in_the_plant(saved, tmp_path):
    assert all(name.endswith(".enc") for name in names(tmp_path / "backup"))
    contents = b"".join(path.read_bytes() for path in (tmp_path / "backup").rglob("*.enc"))
    for text in (
        *(text for text in KEPT.values() if len(text) > 5),
        *KEYS.values(),
        "SQLite format 3",
        "sha256",
    ):
        assert text.encode() not in contents, text
    assert not list(saved.state.glob(".backup.*"))


def test_the_first_key_may_go_after_a_rotation(saved, tmp_path, keys, monkeypatch, capsys):
    both, backup = rotated_keys(tmp_path), tmp_path / "backup"
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PERENNIAL_ENCRYPTION_KEYS_FILE", str(tmp_path / "encryption.keys"))
    assert main(["encryption", "status", str(backup)]) == 0
    assert "reads" in capsys.readouterr().out
    bodies = {path: path.read_bytes()[header.HEADER :] for path in backup.rglob("*.enc")}
    assert main(["encryption", "rotate", str(backup)]) == 0
    count = len(bodies)
    assert f"{count} of {count} files have the first key now" in capsys.readouterr().out
    assert {path: path.read_bytes()[header.HEADER :] for path in bodies} == bodies
    assert main(["encryption", "rotate", str(backup)]) == 0
    assert f"0 of {count} files" in capsys.readouterr().out
    with pytest.raises(KeyMissing, match="by the key new; the keys here are old"):
        restore(new_place(tmp_path, keys), backup, None, print)
    restore(new_place(tmp_path, only("new", both)), backup, PASSPHRASE, lambda line: None)


def test_a_rotation_keeps_the_times_of_the_files(saved, tmp_path):
    """Readers of restored logs take the newest ones by it."""
    paths = list((tmp_path / "backup").rglob("*.enc"))
    before = {path: path.stat().st_mtime_ns for path in paths}
    folder = backup_folder(
        saved.model_copy(update={"encryption_keys": rotated_keys(tmp_path)}), tmp_path / "backup"
    )
    assert folder.rotate() == (len(paths), len(paths))
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_with_keys_the_restore_of_an_unencrypted_one_says_so(plant, tmp_path, keys):
    save(plant, tmp_path / "backup")
    said: list[str] = []
    restore(new_place(tmp_path, keys), tmp_path / "backup", None, said.append)
    assert [line for line in said if line.startswith("the backup is not encrypted")]


def test_a_rotation_that_is_killed_between_two_files_is_repeated(saved, tmp_path, monkeypatch):
    both = rotated_keys(tmp_path)
    whole, calls = header.rotate, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*given)

    folder = backup_folder(new_place(tmp_path, both), tmp_path / "backup")
    with monkeypatch.context() as patch:
        patch.setattr(header, "rotate", stopping)
        with pytest.raises(KeyboardInterrupt):
            folder.rotate()
    assert folder.key_ids() == {"old", "new"}
    shutil.copytree(tmp_path / "backup", tmp_path / "copy")
    restore(new_place(tmp_path / "a", both), tmp_path / "copy", None, lambda line: None)
    changed, count = folder.rotate()
    assert (changed, folder.key_ids()) == (count - 3, {"new"})
    restore(new_place(tmp_path / "b", only("new", both)), tmp_path / "backup", None, lambda line: None)


def test_without_its_key_nothing_is_written(saved, tmp_path):
    other = tmp_path / "other.keys"
    keyring.generate(other, "other")
    for keys, here in ((None, "there are no keys here"), (other.read_text(), "the keys here are other")):
        new = new_place(tmp_path, keys)
        with pytest.raises(KeyMissing, match=f"by the key old; {here}"):
            restore(new, tmp_path / "backup", None, print)
        assert not new.state.parent.exists()


@pytest.mark.parametrize("damage", ["bit", "cut", "swapped", "missing", "added", "manifest"])
def test_a_damaged_one_is_refused_before_anything_is_written(saved, tmp_path, keys, damage):
    backup = tmp_path / "backup"
    path = backup / "state/serving/store/abc/model.onnx.enc"
    content = path.read_bytes()
    match damage:
        case "bit":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            path.write_bytes(content[:-1])
        case "swapped":
            path.write_bytes((backup / "state/mlflow/artifacts/1/run/model.onnx.enc").read_bytes())
        case "missing":
            path.unlink()
        case "added":
            path.with_name("plain").write_text("more")
        case "manifest":
            manifest = backup / "manifest.json.enc"
            manifest.write_bytes(manifest.read_bytes()[:-20] + bytes(20))
    with pytest.raises((DecryptionFailed, BackupBroken)):
        restore(new_place(tmp_path, keys), backup, None, print)
    assert not elsewhere(tmp_path).state.parent.exists()


def test_a_file_of_an_earlier_backup_is_not_that_of_this_one(saved, tmp_path, keys):
    """Same name, same key: the manifest, which is encrypted, too, has its hash."""
    (saved.state / "something/new").write_text("kept, in a later form")
    save(saved, tmp_path / "later")
    shutil.copy(tmp_path / "backup/state/something/new.enc", tmp_path / "later/state/something/new.enc")
    with pytest.raises(BackupBroken, match=r"something/new\.enc"):
        restore(new_place(tmp_path, keys), tmp_path / "later", None, print)


def test_a_kill_leaves_nothing_readable_in_the_backup_and_the_next_one_tidies_up(plant, tmp_path, keys):
    plant, child = plant.model_copy(update={"encryption_keys": keys}), os.fork()
    if child == 0:
        try:
            copy = sqlite_copy.copy
            sqlite_copy.copy = lambda *given: (copy(*given), os.kill(os.getpid(), signal.SIGKILL))
            save(plant, tmp_path / "backup")
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert b"SQLite format 3" not in b"".join(
        path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file()
    )
    assert len(list(plant.state.glob(".backup.*/file"))) == 1
    save(plant, tmp_path / "backup")
    assert not list(plant.state.glob(".backup.*"))
    restore(new_place(tmp_path, keys), tmp_path / "backup", None, lambda line: None)


def test_a_finished_one_is_not_written_over(saved, tmp_path):
    with pytest.raises(FileRefused, match="not empty"):
        save(saved, tmp_path / "backup")


def test_commands_that_cannot_rotate(saved, plant, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "none"))
    assert main(["encryption", "rotate", str(tmp_path / "backup")]) == 11
    assert "PERENNIAL_ENCRYPTION_KEYS is not set" in capsys.readouterr().err
    save(plant, tmp_path / "plain")
    monkeypatch.setenv("PERENNIAL_ENCRYPTION_KEYS_FILE", str(tmp_path / "encryption.keys"))
    assert main(["encryption", "rotate", str(tmp_path / "plain")]) == 11
    assert "is not encrypted" in capsys.readouterr().err
    assert main(["encryption", "generate", str(tmp_path / "fresh.keys"), "--id", "2026-03"]) == 0
