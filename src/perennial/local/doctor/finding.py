"""Findings of a check, without the secrets of the installation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from perennial import account_file
from perennial.errors import PerennialError
from perennial.secret_settings import SECRETS
from perennial.settings import Settings

SHORTEST_SECRET = 4
"""Characters; to mask anything shorter would garble every text."""


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, and will not for long, or is not as it was tested."""
    DOWN = "down"
    """Not started, and nothing says that it should be."""
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """A row of the table."""

    check: str
    state: State
    what: str
    fix: str = ""

    def row(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def attempt(check: str, action: Callable[[], str]) -> Finding:
    """Return `ok` with the text of an action, or the problem that it raises as a PerennialError."""
    try:
        return Finding(check, State.OK, action())
    except PerennialError as error:
        return problem(check, error)


def problem(check: str, error: PerennialError) -> Finding:
    return Finding(check, State.PROBLEM, error.message, error.hint)


def without_secrets(findings: Iterable[Finding], settings: Settings) -> list[Finding]:
    """Return the findings with every secret of the installation masked, whatever a library wrote into its error."""
    secrets = sorted(_secrets(settings), key=len, reverse=True)

    def masked(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return [replace(finding, what=masked(finding.what), fix=masked(finding.fix)) for finding in findings]


def _secrets(settings: Settings) -> set[str]:
    values: set[str] = set()
    for name in SECRETS - {"passwords"}:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        values |= set().union(*(_parts(part) for part in text.split())) if "://" in text else {text}
    values |= {
        entry.partition(":")[2] for entry in (settings.encryption_keys or "").replace(",", " ").split()
    }
    try:
        values |= set(settings.given_passwords.values())
        values |= {account.password for account in account_file.read(settings.accounts_file).values()}
    except PerennialError:
        pass  # a check of its own tells that
    try:
        values.add((settings.state / "secrets" / "internal").read_text())
        values |= set(json.loads((settings.airflow_dir / "passwords.json").read_text()).values())
    except (OSError, ValueError):
        pass
    return {value for value in values if len(value) >= SHORTEST_SECRET}


def _parts(address: str) -> set[str]:
    """Return what is secret of an address: password and values of the query, quoted and not."""
    parts = urlsplit(address)
    secrets = {parts.password or "", *(value for _, value in parse_qsl(parts.query))}
    return secrets | {unquote(secret) for secret in secrets}
