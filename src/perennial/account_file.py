"""Accounts with their passwords in one file that only its owner reads; made once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from perennial import files
from perennial.core.frozen import Frozen
from perennial.core.governance.identity import Account, Role
from perennial.errors import SettingsError


class Credentials(Frozen):
    role: Role
    password: str = Field(min_length=12, repr=False, description="MLflow takes none that is shorter")


CONTENT = TypeAdapter(dict[str, Credentials])


def make(path: Path, accounts: Iterable[Account], given: Mapping[str, str]) -> dict[str, Credentials]:
    """The file with exactly these accounts; passwords that it knows stay, unless one is given.

    Returns:
        The accounts whose password was generated just now: it is shown to nobody again.

    Raises:
        SettingsError: a given password is for no account, or too short.
    """
    known = read(path) if path.is_file() else {}
    wanted: dict[str, Credentials] = {}
    fresh: dict[str, Credentials] = {}
    for one in accounts:
        password = given.get(one.name) or (known[one.name].password if one.name in known else None)
        try:
            made = Credentials(role=one.role, password=password or secrets.token_urlsafe(15))
        except ValidationError as error:
            raise SettingsError(
                f"the password of {one.name} is shorter than 12 characters", hint="PERENNIAL_PASSWORDS"
            ) from error
        wanted[one.name] = made
        if password is None:
            fresh[one.name] = made
    if stray := sorted(set(given) - set(wanted)):
        raise SettingsError(f"a password for {stray[0]}, which is no account", hint="PERENNIAL_PEOPLE")
    if wanted != known:
        files.write_bytes(path, CONTENT.dump_json(wanted, indent=2) + b"\n", files.PRIVATE)
    return fresh


def read(path: Path) -> dict[str, Credentials]:
    """Account name -> role and password.

    Raises:
        SettingsError: there is no such file, others may read it, or it is not what `make` writes.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"others may read {path}", hint=f"chmod 600 {path}")
        return CONTENT.validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"there are no accounts: {path}: {error.strerror}", hint="perennial local setup"
        ) from error
    except ValidationError as error:
        raise SettingsError(
            f"{path}: {error.errors()[0]['msg']}", hint="remove it, then perennial local setup"
        ) from error


def server_key(path: Path) -> str:
    """A key of the server's own, made at its first start."""
    if not path.is_file():
        files.write_text(path, json.dumps(secrets.token_urlsafe(32)), files.PRIVATE)
    return json.loads(path.read_text())
