"""Adapters that a release uses, and all of them together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import catalog
from perennial.core.identity import Role
from perennial.core.spec import ModelSpec
from perennial.core.traffic import PoolName
from perennial.errors import SpecError
from perennial.settings import Settings, load
from perennial.wiring.training import entrypoint, scorer

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.envoy_router import EnvoyRouter
    from perennial.core.registration import VersionRecord
    from perennial.core.verdict import Judgement
    from perennial.flows.release import ReleasePorts
    from perennial.serving.feedback_inbox import FeedbackInbox


class _OnFirstUse:
    """Stands for an adapter that is made when something of it is first asked for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)


def store(settings: Settings | None = None):
    """ReleaseStore, Intents, Ledger and FeedbackStore in one: they share transactions.

    Returns an object with the attributes `releases`, `intents`, `ledger`, `feedback`.
    """
    from perennial.adapters.sql_store import SqlStore

    settings = settings or load()
    return SqlStore(settings.database)


def pool(settings: Settings | None = None) -> ports.Pool:
    from perennial.adapters.bento_pool import BentoPool

    settings = settings or load()
    ports_by_pool = {name.value: settings.ports(name) for name in PoolName}
    return BentoPool(settings.serving_dir, settings.host, ports_by_pool)


def router(settings: Settings | None = None) -> EnvoyRouter:
    from perennial.adapters.envoy_config import Layout
    from perennial.adapters.envoy_router import EnvoyRouter

    settings = settings or load()
    layout = Layout(
        listen=(settings.host, settings.port_envoy),
        admin=(settings.host, settings.port_envoy_admin),
        pools={name: [(settings.host, port) for port in settings.ports(name)] for name in PoolName},
    )
    return EnvoyRouter(settings.envoy_dir, layout)


def prediction_log(settings: Settings | None = None) -> ports.PredictionLog:
    from perennial.serving.prediction_log import PredictionLogReader

    settings = settings or load()
    return PredictionLogReader(settings.serving_dir / "log")


def feedback_inbox(settings: Settings | None = None) -> FeedbackInbox:
    """Labels that the model servers wrote down and nobody has stored yet."""
    from perennial.serving.feedback_inbox import FeedbackInbox

    settings = settings or load()
    return FeedbackInbox(settings.serving_dir / "feedback")


def checks(spec: ModelSpec, files: Path) -> tuple[Judgement, ...]:
    """Every check of a candidate's files; nothing heavy is imported before the gate asks for it."""
    from perennial.adapters.fairlearn_groups import group_figures
    from perennial.adapters.file_scan import scan
    from perennial.flows.checks import CheckPorts, check

    cases = entrypoint(spec.gate.behaviour, spec) if spec.gate.behaviour is not None else ()
    return check(spec, files, CheckPorts(scorer(), scan, cases, group_figures))


def terms(spec: ModelSpec, record: VersionRecord, settings: Settings | None = None) -> tuple[Judgement, ...]:
    """Licences and consent of a version, as they are stated now."""
    from perennial.adapters.installed_packages import licences
    from perennial.adapters.spdx import standing
    from perennial.flows.terms import TermsPorts, check_terms
    from perennial.history import datasets

    stated = datasets.terms((settings or load()).configs)
    return check_terms(spec, record, TermsPorts(stated, licences, standing))


def spec_digest(model: str, settings: Settings) -> str | None:
    """Of gate, approval and release as the spec has them now; None where it cannot be read.

    A spec that is half edited, or gone, must not stop a release that runs under its own copy.
    """
    from perennial.core.release import policy_digest
    from perennial.errors import UnknownModel

    try:
        spec = catalog.spec(model, settings)
    except (SpecError, UnknownModel):
        return None
    return policy_digest(spec.gate, spec.approval, spec.release)


@functools.lru_cache(maxsize=4)
def _release_ports(settings: Settings) -> ReleasePorts:
    from perennial import wiring
    from perennial.flows.release import ReleasePorts

    database = store(settings)
    # MLflow takes seconds to import, and an emergency rollback moves traffic without it.
    versions: Any = _OnFirstUse(lambda: wiring.registry(settings, Role.RELEASE))
    return ReleasePorts(
        releases=database.releases,
        intents=database.intents,
        ledger=database.ledger,
        feedback=database.feedback,
        predictions=prediction_log(settings),
        pool=pool(settings),
        router=router(settings),
        registry=versions,
        labels=versions,
        files=settings.state / "releases" / "files",
        checks=checks,
        terms=lambda spec, record: terms(spec, record, settings),
        spec_digest=lambda model: spec_digest(model, settings),
    )


def release_ports(settings: Settings | None = None) -> ReleasePorts:
    """Everything a release touches. Kept: the prediction log then reads only what is new in each pass."""
    return _release_ports(settings or load())
