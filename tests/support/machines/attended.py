"""A stack whose Envoy and servers belong to a serving machine with an agent, on SQLite and a folder as exchange."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving_stack import ServingStack, until

from perennial.settings import Settings
from perennial.wiring import machines

LEASE = 120.0
"""A busy machine must not count as lost."""


@contextmanager
def attended(stack: ServingStack, folder: Path) -> Iterator[Settings]:
    """Yield the settings of a control plane whose only machine is this stack; its agent runs in a thread."""
    shared = {
        "database_url": f"sqlite:///{folder}/control/perennial.db",
        "exchange": f"file://{folder}/exchange",
        "machine_lease": LEASE,
    }
    control = stack.settings.model_copy(update={**shared, "plane": "control", "home": folder / "control"})
    serving = stack.settings.model_copy(update={**shared, "plane": "serving", "machine": "serving_a"})
    stop = threading.Event()
    agent = threading.Thread(target=machines.agent(serving, print).run, args=(stop,))
    agent.start()
    try:
        until(lambda: bool(machines.machines(control).live()), 30, "a report of the machine")
        yield control
    finally:
        stop.set()
        agent.join()
