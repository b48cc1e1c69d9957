"""`perennial router show` names what differs from the ledger, by its exit code too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from doubles.routing import MemoryRouter

from perennial.cli import main
from perennial.core.events import Entry, Event
from perennial.core.release.traffic import Route, Target
from perennial.wiring import database, releasing, traffic

MODEL = "test_failure_predictor"
CHAMPION = Target(version="1.0.0", digest="a" * 64, release_id="r1")


class ShownRouter(MemoryRouter):
    def overview(self) -> list:
        return []


@pytest.fixture
def router(tmp_path, monkeypatch) -> ShownRouter:
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    router = ShownRouter()
    for wiring in (traffic, releasing):
        monkeypatch.setattr(wiring, "router", lambda settings: router)
    router.apply(Route(model=MODEL, stable=CHAMPION))
    return router


def record(settings) -> None:
    database.store(settings).ledger.append(
        Entry(
            at=datetime(2026, 1, 5, tzinfo=UTC), actor="ann", kind=Event.EMERGENCY_ROLLBACK, model=MODEL,
            release_id="r1", digest=CHAMPION.digest, payload={"version": "1.0.0"},
        )
    )  # fmt: skip


def test_a_route_that_the_ledger_calls_for(router, capsys):
    record(traffic.load())
    assert main(["router", "show"]) == 0
    assert "ALARM" not in capsys.readouterr().err


def test_a_route_that_somebody_edited(router, capsys):
    record(traffic.load())
    edited = CHAMPION.model_copy(update={"version": "6.6.6\x1b[2J"})
    router.apply(Route(model=MODEL, stable=CHAMPION, canary=edited, canary_weight=100.0))
    with pytest.raises(SystemExit) as ended:
        main(["router", "show", "--json"])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "share is 100 %, the ledger says 0 %" in told
    assert "candidate is 6.6.6" in told
    assert "\x1b" not in told


def test_a_database_that_is_down_is_told_after_the_table(router, capsys, monkeypatch):
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert main(["router", "show", "--json"]) == 56
    assert capsys.readouterr().out.strip() == "[]"
