"""Restore a backup into an empty place: everything is checked before anything is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from perennial import files
from perennial.adapters.backup import places, postgres_dump, sealed_keys
from perennial.adapters.database_address import shown
from perennial.adapters.mlflow import moved as mlflow
from perennial.adapters.sql import snapshot
from perennial.adapters.sql.schema import REVISIONS
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
from perennial.local.backup.sources import MLFLOW, POSTGRESQL, SQLITE, STORE, SourceDatabase
from perennial.settings import Settings
from perennial.tenant_settings import refuse_other

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
    saved = manifest.read(source)
    refuse_other(f"the backup {source}", saved.tenant, settings.tenant)
    manifest.refuse_newer(saved)
    if saved.schema_revision is not None and saved.schema_revision not in REVISIONS:
        raise SchemaMismatch(
            f"the backup has schema revision {saved.schema_revision}; this version of Perennial knows up to "
            f"{REVISIONS[-1]}", hint="restore it with the newer version of Perennial",
        )  # fmt: skip
    databases = [database for database in sources.databases(settings) if database.name in saved.databases]
    _refuse_full(settings, saved, databases)
    manifest.verify(source, saved)
    keys = _keys(source, saved, passphrase)
    say(f"{len(saved.files)} files of {saved.made:%Y-%m-%d %H:%M} UTC are those of the manifest")
    staged = settings.state.with_name(f".{settings.state.name}.restoring")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True, mode=0o700)
        _stage(source, saved, keys, staged)
        _databases(settings, source, saved, databases, staged)
        _places(settings, source, saved)
        _move(settings, saved, databases, staged)
        _check_ledger(settings, saved, databases, staged)
        os.replace(staged, settings.state)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    say(f"{settings.state} is restored; the ledger holds with {saved.ledger.seq} entries")
    return saved


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


def _keys(source: Path, saved: Manifest, passphrase: str | None) -> dict[str, bytes]:
    if passphrase is None:
        return {}
    if not saved.keys:
        raise UsageError(
            "the backup has no keys", hint="leave out --keys: perennial local setup makes new ones"
        )
    return sealed_keys.unseal((source / SEALED).read_bytes(), passphrase)


def _stage(source: Path, saved: Manifest, keys: dict[str, bytes], staged: Path) -> None:
    for name, file in saved.files.items():
        if name.startswith(f"{STATE}/"):
            _, digest = places.copy_file(source / name, staged / name.removeprefix(f"{STATE}/"))
            if digest != file.sha256:
                raise ChecksumMismatch(f"{source / name} changed meanwhile", hint="is its disk in order?")
    for name, content in keys.items():
        files.write_bytes(staged / name, content, files.PRIVATE)
    for folder in staged.rglob("*/"):
        folder.chmod(0o700)


def _databases(
    settings: Settings, source: Path, saved: Manifest, databases: list[SourceDatabase], staged: Path
) -> None:
    for database in databases:
        name = database.saved_as(settings.state)
        if name not in saved.files and database.kind == SQLITE:
            raise BackupBroken(
                f"the backup has no {name}", hint="the same setting for its address as when it was saved"
            )
        if database.kind == POSTGRESQL:
            postgres_dump.load(database.url, source / name)
        elif not name.startswith(f"{STATE}/"):
            places.copy_file(source / name, database.file)


def _places(settings: Settings, source: Path, saved: Manifest) -> None:
    for place, address in sources.outside(settings).items():
        prefix = f"{PLACES}/{place}/"
        for name, file in saved.files.items():
            if name.startswith(prefix):
                places.load(source / prefix, name.removeprefix(prefix), file.sha256, address)


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
