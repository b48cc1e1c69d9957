"""Accounts and their passwords in a file that only its owner may read."""

from __future__ import annotations

import hmac
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
    """Role and password of an account."""

    role: Role
    password: str = Field(min_length=12, repr=False, description="MLflow refuses shorter passwords")


CONTENT = TypeAdapter(dict[str, Credentials])


def make(path: Path, accounts: Iterable[Account], given: Mapping[str, str]) -> dict[str, Credentials]:
    """Write the file with exactly these accounts. Known passwords stay unless a new password is given.

    Returns:
        The accounts with a newly generated password, which is never shown again.

    Raises:
        SettingsError: a given password is too short, or belongs to no account.
    """
    known = read(path) if path.is_file() else {}
    wanted: dict[str, Credentials] = {}
    fresh: dict[str, Credentials] = {}
    for account in accounts:
        name = account.name
        password = given.get(name) or (known[name].password if name in known else None)
        try:
            credentials = Credentials(role=account.role, password=password or secrets.token_urlsafe(15))
        except ValidationError as error:
            raise SettingsError(
                f"the password of {name} is shorter than 12 characters", hint="PERENNIAL_PASSWORDS"
            ) from error
        wanted[name] = credentials
        if password is None:
            fresh[name] = credentials
    if stray := sorted(set(given) - set(wanted)):
        raise SettingsError(f"a password for {stray[0]}, which is no account", hint="PERENNIAL_PEOPLE")
    if wanted != known:
        files.write_bytes(path, CONTENT.dump_json(wanted, indent=2) + b"\n", files.PRIVATE)
    return fresh


def read(path: Path) -> dict[str, Credentials]:
    """Read the file: account name -> role and password.

    Raises:
        SettingsError: the file is missing or malformed, or others may read it.
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


def admin_of(path: Path, password: str) -> str | None:
    """Return the name of the admin who has this password; None when no admin has it.

    Raises:
        SettingsError: as for `read`.
    """
    for name, account in read(path).items():
        same = hmac.compare_digest(account.password.encode(), password.encode(errors="surrogateescape"))
        if account.role is Role.ADMIN and same:
            return name
    return None


def server_key(path: Path) -> str:
    """Return the server's secret key; create it at the first start."""
    if not path.is_file():
        files.write_text(path, json.dumps(secrets.token_urlsafe(32)), files.PRIVATE)
    return str(json.loads(path.read_text()))
