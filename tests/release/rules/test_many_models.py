"""Many models and many releases cost the guard and the store few questions: counted, not timed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from databases.selects import selects
from doubles.routing import MemoryJournal, MemoryPool, MemoryRouter
from some_release import a_release

from perennial.adapters.envoy import state as envoy_state
from perennial.adapters.sql.store import SqlStore
from perennial.core.events import Entry, Event
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import BACKUP, Route, Target
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef
from perennial.flows.release.attendance import AttendancePorts
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.flows.release.load_policy import LoadPolicyPorts
from perennial.flows.release.recorded_route import RecordedRoutePorts

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


def ended(model: str, number: int = 0, phase: Phase = Phase.SUCCEEDED) -> ReleaseStatus:
    digest = f"{model}-{number}".ljust(64, "0")
    candidate = VersionRef(model=model, version=f"1.{number}.0", key=str(number), digest=digest, capsule="c")
    started = NOW + timedelta(minutes=number)
    return a_release(started, phase, release_id=f"{model}-{number}", candidate=candidate)


def succeeded(status: ReleaseStatus) -> Entry:
    version = {"version": status.candidate.version}
    return Entry(
        at=status.started_at,
        actor="machine",
        kind=Event.RELEASE_SUCCEEDED,
        model=status.model,
        release_id=status.release_id,
        digest=status.candidate.digest,
        payload=version,
    )


class CountingRouter(MemoryRouter):
    """Counts how often a single model is measured, which Envoy answers with the statistics of all."""

    measured = 0

    def counters(self, model):
        self.measured += 1
        return super().counters(model)

    def backups(self):
        measured = self.measured
        found = super().backups()
        self.measured = measured
        return found


class Plant:
    """Models with a champion each, and the guard over them."""

    def __init__(self, folder, models: int) -> None:
        self.store = SqlStore(f"sqlite:///{folder}/{models}/perennial.db")
        self.router, self.pool = CountingRouter(), MemoryPool()
        self.models = [f"m{number}" for number in range(models)]
        for model in self.models:
            status = self.store.releases.save(ended(model), None, [succeeded(ended(model))])
            self.router.apply(status.alone)
        store = self.store
        recorded = RecordedRoutePorts(self.router, store.releases, store.ledger, MemoryJournal(), self.pool)
        attendance = AttendancePorts(store.releases, store.ledger, lambda release_id, now: None)
        loads = LoadPolicyPorts(self.pool, store.releases, lambda model: Load.ON_DEMAND)
        ports = FailoverWatchPorts(self.router, store.ledger, lambda now: [], recorded, attendance, loads)
        self.watch = FailoverWatch(self.models, ports)

    def look(self, seconds: float) -> list[str]:
        return self.watch.look(NOW + timedelta(seconds=seconds))


def test_a_pass_of_the_guard_asks_as_much_for_thirty_models_as_for_two(tmp_path):
    asked = {}
    for models in (2, 30):
        plant = Plant(tmp_path, models)
        assert plant.look(0) == []
        with selects() as sent:
            assert plant.look(20) == []
        asked[models] = len(sent)
        assert set(plant.pool.loads.values()) == {Load.ON_DEMAND}
    assert asked[30] == asked[2] <= 4


def test_only_a_model_whose_backup_answered_is_measured_alone(tmp_path):
    plant = Plant(tmp_path, 10)
    plant.look(0)
    assert plant.look(2) == []
    assert plant.router.measured == 0
    plant.router.answered("m3", BACKUP, 5)
    (line,) = plant.look(4)
    assert line.startswith("ALARM failover.began: m3")
    assert plant.router.measured == 1
    assert plant.look(30) == []
    (line,) = plant.look(64)
    assert line.startswith("ALARM failover.ended: m3")
    assert plant.look(70) == []
    assert plant.router.measured == 3, "until it has ended"


def test_a_route_that_left_the_record_is_seen_among_many(tmp_path):
    plant = Plant(tmp_path, 12)
    plant.look(0)
    wanted = plant.router.route("m7")
    for seconds in (20, 40):  # once from the record read at the start, once read on
        stranger = Target(version="6.6.6", digest="f" * 64, release_id="m7-0")
        plant.router._routes["m7"] = wanted.model_copy(update={"stable": stranger})
        lines = plant.look(seconds)
        assert any("m7" in line and "6.6.6" in line for line in lines)
        # no server of this pool holds the champion: the live route goes on answering
        plant.router._routes["m7"] = wanted
    assert plant.look(60) == []


def test_a_new_champion_is_read_on_and_another_ledger_from_its_start(tmp_path):
    plant = Plant(tmp_path, 3)
    plant.look(0)
    second = ended("m1", 1)
    plant.store.releases.save(second, None, [succeeded(second)])
    plant.router.apply(second.alone)
    with selects() as sent:
        assert plant.look(2) == []
    assert len(sent) <= 6
    other = Plant(tmp_path / "restored", 3)
    reader = plant.watch._reader
    reader._ports = RecordedRoutePorts(
        other.router, other.store.releases, other.store.ledger, MemoryJournal(), other.pool
    )
    assert reader.suspects(plant.models) == []
    other.router.apply(second.alone)
    assert reader.suspects(plant.models) == ["m1"]


def test_a_release_under_way_is_found_among_ended_ones_by_the_index(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/perennial.db")
    for number in range(40):
        store.releases.save(ended("m", number, Phase.ROLLED_BACK), None, [])
    under_way = store.releases.save(ended("m", 41, Phase.CANARY), None, [])
    elsewhere = store.releases.save(ended("n", 42, Phase.PENDING), None, [])
    assert store.releases.active() == [elsewhere, under_way]
    assert store.releases.active("m") == [under_way]
    with selects() as sent:
        store.releases.active()
    (statement,) = sent
    with store.releases._database.reading() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN " + statement, ("CANARY",) * statement.count("?")
        ).all()
    assert any("perennial_release_phase" in row[-1] for row in plan), plan


def test_ended_releases_are_read_once_by_a_process(tmp_path, monkeypatch):
    store = SqlStore(f"sqlite:///{tmp_path}/perennial.db")
    for number in range(30):
        store.releases.save(ended("m", number, Phase.ROLLED_BACK), None, [])
    changing = store.releases.save(ended("m", 31, Phase.CANARY), None, [])
    before = store.releases.latest("m")
    parsed = []
    real = ReleaseStatus.model_validate_json
    monkeypatch.setattr(ReleaseStatus, "model_validate_json", lambda body: parsed.append(1) or real(body))
    changing = store.releases.save(changing.model_copy(update={"note": "x"}), changing.revision, [])
    after = store.releases.latest("m")
    assert len(parsed) == 1, "only what may have changed"
    assert after == [changing, *before[1:]]
    assert [status.release_id for status in after[:3]] == ["m-31", "m-29", "m-28"]


def test_the_file_of_confirmed_routes_is_parsed_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "routes.json"
    parsed = []
    real = Route.model_validate
    monkeypatch.setattr(Route, "model_validate", lambda body: parsed.append(1) or real(body))
    state = envoy_state.ConfirmedRoutes()
    for number in range(3):
        state = state.with_route(ended("m", number).alone)
        envoy_state.write(path, state)
        parsed.clear()
        for _ in range(50):
            assert envoy_state.read(path).routes == state.routes
        assert len(parsed) == 1
