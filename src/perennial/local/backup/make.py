"""Make a backup while the plant runs: what names things first, then what they are made of, and the manifest last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from perennial import files
from perennial.adapters.backup import places, postgres_dump, sealed_keys, sqlite_copy
from perennial.adapters.backup.folder import ENDING, BackupFolder
from perennial.adapters.sql import snapshot
from perennial.adapters.sql.snapshot import EMPTY, StoreSnapshot
from perennial.core.governance.ledger import Head
from perennial.errors import FileRefused, ReleaseConflict, SettingsError, ToolError
from perennial.flows.governance.ledger_check import check_rows
from perennial.local.backup import contents, manifest, sources
from perennial.local.backup.contents import Kind
from perennial.local.backup.exclusion import files_stay
from perennial.local.backup.manifest import PLACES, SEALED, STATE, UNFINISHED, Manifest, SavedFile
from perennial.local.backup.sources import POSTGRESQL, SQLITE, SourceDatabase
from perennial.settings import Settings
from perennial.wiring import machines

Say = Callable[[str], None]
FENCE = ("envoy/routes.json", "serving/pools/*.json", "releases/rollbacks/*.json")
"""Files that must be the same before and after the copy of the database: together they are one moment."""
MARKS = "serving/feedback/stored.json"
"""Which feedback the database has. Older than the database, it is stored again; newer, labels would be lost."""
FOREIGN = "links that neither root nor the owner of the state folder made"
SCRATCH = ".backup."
TRIES = 20
PATIENCE_SECONDS = 600


def make(settings: Settings, target: Path, passphrase: str | None, at: datetime, say: Say) -> Manifest:
    """Copy all state into a new folder.

    Args:
        target: new, empty, or with an unfinished backup, which is begun anew.
        passphrase: encrypts private keys and passwords; None: they are left out.
        at: time of the backup.

    Raises:
        FileRefused: the target holds something else, or lies in the state folder. UsageError: a short passphrase.
        LedgerBroken: the chain does not hold.
        BackupRunning: another one runs. ReleaseConflict: releases moved the traffic in every try.
    """
    check_target(settings, target)
    if passphrase is not None:
        sealed_keys.check_passphrase(passphrase)  # not after hours of copying
    if not settings.state.is_dir():
        raise SettingsError(f"there is no {settings.state}", hint="PERENNIAL_HOME, PERENNIAL_PROJECT")
    if settings.plane == machines.SERVING:
        raise SettingsError(
            "a serving machine keeps copies only", hint="give the command on the control plane"
        )
    keyring = settings.keyring
    scratch = settings.state / f"{SCRATCH}{os.getpid()}"  # a name that no backup saves, and `prune` deletes
    folder = BackupFolder(target, scratch, keyring, is_encrypted=keyring is not None)
    with files_stay(settings), _writing(target):
        for left in settings.state.glob(f"{SCRATCH}*"):  # by a backup that was killed, and none runs now
            shutil.rmtree(left, ignore_errors=True)
        return _Backup(settings, folder, say).run(passphrase, at)


def check_target(settings: Settings, target: Path) -> None:
    """Refuse a folder that a backup would save; raises FileRefused."""
    if target.resolve().is_relative_to(settings.state):
        raise FileRefused(f"{target} lies in the state folder", hint="a folder of another disk")
    for name, place in sources.outside(settings).items():
        if not places.is_address(place) and target.resolve().is_relative_to(Path(place).resolve()):
            raise FileRefused(f"{target} lies among the files of {name}", hint="a folder of another disk")


def is_backup(target: Path) -> bool:
    """Return whether a folder has the manifest, which is written last."""
    return any((target / f"{manifest.FILE}{ending}").exists() for ending in ("", ENDING))


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    if target.is_dir() and any(target.iterdir()):
        if is_backup(target) or not (target / UNFINISHED).exists():
            raise FileRefused(f"{target} is not empty", hint="name a new folder")
        for left in target.iterdir():
            if left.name != UNFINISHED:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o700)
    files.write_text(target / UNFINISHED, "the manifest is missing: this is no backup yet\n")
    yield
    (target / UNFINISHED).unlink()


class _Backup:
    """A backup in the making, with the files that it has."""

    def __init__(self, settings: Settings, folder: BackupFolder, say: Say) -> None:
        self._settings, self._folder, self._say = settings, folder, say
        self._state = settings.state
        self._with_cache = not sources.is_remote_copied(settings)
        self._saved: dict[str, SavedFile] = {}
        self._keys: dict[str, bytes] = {}
        self._left_out: dict[str, int] = {}
        self._done: set[str] = set()
        """Names of files in the state folder that need no copy any more."""

    def run(self, passphrase: str | None, at: datetime) -> Manifest:
        store, *others = sources.databases(self._settings)
        saved = self._store(store)
        for database in others:
            if database.kind == SQLITE and self._is_foreign(database.file):
                raise FileRefused(f"{database.file} is behind one of the {FOREIGN}", hint="remove the link")
            self._database(database)
        for lock, folders in self._locked():
            with lock:
                for folder in folders:
                    self._files(folder)
        self._files(self._state)
        self._say(f"files of {self._state}: {len(self._saved)}")
        for name, place in sources.outside(self._settings).items():
            self._say(f"files of {name} in {place}")
            for file, size, digest in places.save(place, self._folder, f"{PLACES}/{name}", self._is_foreign):
                self._saved[file] = SavedFile(size=size, sha256=digest)
        if passphrase is not None:
            self._folder.write(SEALED, sealed_keys.seal(self._keys, passphrase))
            self._note(SEALED)
        elif self._keys:
            self._left_out["passwords and private keys"] = len(self._keys)
        os.sync()  # before the manifest says that all is there
        made = self._manifest(saved, passphrase is not None, at)
        self._folder.write(manifest.FILE, made.model_dump_json(indent=1).encode())
        return made

    def _store(self, database: SourceDatabase) -> StoreSnapshot:
        """Copy our own database, and with it the files of the same moment; check the chain of the copy."""
        if database.kind == SQLITE and not database.file.exists():
            return EMPTY
        with self._folder.made(database.saved_as(self._state)) as target:
            for _ in range(TRIES):
                marks, before = self._read(MARKS), self._read(*FENCE)
                target.unlink(missing_ok=True)
                saved = snapshot.save(database.url, target)
                if self._read(*FENCE) == before:
                    break
            else:
                raise ReleaseConflict(
                    f"releases moved the traffic during each of {TRIES} copies of the database",
                    hint="perennial release pause MODEL, then again",
                )
        check_rows(saved.rows, None, None, lambda *_: False, saved.end)
        self._note_database(database)
        for name, content in {**marks, **before}.items():
            self._folder.write(f"{STATE}/{name}", content)
            self._note(f"{STATE}/{name}")
            self._done.add(name)
        self._say(f"database of releases and ledger: {saved.end[0]} entries, which hold")
        return saved

    def _database(self, database: SourceDatabase) -> None:
        if database.kind not in (SQLITE, POSTGRESQL):
            raise SettingsError(
                f"the database of {database.name} is {database.kind}", hint="back it up with its own tool"
            )
        if database.kind == SQLITE and not database.file.exists():
            return
        with self._folder.made(database.saved_as(self._state)) as target:
            if database.kind == SQLITE:
                sqlite_copy.copy(database.file, target)
            else:
                postgres_dump.dump(database.url, target)
        self._note_database(database)
        self._say(f"database of {database.name}")

    def _note_database(self, database: SourceDatabase) -> None:
        name = database.saved_as(self._state)
        self._note(name)
        self._done.add(name.removeprefix(f"{STATE}/"))

    def _locked(self) -> Iterator[tuple[object, list[Path]]]:
        """Yield folders that are changed in several steps, with the locks under which these are made."""
        data, feast = self._settings.data_repo, self._settings.feast_dir
        lock = _held(data.with_name(f"{data.name}.lock")) if data.is_dir() else nullcontext()
        yield lock, [data, self._state / "dvc-remote"]
        yield _held(feast / ".lock") if feast.is_dir() else nullcontext(), [feast]
        for log in sorted((self._settings.serving_dir / "log").glob("*/")):
            if not self._is_foreign(log):
                yield _held(log / ".tidy.lock"), [log]

    def _files(self, folder: Path) -> None:
        """Copy the files below a folder of the state folder, but those that are saved already."""
        for name, kind in contents.walk(self._state, folder, self._folder.root, with_cache=self._with_cache):
            if name in self._done:
                continue
            self._done.add(name)
            try:
                self._file(name, kind)
            except (
                FileNotFoundError
            ):  # removed meanwhile, as temporary files and those of an ended process are
                self._folder.path(f"{STATE}/{name}").unlink(missing_ok=True)  # the manifest has no half of it

    def _file(self, name: str, kind: Kind | None) -> None:
        source = self._state / name
        if kind is None:
            self._left_out[FOREIGN] = self._left_out.get(FOREIGN, 0) + 1
        elif self._is_key(source) or kind is Kind.KEY:
            self._keys[name] = source.read_bytes()
        elif kind is Kind.MADE_AGAIN:
            why = contents.reason(name)
            self._left_out[why] = self._left_out.get(why, 0) + 1
        elif sqlite_copy.is_database(source):
            with self._folder.made(f"{STATE}/{name}") as target:
                sqlite_copy.copy(source, target)
            self._note(f"{STATE}/{name}")
        else:
            size, digest = self._folder.copy(source, f"{STATE}/{name}")
            self._saved[f"{STATE}/{name}"] = SavedFile(size=size, sha256=digest)

    def _is_foreign(self, path: Path) -> bool:
        return contents.is_behind_foreign_link(path, self._state) or contents.is_foreign_link(
            path, self._state
        )

    def _is_key(self, source: Path) -> bool:
        """Return whether a setting names the file as a private key."""
        settings = self._settings
        named = (settings.tls_key, settings.signing_key, settings.ledger_key)
        return any(path is not None and path.exists() and path.samefile(source) for path in named)

    def _note(self, name: str) -> None:
        size, digest = self._folder.size_and_digest(name)
        self._saved[name] = SavedFile(size=size, sha256=digest)

    def _read(self, *patterns: str) -> dict[str, bytes]:
        """Return the contents of the files in the state folder that match."""
        paths = [path for pattern in patterns for path in sorted(self._state.glob(pattern))]
        read = {}
        for path in paths:
            if self._is_foreign(path):
                continue
            try:
                read[path.relative_to(self._state).as_posix()] = path.read_bytes()
            except FileNotFoundError:
                continue
        return read

    def _manifest(self, saved: StoreSnapshot, keys: bool, at: datetime) -> Manifest:
        settings = self._settings
        return Manifest(
            made=at, packages=manifest.packages(), state=str(self._state), keys=keys,
            schema_revision=saved.schema.revision,
            ledger=Head(seq=saved.end[0], hash=saved.end[1], at=at),
            databases={
                database.name: database.kind
                for database in sources.databases(settings)
                if database.saved_as(self._state) in self._saved
            },
            tenant=settings.tenant,
            places=sources.outside(settings), artifacts=settings.artifacts, left_out=self._left_out,
            files=dict(sorted(self._saved.items())),
        )  # fmt: skip


def _held(path: Path) -> object:
    try:
        return FileLock(path, timeout=PATIENCE_SECONDS).acquire()
    except Timeout as error:
        raise ToolError(f"another process holds {path}", hint="wait for its end, then again") from error
