"""Import of a library without optional packages that it would load, and that its user here does not need.

A step of a training is a process of its own, so each second of an import is paid at every step. Libraries import
optional packages of seconds "if they are there"; hidden, they count as not installed, which the libraries support.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

BY_SKOPS = ("torch", "dask", "pytest")
"""What `import skops.io` would load while it lists the types of scikit-learn: arrays of other libraries."""


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let imports of packages fail inside the block as if they were not installed, unless they are loaded already."""
    absent = [package for package in packages if package not in sys.modules]
    for package in absent:
        sys.modules[package] = None  # type: ignore[assignment]  # documented by Python: makes the import fail
    try:
        yield
    finally:
        for package in absent:
            sys.modules.pop(package, None)
