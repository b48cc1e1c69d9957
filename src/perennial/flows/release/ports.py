"""The ports that a release uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perennial.core.release.afresh import Afresh
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Judgement
from perennial.flows.release.seal import Published
from perennial.ports import (
    FeedbackStore,
    Intents,
    Labels,
    Ledger,
    Pool,
    PredictionLog,
    Registry,
    ReleaseStore,
    RollbackJournal,
    Router,
)
from perennial.serving.signed_files import TrustedKeys

Clock = Callable[[], datetime]
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class ReleasePorts:
    """Tools that a release uses."""

    releases: ReleaseStore
    intents: Intents
    ledger: Ledger
    feedback: FeedbackStore
    predictions: PredictionLog
    pool: Pool
    router: Router
    journal: RollbackJournal
    registry: Registry
    labels: Labels
    files: Path
    """Folder of the served files of versions, by digest; a pool is filled from it without the registry."""
    trusted: TrustedKeys
    """Keys of those who may sign the files of a version."""
    checks: Callable[[ModelSpec, Path], tuple[Judgement, ...]]
    """Checks of a candidate's files, for the gate (`flows.evaluation.checks`)."""
    terms: Callable[[ModelSpec, VersionRecord], tuple[Judgement, ...]] = lambda spec, record: ()
    """Checks of the terms of data and packages, for the gate (`flows.governance.licensing`)."""
    afresh: Callable[[ModelSpec, VersionRecord, VersionRecord], Afresh | None] = lambda spec, new, old: None
    """Evaluates candidate and champion on the newest labels (`flows.release.afresh`); None: it cannot here."""
    spec_digest: Callable[[str], str | None] = lambda model: None
    """Model -> `core.release.status.policy_digest` of its current spec; None where it cannot be read."""
    published: Published = lambda service: {}
