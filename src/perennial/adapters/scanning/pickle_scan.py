"""Find the imports of pickles in a file or in its ZIP members, without unpickling (picklescan)."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from picklescan.scanner import SafetyLevel, scan_bytes


def pickled(path: Path) -> str:
    """Return the imports of the pickles in a file or in its ZIP members, in words; empty when it has none.

    The opcodes are read, nothing is executed. Every import that picklescan does not know as harmless counts as
    dangerous (its `strict`): a model file has no reason to import anything.
    """
    with _quiet():
        try:
            result = scan_bytes(io.BytesIO(path.read_bytes()), str(path), path.suffix, strict=True)
        except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            return f"a pickle or an archive that cannot be looked through: {error}"
    words = {SafetyLevel.Innocuous: "harmless"}
    names = sorted(
        f"{name.module}.{name.name} ({words.get(name.safety, 'dangerous')})" for name in result.globals
    )
    return f"a pickle that imports {', '.join(names)}" if names else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence picklescan, which warns of every file that is no pickle: the usual case here."""
    log = logging.getLogger("picklescan")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
