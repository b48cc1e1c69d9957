"""Releases and servers that share no disk: other folders, other users, and only PostgreSQL and S3 between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from live_releases import BODY, MODEL, PATH, LiveReleases, now
from load_generator import Load
from machines.halves import Halves
from serving_stack import status, target, until

from perennial.core.machine import WantedKind
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release.traffic import PoolName, Route
from perennial.core.release_spec import Strategy
from perennial.errors import RouterUnavailable
from perennial.flows.release.machines.watch import look
from perennial.flows.release.rollback import rollback
from perennial.flows.release.rollback_record import record_rollbacks
from perennial.wiring import machines, releasing, traffic

pytestmark = pytest.mark.production

NAMES = ("serving_a", "serving_b")


@pytest.fixture(scope="module")
def halves(databases, bucket) -> Iterator[Halves]:
    made = Halves(databases, bucket, NAMES)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def live(halves) -> LiveReleases:
    """Two versions, the first of which is champion on both machines."""
    made = LiveReleases(halves, halves.overlay)
    made.use(Strategy.CANARY)
    made.versions = [made._register(halves.settings.state / "made", number) for number in range(2)]
    release = made.start(made.versions[0])
    made.say(release, IntentKind.APPROVE)
    assert made.to_end(release, 120).phase is Phase.SUCCEEDED
    halves.wait_healthy(MODEL)
    return made


def test_a_release_and_a_rollback_over_two_machines_fail_no_request_and_their_log_arrives(
    halves, live, databases
):
    """Without the database, which is killed at the end, the machines serve on; the next change reaches both."""
    first, second = (ref.version for ref in live.versions)
    with ExitStack() as stack:
        loads = [
            stack.enter_context(Load(int(machine.port), PATH, BODY, threads=2, pause_s=0.01))
            for machine in halves.machines
        ]
        release = live.start(live.versions[1])
        live.say(release, IntentKind.APPROVE)
        assert live.to_end(release, 180).phase is Phase.SUCCEEDED
        for load in loads:
            before = load.versions[second]
            until(lambda load=load, before=before: load.versions[second] > before, 60, "the new champion")
        ports = traffic.rollback_ports(halves.settings)
        began = time.monotonic()
        goal, moved = rollback(MODEL, None, ports, "ann", "", now, time.sleep, lambda: uuid4().hex)
        assert (goal.version, moved is not None) == (first, True)
        returned = time.monotonic()
        for load in loads:
            until(lambda load=load: stays_away(load, second), 60, "no answer of the version that was left")
        last = max(load.last_at[second] for load in loads)
        print(f"rollback: returned after {returned - began:.2f} s, last answer after {last - began:.2f} s")
        databases.kill()
        for load in loads:
            load.wait_for(50)
        databases.revive()
        with_backup = halves.router.route(MODEL).model_copy(update={"backup": target(live.versions[1], "r2")})
        until(lambda: is_applied(halves, with_backup), 120, "a change after the return of the database")
    assert [load.failures for load in loads] == [[], []]
    assert live.champion.version == first
    assert record_rollbacks(releasing.rollback_record_ports(halves.settings), now()) == []
    answered = sum(load.statuses[200] for load in loads)
    log = releasing.prediction_log(halves.settings)

    watch = machines.watch_ports(halves.settings)
    halves.settings.feast_dir.mkdir()
    (halves.settings.feast_dir / "definitions.json").write_text("{}")

    def arrived() -> bool:
        assert look(watch, now()) == []
        frame = log.read(MODEL)
        return frame[~frame["shadow"]]["request_id"].nunique() >= answered

    until(arrived, 120, f"all {answered} answers in the log")
    assert set(log.read(MODEL)["version"]) == {first, second}
    handed = [machine.folder / "state" / "feast" / "definitions.json" for machine in halves.machines]
    until(lambda: all(path.exists() and path.read_text() == "{}" for path in handed), 60, "what is handed")
    assert "LOST" not in halves.command("machines", "list")
    stored = machines.exchange(halves.settings).versions()
    assert stored.keys() == {ref.digest for ref in live.versions}
    assert min(version.size for version in stored.values()) > 0
    assert abs(now() - max(version.changed for version in stored.values())) < timedelta(hours=1)
    assert not (halves.settings.serving_dir / "store").exists()
    assert not halves.settings.envoy_dir.exists()
    for machine in halves.machines:
        assert not (machine.folder / "state" / "keys").exists(), "no serving machine can sign"
        assert not (machine.folder / "state" / "accounts.json").exists()


def test_a_machine_that_missed_a_change_of_the_champion_fails_no_request_when_it_is_back(halves, live):
    """It answers with the champion that it knows until its servers have loaded the new one."""
    known, away = machines.machines(halves.settings), halves.machines[1]
    route = halves.router.route(MODEL)
    (new,) = [ref for ref in live.versions if ref.digest != route.stable.digest]
    away.leave()
    until(lambda: [machine.name for machine in known.all()] == ["serving_a"], 60, "one machine")
    pool = traffic.pool(halves.settings)
    pool.ensure(PoolName.STABLE, new, halves.settings.state / "releases" / "files" / new.digest)
    until(lambda: pool.readiness(PoolName.STABLE, MODEL, new.digest).complete, 120, "the new version")
    halves.router.apply(Route(model=MODEL, stable=target(new, "r3")))
    pool.drop(PoolName.STABLE, MODEL, route.stable.digest)
    away.up()
    until(lambda: status(f"http://127.0.0.1:{away.port}/v2/models/{MODEL}/ready") == 200, 300, "ready")
    with Load(int(away.port), PATH, BODY, threads=2, pause_s=0.01) as load:
        until(lambda: load.versions[new.version] > 20, 120, "the new champion")
        until(lambda: stays_away(load, route.stable.version), 60, "no answer of the one before")
    assert load.failures == []
    held = machines.wanted(halves.settings).find(WantedKind.POOL, PoolName.STABLE)
    assert route.stable.digest not in held.body


def is_applied(halves: Halves, route: Route) -> bool:
    """Apply a route; whether each machine has confirmed it."""
    try:
        halves.router.apply(route)
    except RouterUnavailable:
        return False
    wanted = machines.wanted(halves.settings).find(WantedKind.ROUTE, MODEL)
    known = machines.machines(halves.settings).all()
    return {machine.name: machine.applied(wanted) for machine in known} == dict.fromkeys(NAMES, True)


def stays_away(load: Load, version: str) -> bool:
    """Whether none of the next answers is of a version; Envoy's workers take a route over after it is confirmed."""
    before = load.versions[version]
    load.wait_for(20)
    return load.versions[version] == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO perennial_release VALUES ('r', 'm', 0, 0, 'succeeded', '{}')",
        "UPDATE perennial_release SET phase = 'succeeded'",
        "INSERT INTO perennial_intent (id, release_id, body) VALUES ('i', 'r', '{}')",
        "INSERT INTO perennial_ledger VALUES (999, 'm', '{}', '', '')",
        "UPDATE perennial_ledger_head SET seq = 0",
        "DELETE FROM perennial_ledger",
        "SELECT * FROM perennial_ledger",
        "SELECT * FROM perennial_token",
        "INSERT INTO perennial_token VALUES ('t', '{}')",
        "UPDATE perennial_wanted SET body = ''",
        "INSERT INTO perennial_wanted VALUES ('route', 'm', 99, '{}')",
        "INSERT INTO perennial_machine VALUES ('serving_b', 0, '{}')",
        "INSERT INTO perennial_machine VALUES ('serving_b.pod-1', 0, '{}')",
        "INSERT INTO perennial_machine_counters VALUES ('serving_b', 'm', '{}')",
        "INSERT INTO perennial_machine_call VALUES ('1', 'serving_a', 0, '{}', NULL)",
        "UPDATE perennial_machine_call SET body = '{}'",
        "DELETE FROM perennial_machine",
        "ALTER TABLE perennial_machine DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (id int)",
    ],
)
def test_the_role_of_a_machine_can_do_none_of_this(halves, databases, statement):
    address = databases.address("serving_a", "perennial").replace("+psycopg", "")
    with psycopg.connect(address) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_the_role_of_a_machine_sees_its_own_rows_only(halves, databases):
    address = databases.address("serving_a", "perennial").replace("+psycopg", "")
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT machine FROM perennial_machine").fetchall() == [("serving_a",)]
        changed = connection.execute("UPDATE perennial_machine SET body = '{}' WHERE machine = 'serving_b'")
        assert changed.rowcount == 0
        connection.execute("INSERT INTO perennial_machine VALUES ('serving_a.pod-1', 0, '{}')")
        connection.rollback()
    for database in ("mlflow", "airflow", "optuna"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(address.rpartition("/")[0] + f"/{database}")
