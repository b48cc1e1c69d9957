"""Unix accounts for the started processes, when root starts them: MLflow's server, trainings, and everything else.

MLflow's server has what decides on approvals: its databases and all passwords. Whoever may read or write files as the
second account, which runs DAGs and serves, reaches neither. A third account, if named, runs the training steps;
what it shares with the others has a POSIX access control list.
"""

from __future__ import annotations

import os
import pwd
import stat
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from perennial import files
from perennial.core.certificates.roles import ProcessRole
from perennial.errors import SettingsError
from perennial.settings import Settings
from perennial.wiring.database import SQLITE

VARIABLE = "PERENNIAL_UNIX_ACCOUNTS"
HINT = "an example: mlflow=mlflow,perennial=perennial, and training=training if you like"
MLFLOW, REST, TRAINING = "mlflow", "perennial", "training"
ROOTS = (
    "accounts.json",
    "certificates",
    "secrets.json",
    "supervisord.conf",
    "supervisord.pid",
    "logs",
    "tenant",
)
"""Names in the state folder that stay root's, as whoever starts and stops the processes."""
FOLDERS = (
    "airflow", "bentoml", "data", "downloads", "dvc-remote", "engines", "envoy", "feast", "history", "keys", "monitor",
    "optuna", "quarantine", "releases", "reports", "serving", "tables", "work",
)  # fmt: skip
"""Folders that the processes make in the state folder; root makes them, so that no process writes into it."""
DATA_LOCK = "data.lock"
"""The lock of the data repository, beside it."""
OF_TRAINING = ("data", "dvc-remote", "optuna", "quarantine")
"""Folders that only the training steps use."""
SHARED = ("downloads", "tables", "training", "work")
"""Folders of the account that trains, which the second account reads and writes, too."""
READ, WRITE = 0o5, 0o7
"""Rights in an access control list, on a folder and all that is made in it."""


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
    """The account of MLflow's server, that of the training steps (None: the rest's) and that of all else."""

    mlflow: Owner
    rest: Owner
    training: Owner | None = None

    def owners(self) -> list[Owner]:
        """Return all accounts."""
        return [owner for owner in (self.mlflow, self.rest, self.training) if owner is not None]

    def of(self, process: str) -> Owner:
        """Return the account of a process."""
        if process == TRAINING and self.training is not None:
            return self.training
        return self.mlflow if process == MLFLOW else self.rest

    def of_folder(self, name: str) -> Owner:
        """Return the account of a folder of the state folder."""
        return self.of(TRAINING if name in (*OF_TRAINING, *SHARED, DATA_LOCK) else REST)


def read(settings: Settings) -> UnixAccounts | None:
    """Return the accounts of PERENNIAL_UNIX_ACCOUNTS; None: all processes run as whoever starts them.

    Raises:
        SettingsError: the setting is malformed, or names root or an account that this machine does not have.
    """
    if settings.unix_accounts is None:
        return None
    pairs = [part.strip().partition("=") for part in settings.unix_accounts.split(",")]
    names = {part: account for part, _, account in pairs}
    if set(names) - {TRAINING} != {MLFLOW, REST} or len(pairs) != len(names):
        raise SettingsError(f"{VARIABLE} is {settings.unix_accounts!r}: not one account for each", hint=HINT)
    # MLflow's server reads as group what the others write into the artifacts.
    training = _owner(names[TRAINING], "007") if TRAINING in names else None
    return UnixAccounts(_owner(names[MLFLOW], "077"), _owner(names[REST], "027"), training)


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


def of_certificate(accounts: UnixAccounts, name: str) -> tuple[int, int]:
    """Return user and group of the files of a certificate: those of its process, or root's, who gives them out."""
    if name not in set(ProcessRole) - {ProcessRole.OPERATOR, ProcessRole.PROMETHEUS}:
        return 0, 0
    owner = accounts.of(name)
    return owner.uid, owner.gid


def check(settings: Settings) -> None:
    """Check that the processes can be started under these accounts.

    Raises:
        SettingsError: as for `read`; or not root starts them, the accounts are the same, or the database
            is a file, which a single account may write.
    """
    accounts = read(settings)
    if accounts is None:
        return
    if os.geteuid() != 0:
        raise SettingsError(f"{VARIABLE} is set, but only root may start processes as others", hint="sudo -E")
    owners = accounts.owners()
    names = [owner.name for owner in owners]
    if len({owner.uid for owner in owners}) != len(owners):
        raise SettingsError(f"{VARIABLE}: two of the accounts {', '.join(names)} are the same", hint=HINT)
    if settings.work_store is not None and accounts.training is not None:
        raise SettingsError(
            f"PERENNIAL_WORK_STORE with the account {TRAINING} of {VARIABLE}: its runner keeps work folders here",
            hint="leave that account out, and give trainings machines of their own",
        )
    if settings.prune_daily:
        raise SettingsError(
            f"PERENNIAL_PRUNE_DAILY with {VARIABLE}: Airflow's tasks may not delete the files of other accounts",
            hint="unset it, and have root's cron give `perennial prune`",
        )
    if settings.database.startswith(SQLITE):
        raise SettingsError(
            f"{VARIABLE} needs a database server: two accounts cannot write the same SQLite file",
            hint="PERENNIAL_DATABASE_URL=postgresql+psycopg://...",
        )


def check_reach(settings: Settings) -> None:
    """Check that every account can run this Python and read this package.

    Raises:
        SettingsError: an account cannot; names it, the program and what the attempt printed last.
    """
    accounts = read(settings)
    # No more of the environment: it may hold secrets, which are not for every account.
    paths = {
        name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ
    }
    for owner in accounts.owners() if accounts is not None else ():
        try:
            attempt = subprocess.run(
                [sys.executable, "-c", "import ssl, sqlite3, perennial.settings"], cwd="/",
                user=owner.uid, group=owner.gid, extra_groups=os.getgrouplist(owner.name, owner.gid),
                env={**paths, "HOME": owner.home}, capture_output=True, text=True, check=False,
            )  # fmt: skip
        except PermissionError as error:
            failure = f"{sys.executable}: {error.strerror}"
        else:
            failure = attempt.stderr.strip().rpartition("\n")[2] if attempt.returncode else ""
        if failure:
            raise SettingsError(
                f"{VARIABLE}: {owner.name} cannot run Perennial: {failure}",
                hint="Python, the packages and the checkout must be readable for it, with the folders above them",
            )


def own(settings: Settings) -> None:
    """Give the folders in the state folder to the accounts; the state folder itself stays root's.

    Root never follows a link here: the accounts may put links into their folders.
    """
    accounts = read(settings)
    if accounts is None:
        return
    mlflow, rest, training = accounts.mlflow, accounts.rest, accounts.training
    state, secrets, artifacts = settings.state, settings.state / "secrets", settings.mlflow_dir / "artifacts"
    folders = FOLDERS if training is None else (*FOLDERS, TRAINING)
    for name in folders:
        (state / name).mkdir(exist_ok=True)
    (state / DATA_LOCK).touch()
    lock = accounts.of_folder(DATA_LOCK)
    _set(state / DATA_LOCK, lock.uid, lock.gid, files.PRIVATE)
    _set(state / "logs", 0, 0, 0o700)
    for folder in (secrets / "processes").iterdir():
        owner = accounts.of(folder.name)
        _give(folder, owner)
        _set(folder, owner.uid, owner.gid, 0o700)
    writer = accounts.of(TRAINING)
    _give(artifacts, replace(writer, gid=mlflow.gid))
    for entry in state.iterdir():
        if entry.name not in ROOTS:
            _give(entry, mlflow if entry == settings.mlflow_dir else accounts.of_folder(entry.name))
    for name in folders:
        owner = accounts.of_folder(name)
        _set(state / name, owner.uid, owner.gid, 0o700)
    for folder in (state, secrets, secrets / "processes"):
        _set(folder, 0, 0, 0o711)  # others may pass, not look
    _set(settings.mlflow_dir, mlflow.uid, mlflow.gid, 0o711)
    for path in settings.mlflow_dir.iterdir():
        if path.is_file() and not path.is_symlink():
            _set(path, mlflow.uid, mlflow.gid, files.PRIVATE)
    _set(artifacts, writer.uid, mlflow.gid, 0o2770)
    if training is not None:
        # One list for all: copies from the work folder to the artifacts take the list of their source along.
        for folder in (*(state / name for name in SHARED), artifacts):
            _share(folder, {training.uid: WRITE, rest.uid: WRITE, mlflow.uid: READ})
        _share(settings.history_dir, {training.uid: READ})
        _give_keys(state / "keys", rest, training)


def _give_keys(folder: Path, rest: Owner, training: Owner) -> None:
    """Give the signing key to the account that trains; the public keys stay the rest's, for all to read."""
    _set(folder, rest.uid, rest.gid, 0o711)
    if (folder / "signing.pem").is_file():
        _set(folder / "signing.pem", training.uid, training.gid, files.PRIVATE)
    if (folder / "trusted").is_dir():
        _set(folder / "trusted", rest.uid, rest.gid, 0o755)
        for path in (folder / "trusted").glob("*.pub"):
            _set(path, rest.uid, rest.gid, 0o644)


def _share(folder: Path, rights: Mapping[int, int]) -> None:
    """Give accounts (by uid) rights on a folder, and on what is made in it, whatever the umask.

    Raises:
        SettingsError: the file system has no access control lists.
    """
    # Linux, posix_acl_xattr.h: the version, then tag, rights and id of each entry; the tags are owner, account,
    # group, most for accounts and groups, others.
    named = [(0x02, right, uid) for uid, right in sorted(rights.items())]
    none = 0xFFFFFFFF
    entries = [(0x01, 0o7, none), *named, (0x04, 0, none), (0x10, 0o7, none), (0x20, 0, none)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        for kind in ("access", "default"):
            os.setxattr(descriptor, f"system.posix_acl_{kind}", packed)
    except OSError as error:
        raise SettingsError(
            f"{folder} takes no access control list: {error.strerror}",
            hint="a state folder on ext4, XFS or Btrfs, mounted with acl; or no training= account",
        ) from error
    finally:
        os.close(descriptor)


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
