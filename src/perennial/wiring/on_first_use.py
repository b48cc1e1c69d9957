"""Adapters whose libraries take seconds to import, for callers that may not need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OnFirstUse:
    """A proxy that makes its adapter at the first access to an attribute."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)
