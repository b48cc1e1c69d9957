"""Two Unix accounts for the started processes, when root starts them: MLflow's server, and everything else.

MLflow's server has what decides on approvals: its databases and all passwords. Whoever may read or write files as the
other account, which runs trainings and DAGs, reaches neither.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from perennial import files
from perennial.errors import SettingsError
from perennial.settings import Settings
from perennial.wiring.database import SQLITE

VARIABLE = "PERENNIAL_UNIX_ACCOUNTS"
HINT = "an example: mlflow=mlflow,perennial=perennial"
MLFLOW, REST = "mlflow", "perennial"
ROOTS = ("accounts.json", "secrets.json", "supervisord.conf", "supervisord.pid", "logs")
"""Names in the state folder that stay root's, as whoever starts and stops the processes."""
FOLDERS = (
    "airflow", "bentoml", "data", "downloads", "dvc-remote", "envoy", "feast", "history", "keys", "monitor", "optuna",
    "quarantine", "releases", "reports", "serving", "tables", "work",
)  # fmt: skip
"""Folders that the processes make in the state folder; root makes them, so that no process writes into it."""
DATA_LOCK = "data.lock"
"""The lock of the data repository, beside it."""


@dataclass(frozen=True)
class Owner:
    """An account, and the umask of its processes."""

    name: str
    uid: int
    gid: int
    home: str
    umask: str


@dataclass(frozen=True)
class UnixAccounts:
    """The account of MLflow's server and that of all other processes."""

    mlflow: Owner
    rest: Owner

    def of(self, process: str) -> Owner:
        """Return the account of a process."""
        return self.mlflow if process == MLFLOW else self.rest


def read(settings: Settings) -> UnixAccounts | None:
    """Return the accounts of PERENNIAL_UNIX_ACCOUNTS; None: all processes run as whoever starts them.

    Raises:
        SettingsError: the setting is malformed, or names root or an account that this machine does not have.
    """
    if settings.unix_accounts is None:
        return None
    pairs = [part.strip().partition("=") for part in settings.unix_accounts.split(",")]
    names = {part: account for part, _, account in pairs}
    if set(names) != {MLFLOW, REST} or len(pairs) != 2:
        raise SettingsError(f"{VARIABLE} is {settings.unix_accounts!r}: not one account for each", hint=HINT)
    # MLflow's server reads as group what the others write into the artifacts.
    return UnixAccounts(_owner(names[MLFLOW], "077"), _owner(names[REST], "027"))


def _owner(name: str, umask: str) -> Owner:
    try:
        account = pwd.getpwnam(name)
    except KeyError as error:
        raise SettingsError(
            f"{VARIABLE}: there is no Unix account {name!r}", hint=f"useradd --system {name or 'NAME'}"
        ) from error
    if account.pw_uid == 0:
        raise SettingsError(f"{VARIABLE}: {name} is root", hint="an account without rights of its own")
    return Owner(name, account.pw_uid, account.pw_gid, account.pw_dir, umask)


def check(settings: Settings) -> None:
    """Check that the processes can be started under these accounts.

    Raises:
        SettingsError: as for `read`; or not root starts them, the accounts are the same, or the database
            is a file, which only one account may write.
    """
    accounts = read(settings)
    if accounts is None:
        return
    mlflow, rest = accounts.mlflow, accounts.rest
    if os.geteuid() != 0:
        raise SettingsError(f"{VARIABLE} is set, but only root may start processes as others", hint="sudo -E")
    if mlflow.uid == rest.uid:
        raise SettingsError(f"{VARIABLE}: both accounts are {mlflow.name}", hint=HINT)
    if settings.database.startswith(SQLITE):
        raise SettingsError(
            f"{VARIABLE} needs a database server: two accounts cannot write one SQLite file",
            hint="PERENNIAL_DATABASE_URL=postgresql+psycopg://...",
        )


def own(settings: Settings) -> None:
    """Give the folders in the state folder to the accounts; the state folder itself stays root's.

    Root never follows a link here: the accounts may put links into their folders.
    """
    accounts = read(settings)
    if accounts is None:
        return
    mlflow, rest = accounts.mlflow, accounts.rest
    state, secrets = settings.state, settings.state / "secrets"
    for name in FOLDERS:
        (state / name).mkdir(exist_ok=True)
    (state / DATA_LOCK).touch()
    _set(state / DATA_LOCK, rest.uid, rest.gid, files.PRIVATE)
    _set(state / "logs", 0, 0, 0o700)
    _give(secrets / "processes" / MLFLOW, mlflow)
    _give(settings.mlflow_dir / "artifacts", replace(rest, gid=mlflow.gid))
    for entry in state.iterdir():
        if entry.name not in ROOTS:
            _give(entry, mlflow if entry == settings.mlflow_dir else rest)
    for name in FOLDERS:
        _set(state / name, rest.uid, rest.gid, 0o700)
    for folder in (state, secrets, secrets / "processes"):
        _set(folder, 0, 0, 0o711)  # others may pass, not look
    _set(settings.mlflow_dir, mlflow.uid, mlflow.gid, 0o711)
    for path in settings.mlflow_dir.iterdir():
        if path.is_file() and not path.is_symlink():
            _set(path, mlflow.uid, mlflow.gid, files.PRIVATE)
    _set(settings.mlflow_dir / "artifacts", rest.uid, mlflow.gid, 0o2770)


def _give(top: Path, owner: Owner) -> None:
    """Give what is root's, a file or a folder with its content, to an account; hard links may lead elsewhere."""
    os.chown(top, owner.uid, owner.gid, follow_symlinks=False)
    for _, folders, names, descriptor in os.fwalk(top):
        for name in (*folders, *names):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if status.st_uid == 0 and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
                os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)


def _set(path: Path, uid: int, gid: int, mode: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            raise SettingsError(
                f"{path} has a second name elsewhere", hint="find -samefile tells it; remove one"
            )
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
