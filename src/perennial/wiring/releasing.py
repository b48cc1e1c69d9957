"""Adapters and ports of releases, of the ledger entries of rollbacks, and of the failover watch."""

from __future__ import annotations

import functools
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from perennial import catalog
from perennial.core.governance.identity import Role
from perennial.core.spec import ModelSpec
from perennial.errors import SettingsError, SpecError, TrackerUnavailable, UnknownModel
from perennial.settings import Settings, load
from perennial.wiring.database import store
from perennial.wiring.here import trusted
from perennial.wiring.on_first_use import OnFirstUse
from perennial.wiring.traffic import journal, pool, router
from perennial.wiring.training import entrypoint, scorer
from perennial.wiring.versions import afresh, offline_source

if TYPE_CHECKING:
    from datetime import datetime

    from perennial import ports
    from perennial.core.release.status import ReleaseStatus
    from perennial.core.serving_spec import Load
    from perennial.core.training.registration import VersionRecord
    from perennial.core.verdict import Judgement
    from perennial.flows.evaluation.replay import ReplayPorts
    from perennial.flows.release.failover_watch import FailoverWatchPorts
    from perennial.flows.release.ports import ReleasePorts
    from perennial.flows.release.recorded_route import RecordedRoutePorts
    from perennial.flows.release.rollback_record import RollbackRecordPorts
    from perennial.serving.evidence.answered import AnsweredPredictions
    from perennial.serving.feedback_inbox import FeedbackInbox
    from perennial.serving.log.encrypted import LogRotation
    from perennial.serving.log.upload import SegmentUpload
    from perennial.serving.prediction_archive import PredictionArchive

LISTEN_SECONDS = 2.0


def prediction_log(settings: Settings) -> ports.PredictionLog:
    """Return the reader of the prediction log."""
    from perennial.serving.prediction_log_reader import PredictionLogReader

    return PredictionLogReader(settings.serving_dir / "log", settings.keyring)


def growing_log(settings: Settings) -> ports.GrowingLog:
    """Return the same log, read as it grows."""
    from perennial.serving.following.growing import GrowingPredictionLog

    return GrowingPredictionLog(settings.serving_dir / "log", settings.keyring)


def prediction_archive(settings: Settings) -> PredictionArchive:
    """Return the housekeeping of the prediction log."""
    from perennial.serving.prediction_archive import PredictionArchive

    return PredictionArchive(settings.serving_dir / "log")


def segment_upload(settings: Settings) -> SegmentUpload:
    """Return the upload of the prediction log.

    Raises:
        SettingsError: there is no bucket.
    """
    from perennial.serving.log.upload import SegmentUpload

    if settings.log_bucket is None:
        raise SettingsError("PERENNIAL_LOG_BUCKET is not set", hint="PERENNIAL_LOG_BUCKET=s3://bucket/folder")
    folder = settings.serving_dir / "log"
    return SegmentUpload(folder, settings.log_bucket, settings.log_local_days, settings.keyring)


def log_rotation(settings: Settings) -> LogRotation | None:
    """Return the rotation of the keys of the uploaded log; None: nothing is uploaded.

    Raises:
        SettingsError: there are no keys.
    """
    from perennial.serving.log.encrypted import LogRotation

    keyring = settings.keyring
    if keyring is None:
        raise SettingsError("PERENNIAL_ENCRYPTION_KEYS is not set", hint="perennial encryption generate FILE")
    if settings.log_bucket is None:
        return None
    return LogRotation(settings.serving_dir / "log", settings.log_bucket, keyring)


def feedback_inbox(settings: Settings) -> FeedbackInbox:
    """Return the labels of the model servers that are not in the database yet.

    Where serving machines send their logs, a label may arrive before the log with its prediction, and waits for it.
    """
    from perennial.serving.evidence.waiting import LONGEST
    from perennial.serving.feedback_inbox import FeedbackInbox

    waits = timedelta(0) if settings.exchange is None else LONGEST
    return FeedbackInbox(settings.serving_dir / "feedback", waits=waits)


def answered(settings: Settings | None = None) -> AnsweredPredictions:
    """Return the look-up of prediction ids that were really answered."""
    from perennial.serving.evidence.answered import AnsweredPredictions

    settings = settings or load()
    return AnsweredPredictions(settings.serving_dir / "log", settings.keyring)


def checks(spec: ModelSpec, files: Path) -> tuple[Judgement, ...]:
    """Run every check of a candidate's files; heavy imports happen only here."""
    from perennial.adapters.fairlearn_groups import group_figures
    from perennial.adapters.scanning.file_scan import scan
    from perennial.flows.evaluation.checks import CheckPorts, check

    cases = entrypoint(spec.gate.behaviour, spec) if spec.gate.behaviour is not None else ()
    return check(spec, files, CheckPorts(scorer(), scan, cases, group_figures))


def terms(spec: ModelSpec, record: VersionRecord, settings: Settings) -> tuple[Judgement, ...]:
    """Judge the licences and consent of a version by the current terms."""
    from perennial.adapters.scanning.installed_packages import licences
    from perennial.adapters.scanning.spdx import licence_status
    from perennial.flows.governance.licensing import TermsPorts, check_terms
    from perennial.history import datasets

    stated = datasets.terms(settings.shipped("configs/datasets.yaml"), settings.configs / "sources.yaml")
    return check_terms(spec, record, TermsPorts(stated, licences, licence_status))


def spec_digest(model: str, settings: Settings) -> str | None:
    """Return the digest of gate, approval and release in the current spec, or None when it cannot be read.

    A broken or missing spec must not stop a release, which runs under its own copy.
    """
    from perennial.core.release.status import policy_digest

    try:
        spec = catalog.spec(model, settings)
    except (SpecError, UnknownModel):
        return None
    return policy_digest(spec.gate, spec.approval, spec.release)


def _registry(settings: Settings) -> ports.Registry:
    """Return the registry; connects to the port first, because the import of MLflow is slow.

    Raises:
        TrackerUnavailable: nothing listens at the address.
    """
    from perennial.wiring import versions as versions_wiring

    url = settings.tracking
    if url.startswith("http"):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=LISTEN_SECONDS).close()
        except OSError as error:
            raise TrackerUnavailable(
                f"MLflow at {url} does not answer: {error}", hint="start it with `perennial local up`"
            ) from error
    return versions_wiring.registry(settings, Role.RELEASE)


@functools.lru_cache(maxsize=4)
def _release_ports(settings: Settings) -> ReleasePorts:
    from perennial.adapters.feast.definitions import published
    from perennial.flows.release.ports import ReleasePorts

    database = store(settings)
    # MLflow takes seconds to import, and many passes of a release do not need it.
    versions: Any = OnFirstUse(lambda: _registry(settings))
    predictions = prediction_log(settings)
    return ReleasePorts(
        releases=database.releases,
        intents=database.intents,
        ledger=database.ledger,
        feedback=database.feedback,
        predictions=predictions,
        pool=pool(settings),
        router=router(settings),
        journal=journal(settings),
        registry=versions,
        labels=versions,
        files=settings.state / "releases" / "files",
        trusted=trusted(settings),
        checks=checks,
        terms=lambda spec, record: terms(spec, record, settings),
        afresh=lambda spec, candidate, champion: afresh(
            spec, candidate, champion, versions, predictions, settings
        ),
        spec_digest=lambda model: spec_digest(model, settings),
        published=lambda service: published(settings.feast_dir, service),
    )


def release_ports(settings: Settings | None = None) -> ReleasePorts:
    """Return the ports of a release; cached, so that the prediction log reads only new lines in each pass."""
    return _release_ports(settings or load())


def rollback_record_ports(settings: Settings) -> RollbackRecordPorts:
    """Return the ports that write rollbacks to the ledger."""
    from perennial.flows.release.rollback_record import RollbackRecordPorts

    database = store(settings)
    versions: Any = OnFirstUse(lambda: _registry(settings))
    return RollbackRecordPorts(
        journal=journal(settings),
        router=router(settings),
        releases=database.releases,
        intents=database.intents,
        ledger=database.ledger,
        registry=versions,
        labels=versions,
    )


def recorded_route_ports(settings: Settings) -> RecordedRoutePorts:
    """Return the ports that compare live routes with the record."""
    from perennial.flows.release.recorded_route import RecordedRoutePorts

    database = store(settings)
    return RecordedRoutePorts(
        router(settings), database.releases, database.ledger, journal(settings), pool(settings)
    )


def failover_watch_ports(settings: Settings) -> FailoverWatchPorts:
    """Return the ports of the failover watch."""
    from perennial.flows.release.attendance import AttendancePorts
    from perennial.flows.release.failover_watch import FailoverWatchPorts
    from perennial.flows.release.load_policy import LoadPolicyPorts
    from perennial.flows.release.reconcile import reconcile
    from perennial.flows.release.rollback_record import record_rollbacks

    record = rollback_record_ports(settings)

    def walk(release_id: str, now: datetime) -> ReleaseStatus:
        return reconcile(release_id, release_ports(settings), now)

    return FailoverWatchPorts(
        record.router,
        record.ledger,
        lambda now: record_rollbacks(record, now),
        recorded_route_ports(settings),
        AttendancePorts(record.releases, record.ledger, walk),
        LoadPolicyPorts(pool(settings), record.releases, lambda model: load_policy(model, settings)),
    )


def load_policy(model: str, settings: Settings) -> Load | None:
    """Return how the spec of a model says that servers hold it, or None when it cannot be read."""
    files = catalog.spec_files(model, settings)
    changed = tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
    return _load_policy(model, settings, changed)


@functools.lru_cache(maxsize=4096)
def _load_policy(model: str, settings: Settings, changed: tuple[int, ...]) -> Load | None:
    """Read a spec; the times of its files stand for their content, since the guard asks every two seconds."""
    try:
        return catalog.spec(model, settings).serving.load
    except (SpecError, UnknownModel):
        return None


def replay_ports(spec: ModelSpec, settings: Settings | None = None) -> ReplayPorts:
    """Return the ports of a replay of logged requests."""
    from perennial.flows.evaluation.replay import ReplayPorts
    from perennial.wiring import versions

    settings = settings or load()
    return ReplayPorts(
        predictions=prediction_log(settings),
        registry=versions.registry(settings),
        scorer=scorer(),
        offline=offline_source(spec, settings),
        stopwatch=time.perf_counter,
    )
