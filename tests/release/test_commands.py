"""The command line over a real SQLite store."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from signed_in import sign_in
from some_release import a_release

from perennial import settings as environment
from perennial.cli import main
from perennial.commands.plant import deploy
from perennial.core.events import Entry, Event
from perennial.core.release.phase import Phase
from perennial.core.release.rollback import Rollback
from perennial.core.release.traffic import Target
from perennial.core.training.registration import NO_CHAMPION
from perennial.errors import ModelFileError
from perennial.flows.release import reconcile as flow
from perennial.settings import Settings
from perennial.wiring import database, releasing
from perennial.wiring.traffic import journal

MODEL = "test_failure_predictor"


@pytest.fixture
def stored(world, tmp_path, monkeypatch):
    """The world with its releases in the database that the command line reads."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    sign_in(monkeypatch, "carol")
    world.store = store = database.store(environment.load())
    world.ports = dataclasses.replace(
        world.ports,
        releases=store.releases,
        intents=store.intents,
        ledger=store.ledger,
        feedback=store.feedback,
    )
    world.versions.add("1.0.0")
    return world


def test_person_approves_and_pauses_by_command(stored, capsys):
    status = stored.start()
    assert (
        main(["release", "approve", MODEL, "--note", "looks good", "--digest", status.candidate.digest[:10]])
        == 0
    )
    status = stored.passes(status.release_id)
    assert status.phase is Phase.LOADING
    assert [(one.actor, one.note) for one in status.approvals] == [("carol", "looks good")]
    assert main(["release", "pause", MODEL]) == 0
    assert stored.passes(status.release_id).pauses
    assert main(["release", "status", MODEL]) == 0
    assert "PROMOTING" in capsys.readouterr().out


def test_who_starts_a_release_is_told_what_walks_it(stored, monkeypatch, capsys):
    monkeypatch.setattr(releasing, "release_ports", lambda settings: stored.ports)
    stored.versions.evaluated("candidate", NO_CHAMPION)
    assert main(["release", "start", MODEL]) == 0
    *_, told, release_id = capsys.readouterr().out.splitlines()
    assert told.startswith(f"next: perennial release reconcile {MODEL} --until-final")
    assert stored.passes(release_id).phase is Phase.AWAITING_APPROVAL


def test_who_steers_a_release_that_nobody_walks_is_told_so(stored, capsys):
    """Its last pass was on the world's clock, long before that of the command line."""
    status = stored.start()
    stored.passes(status.release_id, 1, 20)
    walk_it = f"nobody walks this release: perennial release reconcile {MODEL} --until-final"
    assert main(["release", "abort", MODEL]) == 0
    said = capsys.readouterr()
    assert "recorded for the next pass" in said.out
    assert walk_it in said.err
    assert main(["release", "status", MODEL]) == 0
    assert "perennial release reconcile" in capsys.readouterr().out
    assert main(["release", "status", MODEL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["last_pass"], told["unattended"]) == (stored.now.isoformat(), True)
    database.store(environment.load()).releases.note_pass(status.release_id, datetime.now(UTC))
    assert main(["release", "pause", MODEL]) == 0
    assert "nobody walks" not in capsys.readouterr().err
    assert not _status(capsys)["unattended"]


def test_a_release_that_the_failover_watch_took_over_stays_unattended(stored, capsys):
    """The watch's own passes must not say that all is well again."""
    status = stored.start()
    store, now = database.store(environment.load()), datetime.now(UTC)
    store.releases.note_pass(status.release_id, now)
    assert not _status(capsys)["unattended"]
    entry = Entry(
        at=now, actor="guard", kind=Event.RELEASE_UNATTENDED, model=MODEL, release_id=status.release_id
    )
    store.ledger.append(entry)
    assert _status(capsys)["unattended"]
    assert main(["release", "status", MODEL]) == 0
    assert "taken over by the failover watch" in capsys.readouterr().out
    assert main(["release", "abort", MODEL]) == 0
    assert "taken over by the failover watch" in capsys.readouterr().err


def _status(capsys) -> dict:
    capsys.readouterr()
    assert main(["release", "status", MODEL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_status_for_machines(stored, capsys):
    status = stored.start()
    capsys.readouterr()
    assert main(["release", "status", MODEL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["release"] == status.release_id
    assert (told["phase"], told["risk"], told["weight"]) == ("AWAITING_APPROVAL", "high", None)
    assert {one["rule"] for one in told["gate"]} >= {"roc_auc", "latency", "parity"}


def test_refusals_have_their_own_exit_codes(stored, capsys):
    assert main(["release", "status", MODEL]) == 63
    assert main(["release", "status", "nobody"]) == 31
    stored.start()
    assert main(["release", "approve", MODEL, "--digest", "ffffffffff"]) == 62
    assert main(["release", "approve", MODEL, "--digest", "0"]) == 62
    assert main(["release", "rollback", MODEL]) == 63
    told = capsys.readouterr().err
    assert "->" in told


def test_who_asked_and_who_approved_already_is_refused_at_once(stored, capsys, monkeypatch):
    stored.approvers(2)
    status = stored.start()
    sign_in(monkeypatch, "ann")
    assert main(["release", "approve", MODEL]) == 66
    assert "SelfApproval: ann asked for this release" in capsys.readouterr().err
    assert stored.store.intents.pending(status.release_id) == []
    sign_in(monkeypatch, "carol")
    assert main(["release", "approve", MODEL]) == 0
    assert stored.passes(status.release_id).phase is Phase.AWAITING_APPROVAL
    assert main(["release", "approve", MODEL]) == 62
    capsys.readouterr()
    assert main(["release", "status", MODEL]) == 0
    assert "1 of 2: carol; still needs 1 more, not ann (who asked)" in capsys.readouterr().out
    assert main(["release", "status", MODEL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["approvers_needed"], told["asked_by"]) == (2, ["ann"])
    assert [one["actor"] for one in told["approvals"]] == ["carol"]
    sign_in(monkeypatch, "dave")
    assert main(["release", "approve", MODEL]) == 0
    assert stored.passes(status.release_id).phase is Phase.LOADING


def test_two_accounts_with_tokens_of_one_issuer_are_one_approver(stored, capsys, monkeypatch):
    """A shell user who issues tokens to two accounts of a release that needs two people."""
    stored.approvers(2)
    status = stored.start()
    for account in ("carol", "dave"):
        sign_in(monkeypatch, account, issuer="admin")
        result = main(["release", "approve", MODEL])
        stored.passes(status.release_id)
        assert result == (0 if account == "carol" else 62)
    assert "count as one person's" in capsys.readouterr().err
    status = stored.passes(status.release_id)
    assert (status.phase, len(status.approvals)) == (Phase.AWAITING_APPROVAL, 1)
    (entry,) = [row.entry for row in stored.store.ledger.rows(kinds=("release.approved",))]
    assert (entry.actor, entry.payload["issued_by"]) == ("carol", "admin")


def test_who_asked_for_the_release_approves_with_no_token_that_they_issued(stored, monkeypatch):
    status = stored.start()
    sign_in(monkeypatch, "carol", issuer="ann")
    assert main(["release", "approve", MODEL]) == 66
    assert stored.store.intents.pending(status.release_id) == []


def test_ended_release_takes_no_word(stored):
    status = stored.start()
    assert main(["release", "reject", MODEL, "--note", "no"]) == 0
    assert stored.passes(status.release_id).phase is Phase.REJECTED
    assert main(["release", "pause", MODEL]) == 60
    assert main(["release", "history", MODEL]) == 0


def test_ledger_commands(stored, capsys, tmp_path):
    stored.start()
    capsys.readouterr()
    assert main(["ledger", "verify"]) == 0
    head = capsys.readouterr().out.split()[-1]
    assert main(["ledger", "verify", "--head", head]) == 0
    assert main(["ledger", "verify", "--head", "0" * 64]) == 70
    capsys.readouterr()
    assert main(["ledger", "show", MODEL, "--json", "--last", "1"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["entry"]["kind"] == "release.awaiting_approval"
    assert main(["ledger", "show"]) == 0
    assert main(["ledger", "export", str(tmp_path / "out.jsonl")]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4, "with the token"


def test_ports_of_a_release_are_made_without_importing_the_registry(tmp_path):
    """An emergency rollback moves traffic before it pays seconds for a library that it may not need."""
    code = (
        "import sys; from perennial.wiring import releasing; "
        "releasing.release_ports(); assert 'mlflow' not in sys.modules"
    )
    environ = {**os.environ, "PERENNIAL_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


def test_status_tells_that_the_spec_was_edited(stored, capsys):
    def told() -> dict:
        capsys.readouterr()
        assert main(["release", "status", MODEL, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    stored.use("blue_green")  # the spec that the command line reads is a canary
    stored.start()
    assert (told()["spec_changed"], told()["strategy"], told()["steps"]) == (True, "blue_green", [100])
    assert main(["release", "status", MODEL]) == 0
    assert "edited since the start" in capsys.readouterr().out
    stored.use("canary")
    stored.approvers(2)
    stored.versions.add("1.1.0")
    stored.now += timedelta(minutes=1)
    stored.start()
    assert told()["spec_changed"] is False


def test_a_rollback_killed_before_its_record_is_written_down_by_the_next_even_if_that_fails(stored, capsys):
    first = stored.versions.records["1"].ref
    to = Target(version="1.0.0", digest=first.digest, release_id="r1")
    left = Target(version="1.1.0", digest="d" * 64, release_id="r2")
    journal(environment.load()).put(
        Rollback(
            id="one",
            model=MODEL,
            at=stored.now,
            actor="ann",
            left=left,
            to=to,
            canary_only=False,
            applied=True,
        )
    )
    assert main(["release", "rollback", MODEL]) == 63, "there is no traffic"
    (row,) = stored.store.ledger.rows(MODEL)
    assert (row.entry.kind, row.entry.actor) == ("release.rollback", "ann")


def test_while_a_newer_one_hangs_in_its_gate_the_live_one_is_steered(stored, capsys):
    stored.release_first()
    live = stored.open_second()
    hanging = stored.versions.add("1.2.0").ref
    stored.pool.broken[hanging.digest] = "cannot be loaded"
    with pytest.raises(ModelFileError):
        stored.start()
    newest = stored.store.releases.latest(MODEL)[0]
    assert (newest.candidate, newest.phase) == (hanging, Phase.PENDING)
    capsys.readouterr()
    assert main(["release", "abort", MODEL]) == 0
    told = capsys.readouterr()
    assert f"abort of release {live.release_id} of 1.1.0" in told.out
    assert f"on its way too: 1.2.0 (PENDING, {newest.release_id})" in told.err
    assert stored.passes(live.release_id, 2).phase is Phase.ROLLED_BACK
    assert main(["release", "status", MODEL, "--json", "--release", live.release_id]) == 0
    assert json.loads(capsys.readouterr().out)["phase"] == "ROLLED_BACK"
    assert main(["release", "abort", MODEL, "--release", "nobody"]) == 63
    assert main(["release", "abort", MODEL, "--release", newest.release_id]) == 0
    assert f"abort of release {newest.release_id} of 1.2.0" in capsys.readouterr().out
    assert stored.passes(newest.release_id).phase is Phase.REJECTED


def test_a_pass_that_brought_the_release_further_is_followed_by_the_next_at_once(monkeypatch, tmp_path):
    """From approval to all traffic there are several phases, and none has to wait for the next look."""
    now = datetime(2026, 1, 5, 8, tzinfo=UTC)
    waiting = a_release(now, Phase.AWAITING_APPROVAL)
    phases = (Phase.LOADING, Phase.LOADING, Phase.PROMOTING, Phase.SUCCEEDED)
    passes = iter([waiting.model_copy(update={"phase": phase}) for phase in phases])
    seen: list[object] = []
    monkeypatch.setattr(flow, "reconcile", lambda *given: seen.append(step := next(passes)) or step)
    monkeypatch.setattr(deploy.time, "sleep", seen.append)
    assert deploy.walk(waiting, Settings(home=tmp_path), every=2.0).phase is Phase.SUCCEEDED
    assert [getattr(each, "phase", each) for each in seen] == [phases[0], phases[1], 2.0, *phases[2:]]
