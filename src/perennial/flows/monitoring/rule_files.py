"""Write the generated files of alerting, or tell which are not those of the specs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perennial import files
from perennial.errors import GeneratedFilesDiffer


def write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the files that differ, each atomically, and return their paths. Repeating it writes nothing."""
    changed = _differing(texts, folder)
    for path in changed:
        files.write_text(folder / path, texts[str(path)])
    return [folder / path for path in changed]


def check(texts: Mapping[str, str], folder: Path) -> None:
    """Check that the files are there as they would be written.

    Raises:
        GeneratedFilesDiffer: names each that is missing or other.
    """
    if changed := _differing(texts, folder):
        raise GeneratedFilesDiffer(
            f"{folder}: not those of the specs: {', '.join(map(str, changed))}",
            hint="perennial monitor rules",
        )


def _differing(texts: Mapping[str, str], folder: Path) -> list[Path]:
    return [
        Path(name)
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    ]
