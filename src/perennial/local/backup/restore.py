"""Restore a backup into an empty place: everything is checked before anything is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from perennial import files
from perennial.adapters.backup import places, postgres_dump, sealed_keys
from perennial.adapters.backup.folder import ENDING, BackupFolder, size_and_digest_of
from perennial.adapters.database_address import shown
from perennial.adapters.mlflow import moved as mlflow
from perennial.adapters.sql import snapshot
from perennial.adapters.sql.schema import REVISIONS
from perennial.encryption.stream import decrypted
from perennial.errors import (
    BackupBroken,
    ChecksumMismatch,
    FileRefused,
    SchemaMismatch,
    SettingsError,
    UsageError,
)
from perennial.flows.governance.ledger_check import KeptHead, check_rows
from perennial.local.backup import manifest, sources
from perennial.local.backup.manifest import PLACES, SEALED, STATE, Manifest
from perennial.local.backup.sources import LOG, MLFLOW, POSTGRESQL, SQLITE, STORE, SourceDatabase
from perennial.settings import Settings
from perennial.state_folder import refuse_other

Say = Callable[[str], None]


def restore(settings: Settings, source: Path, passphrase: str | None, say: Say) -> Manifest:
    """Make the state of a backup in the places that the settings name, which must be empty.

    Args:
        passphrase: opens the keys of the backup; None: they are not restored.

    Raises:
        OtherTenant: the backup is of another tenant's plant.
        BackupBroken: the backup is unfinished, or a file is not the one of the manifest.
        SchemaMismatch: a newer version made it. SettingsError: a database is of another kind.
        FileRefused: a place is not empty, or the disk is too small.
        NotAllowed: the passphrase is another. LedgerBroken: the ledger does not hold.
    """
    folder = backup_folder(settings, source)
    for left in settings.state.parent.glob(_scratch(settings, "*").name):  # by a restore that was killed
        shutil.rmtree(left, ignore_errors=True)
    saved = manifest.read(folder)
    refuse_other(f"the backup {source}", saved.tenant, settings.tenant)
    manifest.refuse_newer(saved)
    if saved.schema_revision is not None and saved.schema_revision not in REVISIONS:
        raise SchemaMismatch(
            f"the backup has schema revision {saved.schema_revision}; this version of Perennial knows up to "
            f"{REVISIONS[-1]}", hint="restore it with the newer version of Perennial",
        )  # fmt: skip
    databases = [database for database in sources.databases(settings) if database.name in saved.databases]
    _refuse_full(settings, saved, databases)
    manifest.verify(folder, saved)
    keys = _keys(folder, saved, passphrase)
    say(f"{len(saved.files)} files of {saved.made:%Y-%m-%d %H:%M} UTC are those of the manifest")
    if settings.keyring is not None and not folder.is_encrypted:
        say("the backup is not encrypted: no key shows that nobody has changed files and manifest together")
    staged = settings.state.with_name(f".{settings.state.name}.restoring")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True, mode=0o700)
        _stage(folder, saved, keys, staged)
        _databases(settings, folder, saved, databases)
        _places(settings, folder, saved)
        _move(settings, saved, databases, staged)
        _check_ledger(settings, saved, databases, staged)
        os.replace(staged, settings.state)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    say(f"{settings.state} is restored; the ledger holds with {saved.ledger.seq} entries")
    return saved


def backup_folder(settings: Settings, source: Path) -> BackupFolder:
    """Return the files of a backup, which may be encrypted. What a tool has to read is put beside the new state."""
    is_encrypted = (source / f"{manifest.FILE}{ENDING}").exists()
    return BackupFolder(
        source, _scratch(settings, str(os.getpid())), settings.keyring, is_encrypted=is_encrypted
    )


def _scratch(settings: Settings, process: str) -> Path:
    return settings.state.with_name(f".{settings.state.name}.decrypted.{process}")


def _refuse_full(settings: Settings, saved: Manifest, databases: list[SourceDatabase]) -> None:
    """Refuse places that hold something, a disk without room, and settings for other backends than were saved."""
    if not places.is_empty(str(settings.state)):
        raise FileRefused(f"{settings.state} is not empty", hint="set PERENNIAL_HOME to a new folder")
    if settings.state.is_mount():
        raise FileRefused(
            f"{settings.state} is a mount point, which no folder can replace",
            hint="PERENNIAL_HOME of a new folder in it",
        )
    if missing := saved.databases.keys() - {database.name for database in databases}:
        raise SettingsError(f"the backup has a database of {min(missing)}", hint="set its address")
    for database in databases:
        kind = saved.databases[database.name]
        if database.kind != kind:
            raise SettingsError(
                f"the database of {database.name} was {kind}, and the settings name {database.kind}",
                hint="restore into the same kind: docs/guide/backup.md",
            )
        if kind == POSTGRESQL and not postgres_dump.is_empty(database.url):
            raise FileRefused(f"{shown(database.url)} is not empty", hint="a new database")
        if kind == SQLITE and database.file.exists():
            raise FileRefused(f"{database.file} exists", hint="name another file")
    now = sources.outside(settings)
    if now.keys() != saved.places.keys():
        differing = min(now.keys() ^ saved.places.keys())
        raise SettingsError(
            f"backup {'has' if differing in saved.places else 'lacks'} files of {differing} beside the state folder",
            hint="set those of PERENNIAL_ARTIFACTS_URL, PERENNIAL_DVC_REMOTE and PERENNIAL_LOG_BUCKET that were set",
        )
    for place in now.values():
        if not places.is_empty(place):
            raise FileRefused(f"{place} is not empty", hint="an empty bucket, folder or prefix")
    parent = next(folder for folder in settings.state.parents if folder.is_dir())
    needed = sum(file.size for name, file in saved.files.items() if name.startswith(f"{STATE}/"))
    if shutil.disk_usage(parent).free < needed:
        raise FileRefused(
            f"{parent} has no {needed:,} bytes free", hint="free space there; nothing was written"
        )


def _keys(folder: BackupFolder, saved: Manifest, passphrase: str | None) -> dict[str, bytes]:
    if passphrase is None:
        return {}
    if not saved.keys:
        raise UsageError(
            "the backup has no keys", hint="leave out --keys: perennial local setup makes new ones"
        )
    return sealed_keys.unseal(folder.read(SEALED), passphrase)


def _stage(folder: BackupFolder, saved: Manifest, keys: dict[str, bytes], staged: Path) -> None:
    for name, file in saved.files.items():
        if name.startswith(f"{STATE}/"):
            digest = folder.extract(name, staged / name.removeprefix(f"{STATE}/"))
            if digest != file.sha256:
                raise ChecksumMismatch(f"{folder.path(name)} changed meanwhile", hint="is its disk in order?")
    for name, content in keys.items():
        files.write_bytes(staged / name, content, files.PRIVATE)
    for below in staged.rglob("*/"):
        below.chmod(0o700)


def _databases(
    settings: Settings, folder: BackupFolder, saved: Manifest, databases: list[SourceDatabase]
) -> None:
    for database in databases:
        name = database.saved_as(settings.state)
        if name not in saved.files and database.kind == SQLITE:
            raise BackupBroken(
                f"the backup has no {name}", hint="the same setting for its address as when it was saved"
            )
        if database.kind == POSTGRESQL:
            with folder.plain(name) as dump:
                postgres_dump.load(database.url, dump)
        elif not name.startswith(f"{STATE}/"):
            folder.extract(name, database.file)


def _places(settings: Settings, folder: BackupFolder, saved: Manifest) -> None:
    for place, address in sources.outside(settings).items():
        prefix = f"{PLACES}/{place}/"
        for name, file in saved.files.items():
            if name.startswith(prefix):
                below = name.removeprefix(prefix)
                with folder.plain(name) as path:
                    digest = file.sha256
                    if place == LOG and below.endswith(
                        ENDING
                    ):  # what the upload of the log asks for is in it
                        with path.open("rb") as log:
                            _, digest = size_and_digest_of(
                                decrypted(log, below.removesuffix(ENDING), settings.keyring)
                            )
                    places.load(path, below, digest, address)


def _move(settings: Settings, saved: Manifest, databases: list[SourceDatabase], staged: Path) -> None:
    """Correct the addresses that MLflow and Feast store as a whole, where the places are others now."""
    for database in databases:
        if database.name == MLFLOW:
            mlflow.move(_staged_url(database, settings, staged), saved.artifacts, settings.artifacts)
    registry = staged / "feast" / "registry.db"
    if registry.is_file():
        from perennial.adapters.feast import moved as feast  # its import takes seconds

        feast.move(registry, Path(saved.state) / "feast", settings.feast_dir)


def _check_ledger(settings: Settings, saved: Manifest, databases: list[SourceDatabase], staged: Path) -> None:
    for database in databases:
        if database.name == STORE:
            restored = snapshot.read(_staged_url(database, settings, staged))
            check_rows(restored.rows, KeptHead(head=saved.ledger), None, lambda *_: False, restored.end)


def _staged_url(database: SourceDatabase, settings: Settings, staged: Path) -> str:
    """Return the address of a database before the staged folder becomes the state folder."""
    if database.kind == SQLITE and database.file.is_relative_to(settings.state):
        return f"sqlite:///{staged / database.file.relative_to(settings.state)}"
    return database.url
