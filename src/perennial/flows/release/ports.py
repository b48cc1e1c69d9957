"""The ports that a release uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class ReleasePorts:
    """Everything a release touches."""

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
    """Folder for the served files of versions by digest, so that a pool is filled without the registry."""
    trusted: TrustedKeys
    """Keys of those who may sign the files of a version."""
    checks: Callable[[ModelSpec, Path], tuple[Judgement, ...]]
    """Of the files of a candidate, for the gate (`flows.evaluation.checks`)."""
    terms: Callable[[ModelSpec, VersionRecord], tuple[Judgement, ...]] = lambda spec, record: ()
    """On what terms data and packages are used, for the gate (`flows.governance.licensing`)."""
    spec_digest: Callable[[str], str | None] = lambda model: None
    """Model -> `core.release.status.policy_digest` of its spec as it is now; None where it cannot be read."""
    published: Published = lambda service: {}
