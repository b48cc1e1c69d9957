"""Versions that can be released on a running stack: real store, registry, pools and Envoy, tiny models."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from supervised_stack import SupervisedStack
from tiny_models import WIDTH, tensor_body, tiny_version

from perennial import catalog
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.governance.ledger import verify_stored
from perennial.core.release.phase import Phase
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus
from perennial.core.release.traffic import PoolName
from perennial.core.release_spec import Strategy
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import CHAMPION_DIGEST, NO_CHAMPION, NewVersion
from perennial.core.version import Change, VersionRef
from perennial.flows.release import gate
from perennial.flows.release.ports import ReleasePorts
from perennial.flows.release.reconcile import reconcile
from perennial.flows.release.recorded_route import off_record
from perennial.serving import desired_state as desired
from perennial.wiring import releasing, training

MODEL = "test_failure_predictor"
PATH = f"/v2/models/{MODEL}/infer"
BODY = tensor_body()
ALIASES = ("champion", "candidate", "previous")
PASS_EVERY = 0.1
SHORT = {
    "shadow": "PT0.5S",
    "steps": [{"weight": weight, "duration": "PT0.5S"} for weight in (5, 20, 50)],
    "hold": "PT0.5S",
    "ab": {"weight": 40, "sample": 400, "duration": "PT20S"},
    # Seconds of traffic exclude no increase of 1 %, and a machine under load is slow now and then.
    "criteria": {"min_requests": 20, "error_rate_increase": 0.4, "latency_p95_floor_ms": 2000},
    "unsure_after": "PT2M",
}
"""What a policy needs for a release that takes seconds."""
GOOD = {
    "holdout.roc_auc": 0.75, "holdout.brier": 0.15, "parity.max_abs": 1e-7,
    "delta.roc_auc": 0.01, "delta.roc_auc.low": -0.01, "delta.roc_auc.high": 0.03,
}  # fmt: skip
"""Figures of a version that passes the gate."""


def ports_without_checks(settings) -> ReleasePorts:
    """As every release has them, but for the checks of the files and the terms of the data: a tiny model
    brings no reference rows, and was learnt from nothing."""
    return dataclasses.replace(
        releasing.release_ports(settings), checks=lambda spec, files: (), terms=lambda *given: ()
    )


class LiveReleases:
    """Three registered versions of a model, one of them champion; the others are released one after the other."""

    def __init__(self, stack: SupervisedStack, overlay: Path, model: str = MODEL) -> None:
        self.stack = stack
        self.model = model
        self.ports = ports_without_checks(stack.settings)
        self._overlay = overlay / f"{model}.yaml"

    def beside(self, model: str) -> LiveReleases:
        """Releases of another model on the same stack."""
        other = LiveReleases(self.stack, self._overlay.parent, model)
        other.furnish()
        return other

    def furnish(self) -> None:
        """Register the versions and make the first champion."""
        self.use(Strategy.CANARY)
        made = self.stack.settings.state / "made"
        self.versions = [self._register(made, number) for number in range(3)]
        first = self.start(self.versions[0])
        self.say(first, IntentKind.APPROVE)
        assert self.to_end(first).phase is Phase.SUCCEEDED
        self.stack.wait_healthy(self.model)

    def use(self, strategy: Strategy, low_risk: int = 0, **release: Any) -> ModelSpec:
        """Edit the spec, as a person would; first abort what a failed test left open.

        A later release would wait for it, and a single failure would become that of every test after it.

        Args:
            low_risk: how many people must approve at low risk; 0: the policy does.
            release: keys of `release` that differ from `SHORT`.
        """
        for left in self.ports.releases.active(self.model):
            self.say(left, IntentKind.ABORT)
            self.to_end(left)
        overlay = {
            "gate": {"latency_p95_ms": 2000},
            "approval": {"low_risk": low_risk, "medium_risk": 1, "high_risk": 1},
            "release": {**SHORT, "strategy": strategy.value, **release},
        }
        self._overlay.write_text(json.dumps(overlay))
        return self.spec

    @property
    def spec(self) -> ModelSpec:
        return catalog.spec(self.model, self.stack.settings)

    @property
    def champion(self) -> VersionRef:
        live = self.ports.router.route(self.model)
        return next(ref for ref in self.versions if live and ref.digest == live.stable.digest)

    def challengers(self) -> list[VersionRef]:
        """The two versions that are not champion."""
        champion = self.champion
        return [ref for ref in self.versions if ref != champion]

    def offer(self, ref: VersionRef) -> None:
        """As a training does with what it registered."""
        self.ports.labels.alias(self.model, "candidate", ref.key)

    def start(self, ref: VersionRef) -> ReleaseStatus:
        self.offer(ref)
        gate.finish_promotions(self.model, self.ports, now, time.sleep)
        live = self.ports.router.route(self.model)
        # As if it had been evaluated just now: these versions become champion in any order.
        against = NO_CHAMPION if live is None else live.stable.digest
        self.ports.labels.tag(self.model, ref.key, {CHAMPION_DIGEST: against})
        return gate.start(self.spec, ref.version, self.ports, "ann", now, time.sleep, again=True)

    def say(self, status: ReleaseStatus, kind: IntentKind) -> None:
        said = len(self.ports.intents.pending(status.release_id))
        self.ports.intents.put(
            Intent(
                id=f"{status.release_id}-{said}", release_id=status.release_id, kind=kind, actor="bob",
                at=now(), digest=status.candidate.digest, channel="cli",
            )
        )  # fmt: skip

    def walk(self, status: ReleaseStatus) -> ReleaseStatus:
        """One pass, a moment after the one before."""
        time.sleep(PASS_EVERY)
        status = reconcile(status.release_id, self.ports, now())
        assert off_record([self.model], releasing.recorded_route_ports(self.stack.settings)) == []
        return status

    def to_end(self, status: ReleaseStatus, seconds: float = 60) -> ReleaseStatus:
        end = time.monotonic() + seconds
        while not status.phase.is_final():
            assert time.monotonic() < end, f"{status.phase}: {status.note}; {status.evidence}"
            status = self.walk(status)
        return status

    def aliases(self) -> dict[str, str]:
        """Alias -> semantic version."""
        found = {name: self.ports.registry.find(self.model, name) for name in ALIASES}
        return {name: record.ref.version for name, record in found.items() if record is not None}

    def state(self) -> dict[str, Any]:
        """What a release leaves behind, apart from the release itself."""
        route = self.ports.router.route(self.model)
        return {
            "route": route,
            "aliases": self.aliases(),
            "canary pool": self._held(PoolName.CANARY),
            "champion in stable pool": route is not None and route.stable.digest in self._held(PoolName.STABLE),
            "ledger broken at": verify_stored(self.ports.ledger.stored()),
        }  # fmt: skip

    def promoted(self, before: dict[str, Any], status: ReleaseStatus) -> dict[str, Any]:
        """The state that follows from `before` when this release succeeds."""
        aliases = {"champion": status.candidate.version, "previous": before["aliases"].get("champion")}
        standby = [] if status.kept is None else [status.kept.digest]
        return {**before, "route": status.alone, "aliases": aliases, "canary pool": standby}

    def _held(self, pool: PoolName) -> list[str]:
        state = desired.read(desired.state_file(self.stack.settings.serving_dir, pool))
        return [one.digest for one in state.models if one.model == self.model]

    def _register(self, folder: Path, number: int) -> VersionRef:
        # The first one is as versions were before kinds of task: manifests of both formats are released side by side.
        task = self.spec.task if number else None
        ref, files = tiny_version(folder, self.model, f"made-{number}", float(number), task=task)
        example = np.zeros((2, WIDTH), dtype=np.float32)
        with training.tracker(self.stack.settings).run(self.model, "training", {"reason": "person"}) as run:
            uri = run.model(files, None, example, np.zeros(2, dtype=np.float32))
            run.log(metrics=GOOD)
        return self.ports.registry.register(
            NewVersion(
                model=self.model, run_id=run.run_id, model_uri=uri, digest=ref.digest, capsule=ref.capsule,
                change=Change.RETRAINED, description="a tiny model",
                tags={
                    "architecture": "tiny", "features_hash": "f1", "data_checks": "passed",
                    "figures_hash": figures_hash(GOOD),
                },
            )
        )  # fmt: skip


@contextmanager
def furnished(folder: Path) -> Iterator[LiveReleases]:
    """Releases on a stack of their own, which is stopped after the block."""
    stack = SupervisedStack(folder / "state", overlay=folder)
    try:
        stack.start()
        live_releases = LiveReleases(stack, overlay=folder)
        live_releases.furnish()
        yield live_releases
    finally:
        stack.stop()


def now() -> datetime:
    return datetime.now(UTC)
