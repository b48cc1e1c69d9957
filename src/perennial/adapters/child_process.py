"""The end of a child process with its parent, so that none is left behind when the parent is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable


def end_when(ended: Callable[[], object]) -> None:
    """End this process once a function returns that waits for the end of another."""

    def wait() -> None:
        ended()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def end_with_parent() -> None:
    """End this process, which `multiprocessing` has started, with its parent: nobody would read its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_when(parent.join)
