"""A bad cycle or import is taken out of a history: recorded, repeatable, and never back by the next import."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from doubles.data import MemoryData
from doubles.releases import MemoryStore
from signed_in import sign_in

from perennial.cli import main
from perennial.core.governance.identity import Role
from perennial.errors import DatasetMissing, NotSignedIn, ToolError, UsageError
from perennial.flows.governance.retract import retract
from perennial.flows.training import ingest
from perennial.history.simulator import SimulationScenario, simulate
from perennial.history.store import HistorySource, HistoryStore

FRAME = simulate(SimulationScenario(cycles=6, tests=20))
NOW = datetime(2026, 1, 5, tzinfo=UTC)
SOURCE = HistorySource(source="simulator", why="a test", at=NOW)
REPORT = '<testsuite name="s" timestamp="{}"><testcase classname="c" name="t" time="1"/></testsuite>'


class World:
    """A history of two imports, a data store and a ledger."""

    def __init__(self, folder):
        self.folder = folder
        self.store = HistoryStore(folder / "history")
        self.data = MemoryData()
        self.ledger = MemoryStore().ledger
        self.store.append("ci", FRAME[FRAME["cycle"] <= 4], SOURCE)
        self.store.append("ci", FRAME[FRAME["cycle"] > 4])

    def retract(self, which, reason="the rig was broken"):
        return retract(self.store, "ci", which, reason, "ann", self.data, self.ledger, NOW)

    def entries(self):
        return [row.entry for row in self.ledger.rows()]

    def table(self, revision):
        self.data.checkout(revision, self.folder / revision)
        return pd.read_parquet(self.folder / revision / "history/ci.parquet")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_cycle_is_out_and_both_revisions_are_recorded(world):
    made, new = world.retract(3)
    wanted = FRAME[FRAME["cycle"] != 3].reset_index(drop=True)
    assert (new, made.executions) == (True, len(FRAME) - len(wanted))
    pd.testing.assert_frame_equal(world.store.load("ci"), wanted)
    (entry,) = world.entries()
    assert (entry.kind, entry.actor, entry.payload["reason"]) == (
        "data.retracted",
        "ann",
        "the rig was broken",
    )
    pd.testing.assert_frame_equal(world.table(entry.payload["before"]), FRAME)
    pd.testing.assert_frame_equal(world.table(entry.payload["after"]), wanted)


def test_an_import_is_out_by_its_id(world):
    later = world.store.imports("ci")[-1]
    assert (later.first_cycle, later.last_cycle, later.retracted) == (5, 6, 0)
    world.retract(later.id)
    assert world.store.last_cycle("ci") == 4
    assert world.store.imports("ci")[-1].retracted == later.executions


def test_a_repetition_changes_nothing(world):
    first, _ = world.retract(3)
    world.retract(4)
    assert world.retract(3, "another reason") == (first, False)
    assert len(world.entries()) == 2
    world.retract(world.store.imports("ci")[0].id)
    assert world.retract(3)[1] is False
    assert len(world.entries()) == 3


@pytest.mark.parametrize("killed", ["data", "ledger", "history"])
def test_killed_anywhere_and_run_again_it_is_done_once(world, monkeypatch, killed):
    class Killed(BaseException):
        pass

    def die(*arguments, **named):
        raise Killed

    where = {"data": (world.data, "commit"), "ledger": (world.ledger, "append")}
    with monkeypatch.context() as patch:
        if killed == "history":
            patch.setattr("perennial.history.store.write_retraction", die)
        else:
            patch.setattr(*where[killed], die)
        with pytest.raises(Killed):
            world.retract(3)
    pd.testing.assert_frame_equal(world.store.load("ci"), FRAME)
    assert world.retract(3)[1]
    assert len(world.entries()) == 1
    assert 3 not in set(world.store.load("ci")["cycle"])


def test_wrong_ids_an_empty_reason_and_a_data_store_that_is_down_change_nothing(world, monkeypatch):
    for which, named in ((99, "no cycle 99"), ("0" * 20, "no import 000"), ("", "no import")):
        with pytest.raises(DatasetMissing, match=named) as caught:
            world.retract(which)
        assert "perennial data log ci" in caught.value.hint
    with pytest.raises(UsageError, match="reason"):
        world.retract(3, "  ")
    with pytest.raises(DatasetMissing):
        retract(world.store, "other", 3, "why", "ann", world.data, world.ledger, NOW)
    assert not (world.folder / "history/other").exists()

    def down(*arguments):
        raise ToolError("the remote is down")

    monkeypatch.setattr(world.data, "commit", down)
    with pytest.raises(ToolError):
        world.retract(3)
    assert world.entries() == []
    pd.testing.assert_frame_equal(world.store.load("ci"), FRAME)


def test_what_was_taken_out_stays_out_and_the_import_says_so(world):
    world.retract(3)
    done = ingest.simulation(world.store, "ci", SimulationScenario(cycles=6, tests=20), NOW)
    assert (done.added, done.retracted) == (0, int((FRAME["cycle"] == 3).sum()))
    assert 3 not in set(world.store.load("ci")["cycle"])


def junit(world, *paths, now=NOW):
    return ingest.junit(world.store, "own", list(paths), "ci", "folder", "error", now)


def test_after_a_bad_report_honest_imports_go_on_under_new_numbers(world, tmp_path):
    """A report of the far future was imported by a machine that believed in it."""
    for build, at in (
        ("1", "2025-06-01T08:00:00"),
        ("2", "2099-01-01T08:00:00"),
        ("3", "2025-06-02T08:00:00"),
    ):
        (tmp_path / build).mkdir()
        (tmp_path / build / "r.xml").write_text(REPORT.format(at))
    junit(world, tmp_path / "1")
    junit(world, tmp_path / "2", now=datetime(2099, 1, 2, tzinfo=UTC))
    with pytest.raises(Exception, match="older than the newest cycle"):
        junit(world, tmp_path / "3")
    bad = world.store.imports("own")[-1]
    retract(world.store, "own", bad.id, "clock", "ann", world.data, world.ledger, NOW)
    assert world.store.load("own")["cycle"].tolist() == [1]
    done, read = junit(world, tmp_path / "3")
    assert (done.added, done.last_cycle) == (1, 3), "the number 2 is not used again"
    done, read = junit(world, tmp_path / "1", tmp_path / "2", now=datetime(2099, 1, 2, tzinfo=UTC))
    assert (done.added, read.known, [path.parent.name for path in read.retracted]) == (0, 1, ["2"])


def test_a_history_of_which_all_is_out_is_empty(world, tmp_path):
    for record in world.store.imports("ci"):
        world.retract(record.id)
    assert world.store.names() == []
    assert world.store.last_cycle("ci") is None
    with pytest.raises(DatasetMissing):
        world.store.load("ci")
    with pytest.raises(DatasetMissing, match="taken out"):
        ingest.simulation(world.store, "ci", SimulationScenario(cycles=6, tests=20), NOW)
    later = FRAME.assign(
        execution_id="new:" + FRAME["execution_id"], started_at=FRAME["started_at"] + timedelta(1)
    )
    assert world.store.append("ci", later, SOURCE) == len(later)


def test_the_commands_over_dvc_and_sql(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_ACTOR", "ann")
    assert main(["data", "simulate", "--cycles", "3"]) == 0
    capsys.readouterr()
    assert main(["data", "log", "ci", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["imports"]
    assert main(["data", "retract", "ci", "--reason", "x"]) == 2
    assert main(["data", "retract", "ci", "--cycle", "2", "--reason", "x"]) == NotSignedIn.exit_code
    sign_in(monkeypatch, "ann", Role.OPERATOR)
    capsys.readouterr()
    assert main(["data", "retract", "ci", "--import", "nosuch", "--reason", "x"]) == DatasetMissing.exit_code
    assert "no import nosuch" in capsys.readouterr().err
    assert main(["data", "retract", "ci", "--cycle", "2", "--reason", "\x1b[2Jbad rig"]) == 0
    assert "executions taken out (\\x1b[2Jbad rig)" in capsys.readouterr().out
    assert main(["data", "retract", "ci", "--cycle", "2", "--reason", "again"]) == 0
    assert "out already" in capsys.readouterr().out
    assert main(["data", "log", "ci"]) == 0
    said = capsys.readouterr().out
    assert found["id"] in said
    assert "by ann: cycle 2" in said
    assert main(["ledger", "show"]) == 0
    assert "data.retracted by ann: " in capsys.readouterr().out
