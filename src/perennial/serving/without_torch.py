"""Import of Feast without torch.

Feast imports torch for a tensor format that this platform does not use, which takes a third of the import time.
Feast also works where torch is not installed, so a model server and a data check hide torch from it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_torch() -> Iterator[None]:
    """Hide torch from imports inside the block, unless it is loaded already."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented by Python: makes the import fail
    try:
        yield
    finally:
        del sys.modules["torch"]
