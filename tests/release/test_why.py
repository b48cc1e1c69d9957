"""`why` and `timeline` tell what the machine did, from the ledger alone, and fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from perennial import settings as environment
from perennial.adapters.sql import schema as tables
from perennial.cli import main
from perennial.core.events import Entry
from perennial.core.frozen import canonical
from perennial.core.governance.ledger import GENESIS, StoredRow, text_hash
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.errors import LedgerBroken, UnknownModel, UnknownVersion
from perennial.flows.governance.why import version_timelines, why
from perennial.wiring import database

MODEL = "test_failure_predictor"


def asked(world, at=None, refused=5):
    return why(MODEL, world.store.ledger, at or world.now, refused)


def promote(world, status):
    """Through every step by traffic that is good."""
    while not status.phase.is_final():
        world.serve(400, 4000)
        status = world.passes(status.release_id, 1, 3600 * 12)
    assert status.phase is Phase.SUCCEEDED
    return status


def test_before_anything_served(world):
    assert asked(world).served is None
    world.versions.add("1.0.0")
    world.start()
    told = asked(world)
    assert (told.served, [one.last for one in told.open_releases]) == (None, ["awaiting_approval"])


def test_who_allowed_what_on_which_evidence(world):
    first = world.release_first()
    early = world.now
    world.sleep(60)
    second = promote(world, world.open_second())
    told = asked(world)
    assert (told.served.version, told.served.digest) == ("1.1.0", second.candidate.digest)
    assert told.served.since == second.entered_at
    assert (told.before, told.served.by, told.risk) == ("1.0.0", "promotion", "low")
    assert [(one.actor, one.digest) for one in told.approvals] == [("policy", second.candidate.digest)]
    rules = {(one.where, one.rule) for one in told.checks}
    assert {("gate", "roc_auc"), ("approval", "approval"), ("canary 50 %", "error_rate")} <= rules
    then = asked(world, early)
    assert (then.served.version, then.approvals[0].actor) == ("1.0.0", "bob")
    assert then.served.digest == first.candidate.digest
    assert asked(world, first.started_at).served is None


def test_what_was_refused_and_why(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.REJECT)
    world.passes(status.release_id, 3)
    bad = world.open_second("1.2.0")
    world.serve(400, 4000, errors=200)
    assert world.passes(bad.release_id, 4).phase is Phase.ROLLED_BACK
    told = asked(world)
    assert told.served.version == "1.0.0"
    assert [one.version for one in told.refused] == ["1.2.0", "1.1.0"]
    assert "error_rate" in told.refused[0].why
    assert "bob" in told.refused[1].why
    assert [one.version for one in asked(world, refused=1).refused] == ["1.2.0"]


def test_rollback_serves_the_earlier_one_again(world):
    first = world.release_first()
    promote(world, world.open_second())
    world.sleep(60)
    world.back()
    assert world.settle() == []
    told = asked(world)
    assert (told.served.version, told.served.digest) == ("1.0.0", first.candidate.digest)
    assert told.served.by == "rollback from 1.1.0 by ann: it burns"
    assert told.approvals[0].actor == "bob", "it serves by the approval that it was given then"
    assert (told.refused[0].version, told.refused[0].why) == ("1.1.0", "it burns")
    known = {way.version: way for way in version_timelines(MODEL, world.store.ledger)}
    assert known["1.1.0"].events[-1].what == "lost the traffic to 1.0.0 by rollback"
    assert known["1.0.0"].events[-1].what == "got the traffic back from 1.1.0 by rollback"
    whats = [event.what for event in known["1.1.0"].events]
    assert whats[:3] == ["opened", "gated PASS", "approved policy"]
    assert [one for one in whats if "canary" in one] == ["canary 5 %", "canary 20 %", "canary 50 %"]


def test_a_share_taken_back_by_rollback_moves_no_champion(world):
    first = world.release_first()
    second = world.open_second()
    world.sleep(60)
    assert world.back()[0].version == "1.0.0"
    assert world.settle() == []
    told = asked(world)
    assert (told.served.version, told.served.by) == ("1.0.0", "promotion")
    assert told.served.since == first.entered_at
    (refusal,) = told.refused
    assert (refusal.version, refusal.how) == ("1.1.0", "its share was taken back by rollback")
    assert (refusal.digest, refusal.actor, refusal.why) == (second.candidate.digest, "ann", "it burns")
    known = {
        way.version: [event.what for event in way.events]
        for way in version_timelines(MODEL, world.store.ledger)
    }
    assert known["1.1.0"][-1] == "lost its share by rollback, 1.0.0 stayed champion"
    assert not any("rollback" in what for what in known["1.0.0"])
    world.passes(second.release_id, 2)
    assert asked(world).open_releases == ()


def test_an_entry_from_before_shares_were_told_apart_is_still_read(world):
    world.release_first()
    old = Entry(
        at=world.now, actor="ann", kind="release.rollback", model=MODEL, digest="d" * 64,
        payload={"id": "one", "from": "1.1.0", "to": "1.0.0", "note": "it burns", "checks": []},
    )  # fmt: skip
    world.store.ledger.append(old)
    told = asked(world)
    assert (told.served.version, told.refused[0].version) == ("1.0.0", "1.1.0")
    assert [way.version for way in version_timelines(MODEL, world.store.ledger)] == ["1.0.0", "1.1.0"]


def test_answer_never_rests_on_an_edited_entry(world):
    world.release_first()
    rows = world.store.ledger._rows
    place = next(n for n, row in enumerate(rows) if row.entry.kind == "release.approved")
    forged = rows[place].entry.model_copy(update={"actor": "somebody else"})
    rows[place] = rows[place].model_copy(update={"entry": forged})
    with pytest.raises(LedgerBroken, match=f"entry {place + 1}"):
        asked(world)


@pytest.fixture
def many(world, tmp_path, monkeypatch):
    """10,000 versions in a SQLite ledger: the entries of two real releases, repeated with other names."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    world.release_first()
    promote(world, world.open_second())
    template = [
        row.entry.model_dump(mode="json")
        for row in world.store.ledger.rows()
        if row.entry.payload["version"] == "1.1.0"
    ]
    ledger = database.store(environment.load()).ledger
    rows, previous = [], GENESIS
    for number in range(10_000):
        for one in template:
            at = datetime.fromisoformat(one["at"]) + timedelta(hours=number)
            payload = {**one["payload"], "version": f"1.{number}.0"}
            entry = {
                **one,
                "at": at.isoformat().replace("+00:00", "Z"),
                "release_id": f"release-{number}",
                "payload": payload,
            }
            text, seq = canonical(entry), len(rows) + 1
            rows.append(StoredRow(seq, MODEL, text, previous, text_hash(text, seq, previous)))
            previous = rows[-1].hash
    with ledger._database.writing() as connection:
        columns = ("seq", "model", "entry", "previous", "hash")
        connection.execute(tables.ledger.insert(), [dict(zip(columns, row, strict=True)) for row in rows])
        connection.execute(tables.ledger_head.update().values(seq=len(rows), hash=previous))
    return world.now + timedelta(hours=5000), len(rows)


@pytest.mark.slow
def test_why_takes_under_two_seconds_with_ten_thousand_versions(many, capsys):
    """The whole command in a process of its own, in seconds of the processor: other work does not count."""
    middle, entries = many
    for more in ([], ["--at", middle.isoformat()], ["--at", "2000-01-01"]):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-m", "perennial", "why", MODEL, "--json", *more],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        after = os.times()
        seconds = after.children_user - before.children_user + after.children_system - before.children_system
        told = json.loads(done.stdout)
        with capsys.disabled():
            print(f"\nwhy {' '.join(more)}: {seconds:.2f} s of CPU, {entries} entries of 10,000 versions")
        assert seconds < 2
        if told["served"] is not None:
            assert told["approvals"][0]["digest"] == told["served"]["digest"]
    assert told["served"] is None


def test_commands(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    world.release_first()
    promote(world, world.open_second())
    ledger = database.store(environment.load()).ledger
    for row in world.store.ledger.rows():
        ledger.append(row.entry)
    assert main(["why", MODEL]) == 0
    told = capsys.readouterr().out
    assert "1.1.0" in told
    assert "would have blocked" in told
    assert main(["timeline", MODEL]) == 0
    assert "canary 20 % by machine" in capsys.readouterr().out
    assert main(["timeline", MODEL, "--version", "1.0.0", "--json"]) == 0
    assert [way["version"] for way in json.loads(capsys.readouterr().out)] == ["1.0.0"]
    assert main(["why", MODEL, "--at", "2020-01-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["served"] is None
    assert main(["why", MODEL, "--at", "yesterday"]) == 2
    assert main(["why", "nobody"]) == UnknownModel.exit_code
    assert main(["timeline", MODEL, "--version", "9.9.9"]) == UnknownVersion.exit_code
