"""The queries that a block sends, for tests and benchmarks that count them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


@contextmanager
def selects() -> Iterator[list[str]]:
    """Collect the SELECTs of a block; the first use of a store also looks at its schema."""
    sent: list[str] = []

    def send(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", send)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", send)
