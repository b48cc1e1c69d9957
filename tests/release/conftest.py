"""A model's releases in a world of fakes, with a clock that a test moves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from doubles.releases import MemoryStore
from doubles.routing import MemoryJournal, MemoryPool, MemoryProbe, MemoryRouter
from signing import TRUSTED, signed

from perennial import catalog
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.release.phase import Phase
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus, policy_digest
from perennial.core.release_spec import ApprovalSpec, ReleaseSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import CHAMPION_DIGEST, NO_CHAMPION, VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import TrackerUnavailable, UnknownVersion
from perennial.flows.release import gate
from perennial.flows.release.ports import ReleasePorts
from perennial.flows.release.reconcile import reconcile
from perennial.flows.release.rollback import RollbackPorts, rollback
from perennial.flows.release.rollback_record import RollbackRecordPorts, record_rollbacks
from perennial.serving.prediction_log_reader import COLUMNS
from perennial.settings import Settings

MODEL = "test_failure_predictor"
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
SLICES, SLICE_SECONDS = 12, 61
GOOD = {
    "holdout.roc_auc": 0.75, "holdout.brier": 0.15, "parity.max_abs": 1e-7,
    "delta.roc_auc": 0.01, "delta.roc_auc.low": -0.01, "delta.roc_auc.high": 0.03,
}  # fmt: skip
"""Figures of a version that passes the gate."""


@cache
def shipped_spec() -> ModelSpec:
    return catalog.spec(MODEL, Settings())


class Versions:
    """Registry and Labels with versions that a test makes; `down` makes every call fail."""

    def __init__(self) -> None:
        self.records: dict[str, VersionRecord] = {}
        self.aliases: dict[str, str] = {}
        self.down = False

    def add(self, version: str, **tags: str) -> VersionRecord:
        key = str(len(self.records) + 1)
        with TemporaryDirectory() as folder:
            digest = _write_version(Path(folder), version)
        ref = VersionRef(model=MODEL, version=version, key=key, digest=digest, capsule=f"capsule-{version}")
        evidence = {"architecture": "mlp", "features_hash": "f1", "data_checks": "passed"}
        record = VersionRecord(
            ref=ref,
            run_id=f"run-{key}",
            created=START,
            tags={**evidence, "figures_hash": figures_hash(GOOD), **tags},
            metrics=GOOD,
        )
        self.records[key] = record
        self.aliases["candidate"] = key
        return record

    def find(self, model: str, which: str) -> VersionRecord | None:
        self._answer()
        return self._look(which)

    def lose(self, key: str) -> None:
        """Somebody deletes the version in the registry; MLflow then removes its aliases."""
        del self.records[key]
        self.aliases = {alias: named for alias, named in self.aliases.items() if named != key}

    def _require(self, key: str) -> VersionRecord:
        if key not in self.records:
            raise UnknownVersion(f"{MODEL} has no version with key {key}")
        return self.records[key]

    def _look(self, which: str) -> VersionRecord | None:
        if which.startswith("key:"):
            return self.records.get(which.removeprefix("key:"))
        if which in self.aliases:
            return self.records[self.aliases[which]]
        return next((one for one in self.records.values() if one.ref.version == which), None)

    def evaluated(self, which: str, against: str) -> None:
        """The evaluation of a version was against this digest."""
        record = self._look(which)
        if record is not None:
            record.tags[CHAMPION_DIGEST] = against

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        self._answer()
        self._require(ref.key)
        into.mkdir(parents=True, exist_ok=True)
        _write_version(into, ref.version)
        return into

    def alias(self, model: str, alias: str, key: str | None) -> None:
        self._answer()
        if key is None:
            self.aliases.pop(alias, None)
        else:
            self._require(key)
            self.aliases[alias] = key

    def tag(self, model: str, key: str, tags) -> None:
        self._answer()
        record = self._require(key)
        self.records[key] = record.model_copy(update={"tags": {**record.tags, **tags}})

    def _answer(self) -> None:
        if self.down:
            raise TrackerUnavailable("MLflow is down", hint="start it")


NOTHING_LOGGED = pd.DataFrame(columns=list(COLUMNS))


class Predictions:
    """A PredictionLog that a test fills."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.timed: list[dict] = []

    def timings(self, model: str, since: datetime) -> pd.DataFrame:
        kept = [row for row in self.timed if row["at"] >= since]
        columns = ["at", "request_id", "digest", "shadow", "latency_ms", "rows", "by_entity", "client"]
        return pd.DataFrame(kept, columns=columns)

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        kept = [row for row in self.rows if since is None or row["at"] >= since]
        return pd.DataFrame(kept, columns=list(COLUMNS)) if kept else NOTHING_LOGGED.copy()


class World:
    """Ports over fakes, a clock, and what a test does with them."""

    def __init__(self, folder: Path, stopwatch: datetime = START) -> None:
        self.now = stopwatch
        self.waiting: list[Callable[[int, int], None]] = []
        self.spec = shipped_spec()
        self.approvers(1)
        self.store = MemoryStore()
        self.versions = Versions()
        self.predictions = Predictions()
        self.pool = MemoryPool()
        self.router = MemoryRouter()
        self.journal = MemoryJournal()
        self.ports = ReleasePorts(
            releases=self.store.releases,
            intents=self.store.intents,
            ledger=self.store.ledger,
            feedback=self.store.feedback,
            predictions=self.predictions,
            pool=self.pool,
            router=self.router,
            journal=self.journal,
            registry=self.versions,
            labels=self.versions,
            files=folder,
            trusted=TRUSTED,
            checks=lambda spec, files: (),
            spec_digest=lambda model: self.spec_digest(),
            published=lambda service: self.published,
        )
        self.spec_gone = False
        self.published = {"a": "a1", "b": "b1", "c": "c1"}
        self.probe = MemoryProbe(self.pool)
        self.asked = [{"entities": [{"test_id": "t1"}], "context": {}}]

    def use(self, strategy: str, **changes) -> None:
        """Edit the spec: another strategy, other values of the release policy."""
        policy = self.spec.release.model_dump() | {"strategy": strategy} | changes
        release = ReleaseSpec.model_validate(policy)
        self.spec = self.spec.model_copy(update={"release": release})

    def approvers(self, high_risk: int, **changes) -> None:
        """Edit the spec: how many people must approve at high risk."""
        policy = self.spec.approval.model_dump() | {"high_risk": high_risk} | changes
        approval = ApprovalSpec.model_validate(policy)
        self.spec = self.spec.model_copy(update={"approval": approval})

    def spec_digest(self) -> str | None:
        spec = self.spec
        return None if self.spec_gone else policy_digest(spec.gate, spec.approval, spec.release)

    def back(self, to: str | None = None, forced: str = "") -> tuple:
        """A rollback by a person, without what follows it; see `settle`."""
        ports = RollbackPorts(
            router=self.router,
            pool=self.pool,
            probe=self.probe,
            journal=self.journal,
            files=self.ports.files,
            store=self.ports.files,
            trusted=TRUSTED,
            published=lambda service: self.published,
            recent=lambda model, count: self.asked[:count],
            facts=self.store.ledger.rows,
            champions=lambda model: [
                (one.candidate, one.release_id)
                for one in self.store.releases.latest(model)
                if one.phase is Phase.SUCCEEDED
            ],
        )
        ids = (f"id{number}" for number in itertools.count(len(self.store.ledger.rows())))
        return rollback(
            MODEL, to, ports, "ann", "it burns", self.clock, self.sleep, lambda: next(ids), forced
        )

    def settle(self) -> list[str]:
        """Write down what a rollback left."""
        store = self.store
        ports = RollbackRecordPorts(
            self.journal,
            self.router,
            store.releases,
            store.intents,
            store.ledger,
            self.versions,
            self.versions,
        )
        return record_rollbacks(ports, self.now)

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def start(
        self, which: str = "candidate", again: bool = False, against: str | None = None
    ) -> ReleaseStatus:
        """Evaluated against the champion that the gate finds, unless a test says against which digest."""
        gate.finish_promotions(MODEL, self.ports, self.clock, self.sleep)
        route = self.router.route(MODEL)
        today = route.stable.digest if route is not None else NO_CHAMPION
        self.versions.evaluated(which, against or today)
        return gate.start(self.spec, which, self.ports, "ann", self.clock, self.sleep, again=again)

    def passes(
        self,
        release_id: str,
        count: int = 1,
        seconds: float = 5,
        survive: Callable[[Callable[[], ReleaseStatus]], ReleaseStatus] = lambda walk: walk(),
        slices: int | None = None,
    ) -> ReleaseStatus:
        """So many passes, with time going by before each. What is to be served is spread over time slices before.

        Args:
            survive: calls each pass, and may kill and repeat it.
            slices: what is to be served comes in so many of them; None: as many as a verdict needs.
        """
        for _ in range(count):
            waiting, self.waiting = self.waiting, []
            parts = (slices or SLICES) if waiting else 1
            for part in range(parts):
                self.sleep(max(seconds / parts, SLICE_SECONDS) if waiting else seconds)
                for answer in waiting:
                    answer(part, parts)
                status = survive(lambda: reconcile(release_id, self.ports, self.now))
                if status.phase is Phase.ABORTING:
                    break
        return status

    def say(
        self, status: ReleaseStatus, kind: IntentKind, digest: str | None = None, actor: str = "bob"
    ) -> None:
        rows = self.store.intents.pending(status.release_id)
        self.store.intents.put(
            Intent(
                id=f"{status.release_id}-{len(rows)}",
                release_id=status.release_id,
                kind=kind,
                actor=actor,
                at=self.now,
                digest=digest or status.candidate.digest,
                channel="cli",
            )
        )

    def serve(self, candidate: int = 0, champion: int = 0, errors: int = 0, latency_ms: float = 5.0) -> None:
        """Requests that each pool will have answered until the next pass; errors and latency are the candidate's."""

        def answer(part: int, slices: int) -> None:
            mine, failed, theirs = (
                count * (part + 1) // slices - count * part // slices
                for count in (candidate, errors, champion)
            )
            self.router.answered(MODEL, "canary", mine, failed, latency_ms)
            self.router.answered(MODEL, "stable", theirs)

        self.waiting.append(answer)

    def log_timings(
        self,
        digest: str,
        count: int,
        latency_ms: float,
        rows: int = 1,
        client: str = "",
        shadow: bool = False,
    ) -> None:
        """Requests in the servers' log, all of one client, size and latency."""
        request = {"at": self.now, "request_id": "", "digest": digest, "shadow": shadow, "by_entity": False}
        request |= {"latency_ms": latency_ms, "rows": rows, "client": client}
        self.predictions.timed += [request] * count

    def candidates(self) -> list[str]:
        """Versions in the canary pool beside those that stand by there for the champion."""
        route = self.router.route(MODEL)
        named = [one.digest for one in (route.stable, route.backup) if one] if route else []
        return [ref.version for ref in self.pool.holds("canary") if ref.digest not in named]

    def kinds(self) -> list[str]:
        return [row.entry.kind.removeprefix("release.") for row in self.store.ledger.rows()]

    def release_first(self, version: str = "1.0.0") -> ReleaseStatus:
        """Make a first champion."""
        self.versions.add(version)
        status = self.start()
        self.say(status, IntentKind.APPROVE)
        return self.passes(status.release_id, 4)

    def release_first_by(self, *people: str) -> ReleaseStatus:
        """The same where several must approve."""
        self.versions.add("1.0.0")
        status = self.start()
        for one in people:
            self.say(status, IntentKind.APPROVE, actor=one)
        return self.passes(status.release_id, 4)

    def open_second(self, version: str = "1.1.0") -> ReleaseStatus:
        """A candidate with traffic in SHADOW."""
        self.versions.add(version)
        status = self.start()
        return self.passes(status.release_id, 1)


def _write_version(folder: Path, version: str) -> str:
    """Write and sign the files of a version; returns its digest."""
    manifest = {
        "format": 1,
        "model": MODEL,
        "capsule": f"capsule-{version}",
        "input": "features",
        "output": "score",
        "feature_service": "service",
        "entities": ["test_id"],
        "request": {},
        "features": ["a", "b"],
        "threshold": 0.5,
    }
    (folder / "model.onnx").write_bytes(f"model {version}".encode())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return signed(folder, MODEL, f"capsule-{version}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "files")


@pytest.fixture
def make_world(tmp_path_factory: pytest.TempPathFactory):
    """Worlds on demand, for property tests."""
    return lambda: World(tmp_path_factory.mktemp("world") / "files")


@pytest.fixture
def two(world):
    """1.0.0 was champion, 1.1.0 is."""
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    return world
