"""What a file would import if somebody unpickled it, or the members of it that are pickles (picklescan)."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from picklescan.scanner import SafetyLevel, scan_bytes


def pickled(path: Path) -> str:
    """The imports of the pickles in a file or in its zip members, in words; empty when it has none.

    The opcodes are read, nothing is executed. What picklescan does not know as harmless counts as dangerous
    (its `strict`): a model file of ours has no reason to import anything.
    """
    with _quiet():
        try:
            found = scan_bytes(io.BytesIO(path.read_bytes()), str(path), path.suffix, strict=True)
        except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            return f"a pickle or an archive that cannot be looked through: {error}"
    names = sorted(f"{one.module}.{one.name} ({_word(one.safety)})" for one in found.globals)
    return f"a pickle that imports {', '.join(names)}" if names else ""


def _word(safety: SafetyLevel) -> str:
    return "harmless" if safety is SafetyLevel.Innocuous else "dangerous"


@contextmanager
def _quiet() -> Iterator[None]:
    """picklescan warns of every file that is no pickle: the usual case here."""
    log = logging.getLogger("picklescan")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
