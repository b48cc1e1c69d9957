"""Make the model card of a version as Markdown and HTML, and keep it with the version's run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from perennial.core.card import make_card
from perennial.core.history import ways
from perennial.core.spec import ModelSpec
from perennial.errors import TrackerUnavailable, UnknownVersion
from perennial.ports import Ledger, Registry, Tracker

ARTIFACTS = "card"
"""Folder of the run that the card is kept in."""


def write_card(
    spec: ModelSpec,
    which: str,
    registry: Registry,
    ledger: Ledger,
    tracker: Tracker,
    to_html: Callable[[str, str], str],
    folder: Path,
    now: datetime,
) -> tuple[list[Path], str]:
    """Write card.md and card.html into `folder` and log both to the run.

    Args:
        which: semantic version or alias.
        to_html: title, Markdown -> a whole page.

    Returns:
        The files, and why they were not kept with the run (empty when they were).

    Raises:
        UnknownVersion: the registry has none of that name.
        TrackerUnavailable: MLflow does not answer; most of a card is there only.
    """
    record = registry.find(spec.name, which)
    if record is None:
        raise UnknownVersion(f"{spec.name} has no version {which}", hint=f"perennial models show {spec.name}")
    rows = ledger.rows(spec.name)
    mine = [row for row in rows if row.entry.digest == record.ref.digest]
    way = next((one for one in ways(rows) if one.version == record.ref.version), None)
    card = make_card(spec, record, way, mine, now)
    folder.mkdir(parents=True, exist_ok=True)
    text = card.markdown()
    files = [folder / "card.md", folder / "card.html"]
    files[0].write_text(text, encoding="utf-8")
    files[1].write_text(to_html(card.title, text), encoding="utf-8")
    try:
        run = tracker.reopen(record.run_id)
        for file in files:
            run.artifact(file, ARTIFACTS)
    except TrackerUnavailable as error:
        return files, error.message
    return files, ""
