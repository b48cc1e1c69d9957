"""What goes after its age, and what stays however old it is."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from some_release import MODEL, a_release

from perennial import catalog
from perennial.adapters.envoy import state as envoy_state
from perennial.adapters.envoy.state import ConfirmedRoutes
from perennial.cli import main
from perennial.core.events import Entry
from perennial.core.machine import WantedKind
from perennial.core.release.phase import Phase
from perennial.core.release.traffic import Route, Target
from perennial.core.spec import ModelSpec
from perennial.core.version import VersionRef
from perennial.errors import BackupRunning, RouterRejected
from perennial.local.backup import contents
from perennial.local.backup.exclusion import files_stay
from perennial.local.prune import removals as pruning
from perennial.local.prune.removals import prune, removals
from perennial.serving import desired_state
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.settings import Settings
from perennial.wiring import database, machines

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=400)
ENDED = {
    "a": ("rejected", Phase.REJECTED),
    "b": ("champion long ago", Phase.SUCCEEDED),
    "c": ("champion before", Phase.SUCCEEDED),
    "d": ("champion", Phase.SUCCEEDED),
    "e": ("waits for approval", Phase.AWAITING_APPROVAL),
}
"""Digit of a digest -> version and phase of its release, in the order of time."""


def digest(digit: str) -> str:
    return digit * 64


def ref(digit: str) -> VersionRef:
    return VersionRef(model=MODEL, version=f"1.{ord(digit)}.0", key="1", digest=digest(digit), capsule="c")


def write(path: Path, text: str = "x", at: datetime = OLD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for entry in (path, path.parent):
        os.utime(entry, (at.timestamp(), at.timestamp()))


@pytest.fixture
def plant(tmp_path) -> Settings:
    """Served files and releases of five versions, all of them old."""
    settings = Settings(home=tmp_path / "state")
    store = database.store(settings)
    for number, (digit, (_, phase)) in enumerate(ENDED.items()):
        at = OLD + timedelta(hours=number)
        store.releases.save(a_release(at, phase, release_id=digit, candidate=ref(digit)), None, [])
        store.ledger.append(Entry(at=at, actor="ann", kind="k", model=MODEL, digest=digest(digit)))
        for place in ("releases/files", "serving/store"):
            write(settings.state / place / digest(digit) / "manifest.json", json.dumps({"model": MODEL}))
    return settings


def gone(settings: Settings, kind: str = "served files", now: datetime = NOW) -> set[str]:
    return {removal.name for removal in removals(settings, now) if removal.kind == kind}


def folders(*digits: str) -> set[str]:
    return {f"{place}/{digest(digit)}" for digit in digits for place in ("releases/files", "serving/store")}


def test_served_files_that_no_release_needs(plant):
    assert gone(plant) == folders("a", "b"), "two champions and a release that waits stay"
    assert gone(plant, now=OLD + timedelta(days=80)) == set()
    database.store(plant).ledger.append(
        Entry(at=NOW - timedelta(days=5), actor="ann", kind="k", model=MODEL, digest=digest("a"))
    )
    assert gone(plant) == folders("b"), "somebody did something with it"
    prune(plant, NOW)
    assert not (plant.serving_dir / "store" / digest("b")).exists()
    assert (plant.serving_dir / "store" / digest("d") / "manifest.json").is_file()
    assert gone(plant) == set()


def test_served_files_in_traffic_stay(plant):
    target = Target(version="1.0.0", digest=digest("a"), release_id="a")
    champion = Target(version="1.1.0", digest=digest("d"), release_id="d")
    envoy_state.write(
        plant.envoy_dir / "routes.json",
        ConfirmedRoutes(1, {MODEL: Route(model=MODEL, stable=champion, backup=target)}),
    )
    assert gone(plant) == folders("b")
    held = DesiredState(generation=1, models=(DesiredVersion.of(ref("b")),))
    desired_state.write(desired_state.state_file(plant.serving_dir, "canary"), held)
    assert gone(plant) == set()


def test_the_two_halves_of_a_plant(plant):
    """Pools and routes of serving machines are rows of the database; such a machine knows no releases."""
    exchange = plant.home / "exchange"
    control = plant.model_copy(update={"plane": "control", "exchange": f"file://{exchange}"})
    for digit in "abcdf":
        write(exchange / "versions" / digest(digit) / "manifest.json")
    write(exchange / "versions" / digest("9") / "manifest.json", at=NOW)
    write(exchange / "log" / "a" / digest("a"))
    held = DesiredState(generation=1, models=(DesiredVersion.of(ref("b")),)).model_dump_json()
    machines.wanted(control).change(WantedKind.POOL, "stable", lambda body: held)
    assert gone(control) == folders("a")
    assert gone(control, "exchanged versions") == {digest("a"), digest("f")}, (
        "no release needs it; unknown, and old"
    )
    assert prune(control, NOW)
    assert {path.name for path in (exchange / "versions").iterdir()} == set(map(digest, "bcd9"))
    assert (exchange / "log" / "a" / digest("a")).is_file()
    serving = plant.model_copy(update={"plane": "serving"})
    desired_state.write(
        desired_state.state_file(plant.serving_dir, "stable"), DesiredState.model_validate_json(held)
    )
    assert gone(serving) == folders("c", "d", "e")
    assert gone(serving, "exchanged versions") == set()


def test_nothing_goes_while_it_is_not_known_what_is_in_traffic(plant):
    write(plant.envoy_dir / "routes.json", "not readable")
    with pytest.raises(RouterRejected):
        prune(plant, NOW)
    assert (plant.serving_dir / "store" / digest("a")).is_dir()


def test_a_champion_counts_as_used_until_its_successor_took_over(plant):
    """Two releases since: it is the goal of no rollback any more, but served until a few days ago."""
    at = NOW - timedelta(days=3)
    for digit in "78":
        candidate = a_release(at, Phase.SUCCEEDED, release_id=digit, candidate=ref(digit), champion=ref("d"))
        database.store(plant).releases.save(candidate, None, [])
    assert gone(plant) == folders("a", "b", "c")


def test_logs_work_reports_and_leftovers(plant):
    fresh = NOW - timedelta(hours=1)
    old = {
        "logs/envoy.log.1": "logs", "airflow/logs/dag_id=d/run/task.log": "logs",
        "work/rates/1/train.json": "work", "batch/abc/part-0.parquet": "work",
        "reports/rates/page.html": "reports", "serving/store/.abc.12/model.onnx": "leftovers",
    }  # fmt: skip
    for name in [*old, "logs/envoy.log", "history/ci/part.parquet"]:
        write(plant.state / name)
    for name in ("work/rates/2/train.json", "reports/rates/new.html", "reports/.page.html.12"):
        write(plant.state / name, at=fresh)
    (plant.state / "airflow/logs/latest").symlink_to(plant.state / "airflow/logs/dag_id=d")
    found = {kind: gone(plant, kind) for kind in set(old.values())}
    assert found == {
        "logs": {"logs: 1 files", "airflow/logs/dag_id=d: 1 files"},
        "work": {"work/rates/1", "batch/abc"},
        "reports": {"reports/rates: 1 files"},
        "leftovers": {"serving/store/.abc.12"},
    }
    prune(plant, NOW)
    assert not [name for name in old if (plant.state / name).exists()]
    assert not (plant.state / "airflow/logs/dag_id=d").exists()
    for name in (
        "logs/envoy.log",
        "work/rates/2/train.json",
        "reports/rates/new.html",
        "history/ci/part.parquet",
    ):
        assert (plant.state / name).is_file(), name


def test_links_lead_nowhere(plant, tmp_path, monkeypatch):
    """Where processes have accounts of their own, each may put links into its folders, and root prunes."""
    write(tmp_path / "root/etc/hosts")
    os.utime(tmp_path / "root", (OLD.timestamp(), OLD.timestamp()))
    store = plant.serving_dir / "store"
    links = [plant.state / name for name in ("work/rates", "airflow/logs", "batch", "work/mine/1")]
    for link in links:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "root")
    (store / ".abc.12").symlink_to(tmp_path / "root")
    os.utime(store / ".abc.12", (OLD.timestamp(), OLD.timestamp()), follow_symlinks=False)
    monkeypatch.setattr(contents, "is_foreign_link", lambda path, state: path in links)
    assert {removal.kind for removal in prune(plant, NOW)} == {"served files", "leftovers"}
    assert (tmp_path / "root/etc/hosts").is_file()
    assert not (store / ".abc.12").is_symlink()


def test_a_rollback_that_begins_meanwhile(plant, monkeypatch):
    """Its goal is read as unused, and has the traffic before its files are deleted."""
    found = removals(plant, NOW)
    goal = Target(version="1.1.0", digest=digest("b"), release_id="b")
    envoy_state.write(
        plant.envoy_dir / "routes.json", ConfirmedRoutes(1, {MODEL: Route(model=MODEL, stable=goal)})
    )
    monkeypatch.setattr(pruning, "removals", lambda settings, now: found)
    assert {removal.name for removal in prune(plant, NOW)} == folders("a")
    assert (plant.serving_dir / "store" / digest("b") / "manifest.json").is_file()


def test_a_running_release_keeps_files_with_an_unreadable_manifest(plant):
    for place in ("releases/files", "serving/store"):
        write(plant.state / place / digest("e") / "manifest.json", "not readable")
    assert gone(plant) == folders("a", "b")


def test_files_that_their_process_removes_meanwhile(plant, monkeypatch):
    missing = plant.state / "reports/.page.html.12"
    monkeypatch.setattr(pruning, "_leftovers", lambda state: [missing])
    assert gone(plant, "leftovers") == set()


def test_the_ages_are_settings(plant):
    write(plant.state / "work/rates/1/train.json", at=NOW - timedelta(days=20))
    assert gone(plant, "work") == {"work/rates/1"}
    assert gone(plant.model_copy(update={"keep_work_days": 30}), "work") == set()


def test_not_during_a_backup(plant):
    with files_stay(plant), pytest.raises(BackupRunning):
        prune(plant, NOW)


def test_the_command(plant, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(plant.state))
    assert main(["prune", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"serving/store/{digest('a')}" in shown
    assert "bytes would be deleted" in shown
    assert main(["prune", "--dry-run", "--json"]) == 0
    assert {row["kind"] for row in json.loads(capsys.readouterr().out)} == {"served files"}
    assert (plant.serving_dir / "store" / digest("a")).is_dir()
    assert main(["prune"]) == 0
    assert not (plant.serving_dir / "store" / digest("a")).exists()


def test_predictions_are_kept_until_their_labels_come():
    spec = catalog.spec(MODEL, Settings()).model_dump(mode="json")
    spec["retention"]["predictions"], spec["monitoring"]["label_delay"] = "P30D", "P30D"
    assert ModelSpec.model_validate(spec).monitoring.label_delay == timedelta(days=30)
    spec["monitoring"]["label_delay"] = "P31D"
    with pytest.raises(ValueError, match=r"retention\.predictions: .*monitoring\.label_delay"):
        ModelSpec.model_validate(spec)
