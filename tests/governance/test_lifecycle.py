"""Retire, archive and purge: never what is in use, files only after their time, the ledger for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from doubles.releases import MemoryStore
from doubles.routing import MemoryRouter

from perennial.core.events import Entry
from perennial.core.governance.ledger import verify
from perennial.core.release.traffic import Route, Target
from perennial.core.training.registration import VersionRecord
from perennial.core.version import Lifecycle, VersionRef
from perennial.errors import ReleaseError, UnknownVersion, UsageError
from perennial.flows.governance.lifecycle import LifecyclePorts, due, purge, take_out

MODEL = "test_failure_predictor"
DAY = timedelta(days=1)
KEEP = 90 * DAY


class Versions:
    """Registry, Labels and ModelFiles over a dict."""

    def __init__(self, now) -> None:
        self.records: dict[str, VersionRecord] = {}
        self.deleted: list[str] = []
        for key, aliases in (("1", ("previous",)), ("2", ("champion",)), ("3", ()), ("4", ())):
            ref = VersionRef(model=MODEL, version=f"1.{key}.0", key=key, digest=key * 64, capsule="c")
            self.records[key] = VersionRecord(
                ref=ref, run_id=f"r{key}", created=now, aliases=aliases, tags={"lifecycle": "staging"}
            )

    def find(self, model, which):
        return next((one for one in self.records.values() if one.ref.version == which), None)

    def versions(self, model):
        return list(self.records.values())

    def tag(self, model, key, tags):
        record = self.records[key]
        self.records[key] = record.model_copy(update={"tags": {**record.tags, **tags}})

    def delete(self, ref):
        self.deleted.append(ref.version)


@pytest.fixture
def now():
    return datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def ports(tmp_path, now):
    versions, store = Versions(now), MemoryStore()
    copies = tmp_path / "files"
    for record in versions.versions(MODEL):
        (copies / record.ref.digest).mkdir(parents=True)
    return LifecyclePorts(
        versions, versions, store.releases, store.ledger, MemoryRouter(), versions, (copies,)
    )


def archive(ports, now, which="1.3.0", to=Lifecycle.ARCHIVED, reason="too slow"):
    return take_out(MODEL, which, to, reason, ports, "ann", now)


def test_archived_once_with_who_and_why(ports, now):
    archive(ports, now)
    archive(ports, now + DAY)
    (row,) = ports.ledger.rows(MODEL)
    assert (row.entry.kind, row.entry.actor) == ("lifecycle.archived", "ann")
    assert row.entry.payload == {"version": "1.3.0", "why": "too slow", "was": "staging"}
    assert ports.registry.find(MODEL, "1.3.0").tags["lifecycle"] == "archived"


def test_what_is_out_of_use_backs_nobody_up(ports, now):
    def target(key: str) -> Target:
        return Target(version=f"1.{key}.0", digest=key * 64, release_id="r")

    ports.router.apply(Route(model=MODEL, stable=target("2"), backup=target("1")))
    archive(ports, now)
    assert ports.router.route(MODEL).backup == target("1"), "another one is"
    archive(ports, now, "1.1.0", Lifecycle.RETIRED)
    assert ports.router.route(MODEL) == Route(model=MODEL, stable=target("2"))


def test_what_the_machine_archived_is_archived_by_a_person_too(ports, now):
    def target(key: str) -> Target:
        return Target(version=f"1.{key}.0", digest=key * 64, release_id="r")

    ports.router.apply(Route(model=MODEL, stable=target("2"), backup=target("1")))
    ports.labels.tag(MODEL, "1", {"lifecycle": "archived"})  # replaced by 1.2.0
    archive(ports, now, "1.1.0", reason="unfair")
    (row,) = ports.ledger.rows(MODEL)
    assert (row.entry.kind, row.entry.payload["why"]) == ("lifecycle.archived", "unfair")
    assert ports.router.route(MODEL).backup is None
    assert ports.registry.find(MODEL, "1.1.0").tags["lifecycle.reason"] == "unfair"


def test_killed_before_the_tag_it_is_tagged_with_the_reason_on_record(ports, now, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ports.labels, "tag", killed)
    with pytest.raises(KeyboardInterrupt):
        archive(ports, now)
    monkeypatch.undo()
    archive(ports, now + DAY, reason="again")
    assert len(ports.ledger.rows(MODEL)) == 1
    tags = ports.registry.find(MODEL, "1.3.0").tags
    assert (tags["lifecycle"], tags["lifecycle.reason"]) == ("archived", "too slow")


def test_retired_then_archived_then_retired_again_is_each_on_record(ports, now):
    for to in (Lifecycle.RETIRED, Lifecycle.ARCHIVED, Lifecycle.RETIRED):
        archive(ports, now, to=to)
    assert [row.entry.kind.removeprefix("lifecycle.") for row in ports.ledger.rows()] == [
        "retired", "archived", "retired",
    ]  # fmt: skip


def test_what_is_in_use_stays(ports, now):
    with pytest.raises(ReleaseError, match="champion"):
        archive(ports, now, "1.2.0")
    served = Entry(at=now, actor="machine", kind="release.succeeded", model=MODEL, digest="3" * 64)
    ports.ledger.append(served.model_copy(update={"payload": {"version": "1.3.0"}}))
    with pytest.raises(ReleaseError, match="has the traffic"):
        archive(ports, now)
    with pytest.raises(UnknownVersion):
        archive(ports, now, "9.9.9")
    with pytest.raises(UsageError):
        archive(ports, now, "1.4.0", reason=" ")


def test_files_go_only_when_archived_unused_and_old(ports, now):
    archive(ports, now)
    archive(ports, now, "1.4.0", Lifecycle.RETIRED)
    ports.labels.tag(MODEL, "1", {"lifecycle": "archived"})  # the previous champion: a rollback may need it
    assert due(MODEL, KEEP, ports, now + KEEP - DAY) == []
    (found,) = due(MODEL, KEEP, ports, now + KEEP)
    assert found.ref.version == "1.3.0"
    assert purge([found], ports, "ann", now + KEEP)
    assert ports.files.deleted == ["1.3.0"]
    assert sorted(one.name[0] for one in ports.copies[0].iterdir()) == ["1", "2", "4"]
    assert [row.entry.kind for row in ports.ledger.rows()][-1] == "lifecycle.purged"
    assert verify(ports.ledger.rows()) is None
    assert due(MODEL, KEEP, ports, now + 2 * KEEP) == [], "once"


def test_killed_before_it_was_recorded_it_is_done_again(ports, now):
    archive(ports, now)
    found = due(MODEL, KEEP, ports, now + KEEP)
    ports.files.delete(found[0].ref)
    assert due(MODEL, KEEP, ports, now + KEEP) == found
    purge(found, ports, "ann", now + KEEP)
    assert [row.entry.kind for row in ports.ledger.rows()] == ["lifecycle.archived", "lifecycle.purged"]
