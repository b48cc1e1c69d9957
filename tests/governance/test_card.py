"""The model card: every section, from the record alone, and nothing of the record as markup."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from doubles.releases import MemoryStore
from doubles.tracking import MemoryTracker
from training_world import SPEC, TrainingWorld

from perennial.adapters.documents.figures import TrainingFigures
from perennial.adapters.documents.markdown_page import page
from perennial.core.events import Entry
from perennial.core.governance.document import escape
from perennial.errors import TrackerUnavailable, UnknownVersion
from perennial.flows.governance.documents import DocumentPorts, keep, write_card
from perennial.flows.versions import find_version

NOW = datetime(2026, 1, 5, tzinfo=UTC)
MITCHELL = (
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained_world(tmp_path_factory):
    trained_world = TrainingWorld(tmp_path_factory.mktemp("training"))
    trained_world.figures = TrainingFigures()
    ref = trained_world.release()
    ledger = trained_world.ledger = MemoryStore().ledger
    rule = {"rule": "roc_auc", "verdict": "UNSURE", "observed": "0.7 <b>|x", "needed": ">= 0.6"}
    facts = [
        ("opened", "ann", {}),
        ("gated", "gate", {"verdict": "UNSURE", "rules": [rule]}),
        ("approved", "carol", {"channel": "cli", "note": "fine"}),
        ("succeeded", "machine", {"why": "is champion"}),
    ]
    for kind, actor, payload in facts:
        ledger.append(
            Entry(
                at=NOW, actor=actor, kind=f"release.{kind}", model=SPEC.name, release_id="r1",
                digest=ref.digest, payload={"version": ref.version, **payload},
            )
        )  # fmt: skip
    return trained_world


@pytest.fixture
def ports(trained_world):
    return DocumentPorts(trained_world.registry, trained_world.ledger, trained_world.tracker, page)


def card(ports, folder, which="1.0.0"):
    record = find_version(SPEC.name, which, ports.registry)
    files = write_card(SPEC, record, ports, folder, NOW)
    keep(record, files, ports.tracker)
    return {file.name: file for file in files}


def test_sections_of_mitchell_from_the_record(trained_world, ports, tmp_path):
    files = card(ports, tmp_path)
    markdown, html = files["card.md"].read_text(), files["card.html"].read_text()
    places = [markdown.index(f"## {title}") for title in MITCHELL]
    assert places == sorted(places)
    record = trained_world.registry.find(SPEC.name, "1.0.0")
    measured = json.loads(trained_world.work.evaluation.read_text())["scores"]["model"]["roc_auc"]["value"]
    for told in (record.ref.digest, record.ref.capsule, f"{measured:.4f}", "Approved by carol"):
        assert told in markdown
    assert "simulated data" in markdown
    assert "Not passed at the gate: roc\\_auc" in markdown
    assert html.count("<h2>") == len(MITCHELL) + 2
    assert "<table>" in html
    kept = {name for name in trained_world.tracker.runs[record.run_id].artifacts if name.startswith("card/")}
    assert kept == {f"card/{name}" for name in files}


def test_pictures_stand_beside_the_markdown_and_inside_the_page(ports, tmp_path):
    files = card(ports, tmp_path)
    pictures = {"roc.png", "precision_recall.png", "calibration.png", "attributions.png"}
    assert set(files) == {"card.md", "card.html"} | pictures
    html = files["card.html"].read_text()
    for name in pictures:
        assert f"]({name})" in files["card.md"].read_text()
        assert base64.b64encode(files[name].read_bytes()).decode() in html
    assert 'src="roc.png"' not in html


def test_slices_and_attributions_come_from_the_evaluation(trained_world, ports, tmp_path):
    markdown = card(ports, tmp_path)["card.md"].read_text()
    evaluation = json.loads(trained_world.work.evaluation.read_text())
    assert evaluation["slices"]
    for one in evaluation["slices"]:
        assert f"| {escape(one['value'])} | {one['rows']} | this version |" in markdown
    moved = json.loads((trained_world.work.plots / "attributions.json").read_text())
    assert moved["gap"] < SPEC.explanation.tolerance
    for name, mean in moved["mean_absolute"]:
        assert f"| {escape(name)} | {mean:.4f} |" in markdown


def test_a_run_without_an_evaluation_says_so(trained_world, ports, tmp_path):
    class Bare(MemoryTracker):
        def files(self, run_id, folder, into):
            return []

    bare = replace(ports, tracker=Bare())
    record = find_version(SPEC.name, "1.0.0", ports.registry)
    files = write_card(SPEC, record, bare, tmp_path, NOW)
    assert [file.name for file in files] == ["card.md", "card.html"]
    assert "## Explanation\n\nNot stated on record." in files[0].read_text()


def test_what_is_on_record_stays_text(ports, tmp_path):
    html = card(ports, tmp_path)["card.html"].read_text()
    assert "<b>" not in html
    assert "0.7 &lt;b&gt;|x" in html
    assert escape("a|b\n# c <i>*d*") == "a\\|b \\# c \\<i\\>\\*d\\*"


def test_unknown_version_and_a_tracker_that_is_away(trained_world, ports, tmp_path):
    with pytest.raises(UnknownVersion):
        card(ports, tmp_path, "9.9.9")
    trained_world.tracker.available = False
    try:
        with pytest.raises(TrackerUnavailable):
            card(ports, tmp_path)
    finally:
        trained_world.tracker.available = True
