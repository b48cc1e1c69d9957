"""Backups that are killed, that hostile accounts lay traps for, or that are put where they do harm."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from backups.saved_plant import PASSPHRASE, elsewhere, save, write

from perennial.adapters.backup import places
from perennial.cli import main
from perennial.errors import (
    BackupBroken,
    FileRefused,
)
from perennial.local.backup import contents, manifest
from perennial.local.backup.restore import restore


@pytest.mark.parametrize("moment", ["first file", "tenth file", "before the manifest", "after the manifest"])
def test_a_killed_backup(plant, tmp_path, monkeypatch, moment):
    """The process is really killed: no handler of an exception tidies up."""
    child = os.fork()
    if child == 0:
        count, copy_file, unlink = [0], places.copy_file, Path.unlink

        def kill(*_, **__):
            os.kill(os.getpid(), signal.SIGKILL)

        def copy(source: Path, target: Path):
            count[0] += 1
            kill() if count[0] == {"first file": 1, "tenth file": 10}.get(moment) else None
            return copy_file(source, target)

        def remove(path: Path, **options):
            kill() if path.name == manifest.UNFINISHED else unlink(path, **options)

        try:
            places.copy_file = copy
            if moment == "before the manifest":
                os.sync = kill
            if moment == "after the manifest":
                Path.unlink = remove
            save(plant, tmp_path / "backup")
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    if moment != "after the manifest":
        with pytest.raises(BackupBroken, match="unfinished"):
            restore(elsewhere(tmp_path), tmp_path / "backup", None, print)
        save(plant, tmp_path / "backup")
    restore(elsewhere(tmp_path), tmp_path / "backup", None, print)


def test_links_of_other_accounts_lead_to_nothing(plant, tmp_path, monkeypatch):
    """A process with an account of its own names a key, a folder and a whole log as files of its folders."""
    write(tmp_path, {"root/shadow": "hashes", "disk/ours.parquet": "rows", "exchange/a": "file"})
    state = plant.state
    foreign = {
        state / "mlflow/artifacts/key": state / "keys/signing.pem",
        state / "serving/pools/canary.json": state / "accounts.json",
        state / "serving/log/other": tmp_path / "root",
        state / "feast/root": tmp_path / "root",
        tmp_path / "exchange/b": tmp_path / "root/shadow",
    }
    for link, to in foreign.items():
        link.symlink_to(to)
    (state / "history").symlink_to(tmp_path / "disk")  # the owner's: it is there in full
    monkeypatch.setattr(contents, "is_foreign_link", lambda path, state: path in foreign)
    plant = plant.model_copy(update={"exchange": str(tmp_path / "exchange")})
    saved = save(plant, tmp_path / "backup")
    contained = b"".join((tmp_path / "backup" / name).read_bytes() for name in saved.files)
    assert b"hashes" not in contained.replace(b"hashes", b"", 1), "client-keys.json alone has the word"
    assert b"secret of" not in contained
    assert {"state/history/ours.parquet", "places/exchange/a"} <= saved.files.keys()
    assert saved.left_out["links that neither root nor the owner of the state folder made"] == 4
    assert not (tmp_path / "root/.tidy.lock").exists()


def test_a_database_behind_such_a_link_is_refused(plant, tmp_path, monkeypatch):
    link = plant.mlflow_dir / "mlflow.db"
    link.unlink()
    link.symlink_to(plant.state / "perennial.db")
    monkeypatch.setattr(contents, "is_foreign_link", lambda path, state: path == link)
    with pytest.raises(FileRefused, match=r"mlflow\.db is behind"):
        save(plant, tmp_path / "backup")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives links away")
def test_whose_link_it_is(plant, tmp_path):
    for name, owner in {"ours": os.geteuid(), "theirs": 65534}.items():
        (plant.state / name).symlink_to(tmp_path)
        os.lchown(plant.state / name, owner, owner)
    assert not contents.is_behind_foreign_link(plant.state / "ours/file", plant.state)
    assert contents.is_behind_foreign_link(plant.state / "theirs/file", plant.state)


def test_a_backup_never_has_itself(plant, tmp_path):
    (plant.state / "disk").symlink_to(tmp_path / "disk")
    write(tmp_path / "disk", {"rows": "1"})
    saved = save(plant, tmp_path / "disk/backup")
    assert {name for name in saved.files if "/disk/" in name} == {"state/disk/rows"}
    exchange = plant.model_copy(update={"exchange": str(tmp_path / "exchange")})
    with pytest.raises(FileRefused, match="among the files of exchange"):
        save(exchange, tmp_path / "exchange/backup")


def test_a_mount_point_is_refused_before_anything_is_written(plant, tmp_path, monkeypatch):
    save(plant, tmp_path / "backup")
    new = elsewhere(tmp_path)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == new.state)
    with pytest.raises(FileRefused, match="mount point"):
        restore(new, tmp_path / "backup", None, print)
    assert not new.state.parent.exists()


def test_a_passphrase_does_not_lie_in_what_it_opens(plant, tmp_path, monkeypatch, capsys):
    write(plant.state, {"passphrase.txt": PASSPHRASE})
    monkeypatch.setenv("PERENNIAL_HOME", str(plant.state))
    assert main(["backup", str(tmp_path / "b"), "--keys", str(plant.state / "passphrase.txt")]) == 13
    assert "lies in the state folder" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
