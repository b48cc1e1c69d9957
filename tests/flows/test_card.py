"""The model card: every section, from the record alone, and nothing of the record as markup."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from training_house import SPEC, House

from perennial.adapters.markdown_page import page
from perennial.adapters.memory.releases import MemoryStore
from perennial.core.card import escape
from perennial.core.ledger import Entry
from perennial.errors import TrackerUnavailable, UnknownVersion
from perennial.flows.card import write_card

NOW = datetime(2026, 1, 5, tzinfo=UTC)
MITCHELL = (
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
)  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("house"))
    ref = house.release()
    ledger = house.ledger = MemoryStore().ledger
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
    return house


def card(house, folder, which="1.0.0"):
    files, unkept = write_card(
        SPEC, which, house.registry, house.ledger, house.tracker, page, folder, NOW
    )  # fmt: skip
    return [file.read_text() for file in files], unkept


def test_sections_of_mitchell_from_the_record(house, tmp_path):
    (markdown, html), unkept = card(house, tmp_path)
    assert unkept == ""
    places = [markdown.index(f"## {title}") for title in MITCHELL]
    assert places == sorted(places)
    record = house.registry.find(SPEC.name, "1.0.0")
    measured = json.loads(house.work.evaluation.read_text())["scores"]["model"]["roc_auc"]["value"]
    for told in (record.ref.digest, record.ref.capsule, f"{measured:.4f}", "Approved by carol"):
        assert told in markdown
    assert "simulated data" in markdown
    assert "Not passed at the gate: roc\\_auc" in markdown
    assert html.count("<h2>") == len(MITCHELL) + 1
    assert "<table>" in html
    assert sorted(name for name in house.tracker.runs[record.run_id].artifacts if "card" in name) == [
        "card/card.html",
        "card/card.md",
    ]


def test_what_is_on_record_stays_text(house, tmp_path):
    (_, html), _ = card(house, tmp_path)
    assert "<b>" not in html
    assert "0.7 &lt;b&gt;|x" in html
    assert escape("a|b\n# c <i>*d*") == "a\\|b \\# c \\<i\\>\\*d\\*"


def test_unknown_version_and_a_tracker_that_is_away(house, tmp_path):
    with pytest.raises(UnknownVersion):
        card(house, tmp_path, "9.9.9")
    house.tracker.available = False
    try:
        with pytest.raises(TrackerUnavailable):
            card(house, tmp_path)
    finally:
        house.tracker.available = True
