"""Add and revoke API keys of clients; every change is an entry of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Protocol

from perennial.core.events import Entry, Event
from perennial.core.governance.client_keys import MARK, ClientKey, Right
from perennial.core.governance.secret_text import hashed, written
from perennial.core.governance.sender_name import check_name
from perennial.errors import UsageError
from perennial.flows.governance.identity import NO_MODEL
from perennial.ports import Ledger


class KeyFile(Protocol):
    """The stored keys (see `serving.access.client_keys`)."""

    def put(self, key: ClientKey) -> None: ...

    def remove(self, name: str) -> ClientKey | None: ...


def add_key(
    name: str,
    rights: Collection[Right],
    models: Collection[str],
    valid: timedelta | None,
    actor: str,
    keys: KeyFile,
    ledger: Ledger,
    now: datetime,
    random: Callable[[int], str],
    taken: Collection[str],
) -> str:
    """Add the key of a client, or give it a new one; returns the key, which is stored nowhere.

    Args:
        models: models that it may ask; empty for every model.
        valid: time until it expires; None: never.
        random: number of bytes -> random bytes as hexadecimal text.
        taken: names of feedback sources.

    Raises:
        UsageError: the name cannot be used.
    """
    check_name(name, "client", taken)
    text = written(MARK, name, random(32))
    key = ClientKey(
        name=name,
        sha256=hashed(text),
        rights=frozenset(rights),
        models=tuple(sorted(set(models))),
        added_at=now,
        added_by=actor,
        expires_at=None if valid is None else now + valid,
    )
    ledger.append(_entry(Event.CLIENT_KEY_ADDED, key, actor, now))
    keys.put(key)
    return text


def revoke_key(name: str, actor: str, keys: KeyFile, ledger: Ledger, now: datetime) -> None:
    """End the key of a client at once.

    Raises:
        UsageError: there is no such client.
    """
    key = keys.remove(name)
    if key is None:
        raise UsageError(f"there is no key of {name!r}", hint="perennial key list")
    ledger.append(_entry(Event.CLIENT_KEY_REVOKED, key, actor, now))


def _entry(kind: Event, key: ClientKey, actor: str, now: datetime) -> Entry:
    payload = {"client": key.name, "rights": sorted(key.rights), "models": list(key.models)}
    return Entry(at=now, actor=actor, kind=kind, model=NO_MODEL, payload=payload)
