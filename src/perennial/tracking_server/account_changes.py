"""Every change of accounts, roles and permissions in MLflow's user store becomes an entry of the ledger."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perennial.core.events import Entry, Event

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    from perennial.ports import Ledger

READS = re.compile(r"(authenticate|has|get|list|is|user_has)_.*|init_db")
"""Methods of the user store that change nothing; all others are recorded, also those of later versions."""
LONGEST = 200
"""Characters of an argument that an entry keeps."""


def changing_methods(kind: type) -> list[str]:
    """Return the names of the public methods that change something."""
    return [
        name for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and not READS.fullmatch(name)
    ]  # fmt: skip


def record_changes(store: SqlAlchemyStore, ledger: Ledger, actor: Callable[[], str]) -> None:
    """Wrap the changing methods of MLflow's user store: the entry follows the change, or the caller gets an error.

    The methods are wrapped and not the routes, because REST and the pages all call these methods.

    Args:
        actor: returns the account of the current request.
    """
    inside = threading.local()

    def wrap(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def recorded(*args: Any, **more: Any) -> Any:
            if getattr(inside, "change", False):  # a part of the change that is recorded
                return method(*args, **more)
            payload = {"change": name, **_described(store, signature.bind(*args, **more).arguments)}
            inside.change = True
            try:
                result = method(*args, **more)
            finally:
                inside.change = False
            ledger.append(account_entry(actor(), payload))
            return result

        return recorded

    for name in changing_methods(type(store)):
        setattr(store, name, wrap(name, getattr(store, name)))


def account_entry(actor: str, payload: dict[str, str]) -> Entry:
    """Return the entry of a change."""
    return Entry(at=datetime.now(UTC), actor=actor, kind=Event.ACCOUNT_CHANGED, model="", payload=payload)


def _described(store: SqlAlchemyStore, arguments: dict[str, Any]) -> dict[str, str]:
    """Return the arguments of a change in words, with names in place of numbers, and never a password."""
    from mlflow.exceptions import MlflowException

    words = {}
    for name, value in arguments.items():
        if value is None:
            continue
        words[name] = "set" if "password" in name else str(value)[:LONGEST]
        try:
            if name == "role_id":
                words["role"] = store.get_role(value).name
            if name == "user_id":
                words["username"] = next(user.username for user in store.list_users() if user.id == value)
        except (MlflowException, StopIteration):  # there is none: the change itself will be refused
            continue
    return words
