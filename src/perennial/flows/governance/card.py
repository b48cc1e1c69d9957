"""Make the model card of a version as Markdown and HTML, with the pictures of its evaluation."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from perennial.core.governance.card import make_card
from perennial.core.governance.timeline import version_timelines
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.flows.governance.documents import DocumentPorts, card_evidence


def write_card(
    spec: ModelSpec, record: VersionRecord, ports: DocumentPorts, folder: Path, now: datetime
) -> list[Path]:
    """Write card.md, card.html (which holds its pictures) and the pictures (for card.md) into `folder`.

    Raises:
        TrackerUnavailable: MLflow does not answer; it has most of the card.
    """
    rows = ports.ledger.rows(spec.name)
    mine = [row for row in rows if row.entry.digest == record.ref.digest]
    timelines = version_timelines(rows)
    timeline = next((line for line in timelines if line.version == record.ref.version), None)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        card = make_card(spec, record, card_evidence(record, ports.tracker, Path(aside)), timeline, mine, now)
        pictures = {picture.file: folder / picture.file for picture in card.pictures}
        for name, path in pictures.items():
            shutil.copyfile(Path(aside) / name, path)
    markdown, page = folder / "card.md", folder / "card.html"
    markdown.write_text(card.markdown(), encoding="utf-8")
    page.write_text(ports.to_html(card.title, card.markdown(), pictures), encoding="utf-8")
    return [markdown, page, *pictures.values()]
