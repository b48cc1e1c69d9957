"""Start a release: measure the candidate at a model server without traffic, apply the gate, record the report."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.recalibration.attempt import trained_digest
from perennial.core.release import approval, gate
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import PoolName
from perennial.core.spec import ModelSpec
from perennial.core.training import reproduction
from perennial.core.training.imported import is_imported
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Verdict
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError, PoolUnavailable, ReleaseError, UnknownVersion
from perennial.flows.governance.lifecycle import refuse_out_of_use
from perennial.flows.release.open_release import open_release
from perennial.flows.release.ports import Clock, ReleasePorts, Sleep
from perennial.flows.release.reconcile import reconcile
from perennial.flows.release.rehearsal import gate_warnings
from perennial.flows.release.seal import write_seal
from perennial.flows.release.served_files import current_seal, served_files
from perennial.flows.versions import find_version
from perennial.serving.manifest import SEAL_FILE, ServedManifest, load_verified

LOAD_WITHIN = timedelta(seconds=90)
REQUESTS = 60
WARM_UP = 10
ROWS = 32


def start(
    spec: ModelSpec,
    which: str,
    ports: ReleasePorts,
    actor: str,
    clock: Clock,
    sleep: Sleep,
    again: bool = False,
) -> ReleaseStatus:
    """Open the release of a version, gate it, and take the first step of the release machine.

    After a kill the same call goes on; a release that is past its gate is returned as it is.

    Args:
        which: semantic version or alias.
        again: start over when the release of this version has ended.

    Raises:
        UnknownVersion: the registry has no such version.
        OutOfUse: a person retired or archived it.
        NotSigned: the files of the version are not those that were signed under its digest.
        PoolUnavailable: the canary pool did not load it in time.
    """
    record = find_version(spec.name, which, ports.registry)
    refuse_out_of_use(
        record.ref, ports.ledger, hint=f"release another one: perennial models show {spec.name}"
    )
    finish_promotions(spec.name, ports, clock, sleep)
    champion = live_champion(spec.name, ports)
    status = open_release(
        spec, record, champion.ref if champion else None, ports, clock(), actor, again=again
    )
    if status.phase is Phase.PENDING:
        report = _measure(spec, record, champion, ports, clock, sleep)
        if champion is not None:
            earlier = ports.releases.latest(spec.name)
            warnings = gate_warnings(
                spec.name, spec.release, ports.predictions, ports.feedback, clock(), earlier
            )
            report = report.model_copy(update={"warnings": warnings})
        # An answer to an earlier gate must not approve this one: the tag starts anew.
        tags = {**report.tags(), approval.TAG: approval.WAITING, "release": status.release_id}
        ports.labels.tag(spec.name, record.ref.key, tags)
        status = _gated(status, report, ports, clock())
    if status.phase is Phase.GATED:
        status = reconcile(status.release_id, ports, clock())
    return status


def live_champion(model: str, ports: ReleasePorts) -> VersionRecord | None:
    """Return the version with the traffic, by the live route; None when the model has no route.

    Raises:
        UnknownVersion: the route names a version that neither the registry nor a release has.
    """
    route = ports.router.route(model)
    if route is None:
        return None
    record = ports.registry.find(model, route.stable.version)
    if record is None or record.ref.digest != route.stable.digest:
        status = ports.releases.load(route.stable.release_id)
        if status is not None and status.candidate.digest == route.stable.digest:
            # Deleted in the registry: its own release still tells what it is, and without tags the risk is high.
            return VersionRecord(ref=status.candidate, run_id="", created=status.started_at)
        raise UnknownVersion(
            f"the live route of {model} names {route.stable.version} ({route.stable.digest[:12]}), "
            "which the registry does not have",
            hint="restore the registry, or register that version again",
        )
    return record


def finish_promotions(model: str, ports: ReleasePorts, clock: Clock, sleep: Sleep) -> None:
    """Bring releases in PROMOTING to their end, so that the new release is compared with their champion.

    Raises:
        ReleaseError: a promotion does not end in time.
    """
    deadline = clock() + LOAD_WITHIN
    for promoting in ports.releases.active(model):
        status = promoting
        while status.phase is Phase.PROMOTING:
            if clock() > deadline:
                raise ReleaseError(
                    f"release {status.release_id} of {status.candidate.version} is being promoted: {status.note}",
                    hint="start again when it has ended, or abort it",
                )
            status = reconcile(status.release_id, ports, clock())
            sleep(0.5)


def _measure(
    spec: ModelSpec,
    record: VersionRecord,
    champion: VersionRecord | None,
    ports: ReleasePorts,
    clock: Clock,
    sleep: Sleep,
) -> GateReport:
    ref = record.ref
    files = served_files(ref, ports)
    # Sealed before anything is measured: the report must not cover files that change meanwhile.
    before = current_seal(ref, ports)
    manifest = load_verified(files, ref.model, ref.digest, ports.trusted, (SEAL_FILE,)).manifest
    write_seal(ref, manifest, files, ports.published)
    again = ports.ledger.rows(spec.name, kinds=(Event.VERSION_REPRODUCED,))
    reproduced = (
        reproduction.unmeasurable(spec.gate.reproduction)
        if is_imported(record.tags)
        # A variant or a recalibration is as reproducible as the training that it comes from.
        else reproduction.judge(spec.gate.reproduction, trained_digest(record), again)
    )
    judgements = ports.checks(spec, files)
    # What failed a check is rejected anyway: no server that answers clients loads it.
    sound = all(judgement.verdict is not Verdict.FAIL for judgement in judgements)
    latencies = _latencies(ref, manifest, files, ports, clock, sleep) if sound else []
    checks = (reproduced, *ports.terms(spec, record), *judgements)
    afresh = ports.afresh(spec, record, champion) if champion and gate.is_stale(record, champion) else None
    report = gate.judge(spec.gate, record, champion, latencies, checks, afresh)
    return report.model_copy(update={"seal": before})


def _latencies(
    ref: VersionRef, manifest: ServedManifest, files: Path, ports: ReleasePorts, clock: Clock, sleep: Sleep
) -> list[float]:
    """Load the version into the canary pool and return the latencies of single requests, in milliseconds."""
    ports.pool.ensure(PoolName.CANARY, ref, files)
    _wait_loaded(ref, ports, clock, sleep)
    body = payload(manifest)
    ports.pool.measure(PoolName.CANARY, ref.model, ref.digest, body, WARM_UP)
    return ports.pool.measure(PoolName.CANARY, ref.model, ref.digest, body, REQUESTS)


def payload(manifest: ServedManifest) -> dict[str, Any]:
    """Return a request of the Open Inference Protocol with `ROWS` rows of zeros, to measure latency."""
    width = len(manifest.features)
    tensor = {
        "name": manifest.input,
        "datatype": "FP32",
        "shape": [ROWS, width],
        "data": [0.0] * (ROWS * width),
    }
    return {"inputs": [tensor]}


def _wait_loaded(ref: VersionRef, ports: ReleasePorts, clock: Clock, sleep: Sleep) -> None:
    deadline = clock() + LOAD_WITHIN
    while not (readiness := ports.pool.readiness(PoolName.CANARY, ref.model, ref.digest)).complete:
        if readiness.errors:
            raise ModelFileError(
                f"the canary pool cannot load {ref}: {'; '.join(readiness.errors)}",
                hint="train and register it again",
            )
        if clock() > deadline:
            raise PoolUnavailable(
                f"{readiness.ready} of {readiness.total} canary servers loaded {ref} in {LOAD_WITHIN.seconds} s "
                f"({readiness.reachable} answer)",
                hint="perennial local status",
            )
        sleep(0.2)


def _gated(status: ReleaseStatus, report: GateReport, ports: ReleasePorts, now: datetime) -> ReleaseStatus:
    entry = Entry(
        at=now,
        actor=SystemActor.GATE,
        kind=Event.RELEASE_GATED,
        model=status.model,
        release_id=status.release_id,
        digest=report.digest,
        payload={
            "version": status.candidate.version,
            "verdict": report.verdict.value,
            "risk": report.risk.value,
            "risk_reasons": list(report.risk_reasons),
            "seal": report.seal,
            "warnings": list(report.warnings),
            "rules": [rule.model_dump(mode="json") for rule in report.rules],
        },
    )
    note = "passed the gate" if report.passed else "; ".join(report.failures)
    changes = {"phase": Phase.GATED, "gate": report, "entered_at": now, "note": note}
    return ports.releases.save(status.model_copy(update=changes), status.revision, [entry])
