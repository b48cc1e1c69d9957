"""The files of the state folder that a backup has: all that are neither secret nor made again from the rest."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path

from perennial.adapters.backup.sqlite_copy import ASIDE

KEYS = (
    "accounts.json", "secrets.json", "secrets/internal", "keys/*.pem", "keys/*.keys", "mlflow/server.key",
    "mlflow/auth.ini", "airflow/passwords.json", "airflow/*.cfg", "data/.dvc/config.local", "tls/*",
)  # fmt: skip
"""Files with passwords and private keys: in a backup only encrypted, and only where a passphrase is given."""
MADE_AGAIN = {
    "logs/*": "logs of the processes",
    "airflow/logs/*": "logs of the tasks",
    "work/*": "work folders: a training starts again",
    "downloads/*": "downloads of data sets, which have checksums in the catalogue",
    "engines/*": "engines that TensorRT builds",
    "bentoml/*": "BentoML's folders of the servers",
    "batch/*": "parts of unfinished batches",
    "secrets/*": "secrets of each process, which the start writes from the accounts",
    "training/*": "socket of the training runner",
    "certificates/*": "certificates of the processes, which a renewal makes",
    "envoy/*": "Envoy's files, which follow from the routes",
    "supervisord.*": "files of supervisord",
    "data/*": "the data repository's work tree and cache: its commits and its remote have them",
    "*.lock": "locks",
    "*.backup": "copies that an upgrade of the database left",
}
"""Pattern of left out files -> why. Patterns are of paths below the state folder; `*` matches slashes, too."""
KEPT = ("envoy/routes.json", "data/.git/*", "data/.dvc/config", "data/.dvc/.gitignore", "data/.dvcignore")
"""Files that are saved although a pattern of MADE_AGAIN matches."""
CACHE = "data/.dvc/cache/*"
"""DVC's cache, saved where its remote is none that a backup can copy."""
TEMPORARY = re.compile(r"\..+\.\d+")
"""Name of a file or folder that a process replaces another by (`files.replacing`)."""


class Kind(Enum):
    """Treatment of a file of the state folder."""

    COPIED = "copied"
    KEY = "key"
    MADE_AGAIN = "made again"


def kind_of(name: str, *, with_cache: bool = False) -> Kind:
    """Return what happens to a file.

    Args:
        name: its path below the state folder.
        with_cache: DVC's cache is copied.
    """
    if _matches(name, KEYS):
        return Kind.KEY
    if any(TEMPORARY.fullmatch(part) for part in name.split("/")) or name.endswith(ASIDE):
        return Kind.MADE_AGAIN
    if name.endswith(".lock"):  # of git, too: a reference that is being written
        return Kind.MADE_AGAIN
    if _matches(name, KEPT) or (with_cache and fnmatchcase(name, CACHE)):
        return Kind.COPIED
    return Kind.MADE_AGAIN if _matches(name, MADE_AGAIN) else Kind.COPIED


def reason(name: str) -> str:
    """Return why a file is left out."""
    if kind_of(name) is Kind.KEY:
        return "passwords and private keys"
    matching = (why for pattern, why in MADE_AGAIN.items() if fnmatchcase(name, pattern))
    return next(matching, "what belongs to a running process")


def is_foreign_link(path: Path, state: Path) -> bool:
    """Return whether a path is a link that neither root nor the owner of the state folder made.

    Processes with accounts of their own may put links into their folders: to keys, or to anything that root may
    read or delete.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, state.stat().st_uid)


def is_behind_foreign_link(path: Path, state: Path) -> bool:
    """Return whether a path below the state folder is such a link, or is reached by one."""
    below = [part for part in (path, *path.parents) if part != state and part.is_relative_to(state)]
    return any(is_foreign_link(part, state) for part in below)


def walk(
    state: Path, below: Path, without: Path, *, with_cache: bool = False
) -> Iterator[tuple[str, Kind | None]]:
    """Yield each regular file below a folder of the state folder, with what happens to it; None: a foreign link.

    Args:
        without: a folder that is not walked, though a link leads to it.
    """
    seen = {os.path.realpath(without)}
    for folder, folders, names in os.walk(below, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        foreign = [name for name in (*folders, *names) if is_foreign_link(Path(folder) / name, state)]
        yield from ((Path(folder, name).relative_to(state).as_posix(), None) for name in foreign)
        folders[:] = sorted(set(folders).difference(foreign))
        for name in sorted(set(names).difference(foreign)):
            path = Path(folder) / name
            if path.is_file():  # neither a socket nor a link to nowhere
                relative = path.relative_to(state).as_posix()
                yield relative, kind_of(relative, with_cache=with_cache)


def _matches(name: str, patterns: tuple[str, ...] | dict[str, str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
