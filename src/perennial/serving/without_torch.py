"""Import Feast without torch.

Feast loads torch for a tensor format that nobody here asks for, a third of its import time; where torch is not
installed it does without. A model server and a data check need no torch, so they tell Feast that there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_torch() -> Iterator[None]:
    """Imports inside find no torch, unless it is loaded already; later imports find it again."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own mark: the import fails
    try:
        yield
    finally:
        del sys.modules["torch"]
