"""Files of a performance report: a page that holds its picture, and the figures as JSON."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from perennial.adapters.documents.markdown_page import page
from perennial.adapters.documents.performance_figures import draw_performance
from perennial.core.governance.document import Picture
from perennial.core.performance.report import PerformanceReport, make_document
from perennial.files import replacing


def write_report(report: PerformanceReport, folder: Path) -> tuple[Path, Path]:
    """Write `<time>.html`, which holds its picture, and `<time>.json` into a folder; return both."""
    picture = Picture(file="performance.png", shows="usage, right answers, latency and scores over time")
    document = make_document(report, (picture,) if report.periods else ())
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{report.made:%Y%m%dT%H%M%S}"
    written, figures = folder / f"{name}.html", folder / f"{name}.json"
    with TemporaryDirectory() as aside:
        drawn = Path(aside) / picture.file
        if document.pictures:
            draw_performance(report, drawn)
        content = page(document.title, document.markdown(), {picture.file: drawn}, picture_width="100%")
    with replacing(figures) as temporary:
        temporary.write_text(report.model_dump_json(indent=2), encoding="utf-8")
    with replacing(written) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return written, figures
