"""Keep the wanted things of a kind here: apply what changed, try again what failed, mend what is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from perennial.core.machine import Applied, Refusal, Wanted
from perennial.errors import PerennialError, ToolError

AGAIN_SECONDS = 0.5
"""Time until what failed is tried again, and until it is seen that something is not here any more."""


def nothing_differs() -> Sequence[Wanted]:
    """Return no things: for a kind whose things only this agent changes."""
    return ()


@dataclass
class Keeper:
    """Applies the wanted things of a kind in a thread of its own, so that a slow kind delays no other."""

    apply: Callable[[Wanted], None]
    changed: threading.Event
    """Is set when there is something to report."""
    different: Callable[[], Sequence[Wanted]] = nothing_differs
    """Returns what is not here as it is wanted, though it was applied: a file was damaged or changed."""
    state: Applied = field(default_factory=Applied)
    _due: dict[str, Wanted] = field(default_factory=dict)
    _failed: dict[str, Wanted] = field(default_factory=dict)
    _newest: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def put(self, things: list[Wanted], newest: int) -> None:
        with self._news:
            self._due |= {wanted.name: wanted for wanted in things}
            self._newest = newest
            self._news.notify()

    def doubt(self) -> None:
        """Confirm nothing until the next look: the database was away, and may be back without its last changes."""
        with self._news:
            self._newest = 0
            self.state = self.state.model_copy(update={"generation": 0})

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._news:
                is_news = self._news.wait_for(
                    lambda: self._due or self._newest != self.state.generation, AGAIN_SECONDS
                )
                due, newest = {**self._failed, **self._due}, self._newest
                self._due = {}
            if not is_news:
                due = {**{wanted.name: wanted for wanted in self.different()}, **due}
            if due or newest != self.state.generation:
                self._apply_all(due, newest)

    def _apply_all(self, due: Mapping[str, Wanted], newest: int) -> None:
        refusals = {}
        for wanted in due.values():
            try:
                self.apply(wanted)
            except PerennialError as error:
                refusals[wanted.name] = Refusal.of(error)
            except Exception as error:  # noqa: BLE001 the thread must outlive it, and the machine must tell it
                refusals[wanted.name] = Refusal(
                    error=ToolError.__name__, message=f"{type(error).__name__}: {error}"
                )
        self._failed = {name: due[name] for name in refusals}
        state = Applied(generation=newest, failed=refusals)
        if state != self.state:
            self.state = state
            self.changed.set()
