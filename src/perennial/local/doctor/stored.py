"""Checks of the state folder: who may read it, and how much fits in."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from perennial.local.doctor.finding import Finding, State
from perennial.secret_settings import SECRETS
from perennial.settings import PREFIX, Settings

LOOK = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""Rights of others on a folder; to pass through (0711) is allowed, since processes have several accounts."""
ANY = stat.S_IRWXG | stat.S_IRWXO
LOW, FULL = 5 << 30, 1 << 30
"""Free bytes below which a disk is a warning and a problem: a training or an hour of log needs that much."""


def rights(settings: Settings) -> Iterator[Finding]:
    """Check that folders of state and files of secrets are for their owner only."""
    if not settings.state.is_dir():
        yield Finding(
            "state folder", State.DOWN, f"{settings.state} does not exist yet", "perennial local setup"
        )
        return
    if not os.access(settings.state, os.W_OK | os.X_OK):
        yield Finding(
            "state folder", State.PROBLEM, f"{settings.state} cannot be written by this account",
            "give the command as its owner, or set PERENNIAL_HOME",
        )  # fmt: skip
    open_folders = [path for path in _folders(settings) if _mode(path) & LOOK]
    open_files = [path for path in _secret_files(settings) if _mode(path) & ANY]
    for path in open_folders:
        yield Finding(
            "rights", State.PROBLEM, f"others may look into {path} ({_mode(path):04o})", f"chmod 700 {path}"
        )
    for path in open_files:
        yield Finding("rights", State.PROBLEM, f"others may read the secret {path} ({_mode(path):04o})",
                      f"chmod 600 {path}, and renew what is in it")  # fmt: skip
    for path in _handed_files():
        if _mode(path) & stat.S_IRWXO:
            yield Finding(
                "rights", State.WARNING, f"everybody may read {path} ({_mode(path):04o})", f"chmod 600 {path}"
            )
    if not open_folders and not open_files:
        yield Finding("rights", State.OK, "state folders and secrets are for their owner only")


def disks(settings: Settings) -> Iterator[Finding]:
    """Check the free space of each file system that state, data and temporary files lie on."""
    seen: set[int] = set()
    for folder in (settings.state, settings.project, Path(tempfile.gettempdir())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        device = existing.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        state = State.PROBLEM if free < FULL else State.WARNING if free < LOW else State.OK
        fix = "" if state is State.OK else "free space: old work folders and reports, or a larger disk"
        yield Finding("disk", state, f"{free / 2**30:.1f} GiB are free at {existing}", fix)


def _folders(settings: Settings) -> list[Path]:
    """Return the state folder; where others may pass through it, also the folders that hold secrets."""
    state = settings.state
    inner = (state / "logs", state / "secrets", state / "keys", settings.mlflow_dir, settings.airflow_dir)
    passable = _mode(state) & (stat.S_IXGRP | stat.S_IXOTH)
    return [state, *(folder for folder in inner if passable and folder.is_dir())]


def _secret_files(settings: Settings) -> list[Path]:
    state, airflow = settings.state, settings.airflow_dir
    files = [
        settings.accounts_file, state / "secrets.json", settings.client_keys, settings.feedback_sources,
        settings.signing_key_file, state / "secrets" / "internal", settings.ledger_key, settings.tls_key,
        airflow / "passwords.json", airflow / "sessions.cfg", airflow / "airflow.cfg",
    ]  # fmt: skip
    handed = state / "secrets" / "processes"
    if os.access(handed, os.R_OK | os.X_OK):
        files += sorted(path for path in handed.rglob("*") if path.is_file())
    return [path for path in files if path is not None and _is_file(path)]


def _handed_files() -> list[Path]:
    names = (f"{PREFIX}{name.upper()}_FILE" for name in sorted(SECRETS))
    return [
        Path(os.environ[name]) for name in names if name in os.environ and _is_file(Path(os.environ[name]))
    ]


def _is_file(path: Path) -> bool:
    """Return whether there is a file that this account can see."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
