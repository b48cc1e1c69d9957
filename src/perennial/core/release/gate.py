"""The gate: rules that a candidate must pass before people may approve it.

It reads the version as the registry has it. Metrics of the run, written by the evaluation:
`holdout.<metric>` (`.low`, `.high`), `champion.<metric>`, `delta.<metric>` (`.low`, `.high`; positive is
better for every metric), `parity.max_abs`, `parity.share`, `slice.worst_delta`. Tags of the version: `architecture`,
`features_hash`, `data_checks` (`passed`), `champion.digest`, `figures_hash` (over those metrics, as they were
registered). A variant has `variant.agreement` and `variant.gain` in place of `parity`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from perennial.core.evaluation.figures_hash import PARITY, PARITY_SHARE, TAG, figures_hash
from perennial.core.evaluation.variant_figures import judge_variant
from perennial.core.gate_spec import Bound, GateSpec
from perennial.core.release.afresh import Afresh
from perennial.core.release.approval import Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.statistics import quantile
from perennial.core.training.imported import is_imported
from perennial.core.training.registration import CHAMPION_DIGEST, VersionRecord
from perennial.core.training.variants import is_variant
from perennial.core.verdict import Judgement, Verdict

WORST_SLICE = "slice.worst_delta"


def judge(
    spec: GateSpec,
    candidate: VersionRecord,
    champion: VersionRecord | None,
    latencies_ms: Sequence[float],
    checks: Sequence[Judgement] = (),
    afresh: Afresh | None = None,
) -> GateReport:
    """Apply every rule of the gate.

    Args:
        champion: version with the traffic now; None for the first release of a model, which is of high risk:
            it is compared with no champion and gets all traffic at once.
        latencies_ms: latencies of requests sent straight to a server that holds the candidate, without load.
        checks: judgements of the files and their behaviour (`perennial.core.evaluation.checks`).
        afresh: figures beside this champion, where the registered ones are beside another (`is_stale`).
    """
    rules = [judge_metric(candidate.metrics, name, bound) for name, bound in spec.metrics.items()]
    rules += [
        _figures(candidate),
        *(judge_variant(spec, candidate) if is_variant(candidate.tags) else [_parity(spec, candidate)]),
        _latency(spec, latencies_ms),
        _data_checks(candidate),
        *checks,
    ]
    if champion is None:
        reasons = ["the first version of this model: there is no champion to compare with"]
    else:
        compared = _compared_afresh(candidate, champion, afresh)
        compared_rules = (_improvement(spec, compared, champion), _worst_slice(spec, compared, champion))
        rules += [_told_afresh(judgement, afresh) for judgement in compared_rules]
        reasons = list(_risks(spec, compared, champion))
    if is_imported(candidate.tags):
        reasons = ["imported: nothing here has seen its training", *reasons]
    unsure = [f"{judgement.rule} is unsure" for judgement in rules if judgement.verdict is Verdict.UNSURE]
    return GateReport(
        digest=candidate.ref.digest,
        rules=tuple(rules),
        risk=Risk.HIGH if reasons else Risk.MEDIUM if unsure else Risk.LOW,
        risk_reasons=(*reasons, *unsure),
    )


def is_stale(candidate: VersionRecord, champion: VersionRecord | None) -> bool:
    """Return whether the registered evaluation compares with another version than today's champion."""
    return (
        champion is not None
        and CHAMPION_DIGEST in candidate.tags
        and candidate.tags[CHAMPION_DIGEST] != champion.ref.digest
    )


def _compared_afresh(
    candidate: VersionRecord, champion: VersionRecord, afresh: Afresh | None
) -> VersionRecord:
    """Return the candidate with the figures that compare it with this champion."""
    if afresh is None or afresh.metrics is None:
        return candidate
    tags = {**candidate.tags, CHAMPION_DIGEST: champion.ref.digest}
    return candidate.model_copy(update={"metrics": afresh.metrics, "tags": tags})


def _told_afresh(judgement: Judgement, afresh: Afresh | None) -> Judgement:
    if afresh is None:
        return judgement
    return judgement.model_copy(update={"observed": f"{judgement.observed}; {afresh}"})


def _figures(record: VersionRecord) -> Judgement:
    """Judge whether the run's figures are still those of the registration."""
    needed = "the run shows the figures that were registered"
    registered = record.tags.get(TAG)
    if registered is None:
        return _missing("figures", f"tag {TAG}", needed)
    same = figures_hash(record.metrics) == registered
    return Judgement(
        rule="figures",
        verdict=Verdict.PASS if same else Verdict.FAIL,
        observed="unchanged" if same else "logged anew since: train again",
        needed=needed,
    )


def judge_metric(metrics: Mapping[str, float], name: str, bound: Bound) -> Judgement:
    """Judge a metric; a missed bound inside the interval is not proven to be missed: UNSURE, a person decides.

    Args:
        metrics: of the run, by the names above.
    """
    sides = [
        f">= {bound.min:g}" if bound.min is not None else "",
        f"<= {bound.max:g}" if bound.max is not None else "",
    ]
    needed = " and ".join(side for side in sides if side)
    value = metrics.get(f"holdout.{name}")
    if value is None:
        return _missing(name, f"metric holdout.{name}", needed)
    least = metrics.get(f"holdout.{name}.low", value)
    most = metrics.get(f"holdout.{name}.high", value)
    if _single_group(metrics):
        verdict = Verdict.UNSURE
    elif _within(bound, value, value):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.UNSURE if _within(bound, least, most) else Verdict.FAIL
    return Judgement(
        rule=name,
        verdict=verdict,
        observed=f"{value:.4f}{_interval(metrics, f'holdout.{name}')}",
        needed=needed,
    )


def _within(bound: Bound, least: float, most: float) -> bool:
    """Return whether any value from `least` to `most` is inside the bound."""
    return (bound.min is None or most >= bound.min) and (bound.max is None or least <= bound.max)


def _compared_with_another(record: VersionRecord, champion: VersionRecord) -> str:
    """Return why the comparison is not with this champion; empty when it is.

    The figures compare with the champion at the evaluation; a release or a rollback may have changed it since.
    """
    if CHAMPION_DIGEST not in record.tags:
        return f"the version has no tag {CHAMPION_DIGEST}: train again"
    against = record.tags[CHAMPION_DIGEST]
    if against == champion.ref.digest:
        return ""
    return f"evaluated against {against[:12]}, champion is {champion.ref.digest[:12]}: train again"


def _improvement(spec: GateSpec, record: VersionRecord, champion: VersionRecord) -> Judgement:
    """Judge the improvement; a drop that the interval does not prove is UNSURE, for a person to decide."""
    name = f"delta.{spec.improvement.metric}"
    needed = f"{spec.improvement.metric} minus the champion's >= {spec.improvement.min_delta:g}"
    if stale := _compared_with_another(record, champion):
        return Judgement(rule="improvement", verdict=Verdict.ERROR, observed=stale, needed=needed)
    delta, high = record.metrics.get(name), record.metrics.get(f"{name}.high")
    single = _single_group(record.metrics)
    if delta is None or (high is None and not single):
        return _missing("improvement", f"metrics {name} and {name}.high", needed)
    if high is None:
        verdict = Verdict.UNSURE
    elif delta >= spec.improvement.min_delta:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if high < spec.improvement.min_delta else Verdict.UNSURE
    observed = f"{delta:+.4f}{_interval(record.metrics, name)}"
    return Judgement(rule="improvement", verdict=verdict, observed=observed, needed=needed)


def _worst_slice(spec: GateSpec, record: VersionRecord, champion: VersionRecord) -> Judgement:
    """Judge the worst slice; it has few rows, so a drop is no proof: UNSURE, and the risk is high."""
    needed = f"{spec.improvement.metric} minus the champion's >= {-spec.slice_drop:g} on every slice"
    if stale := _compared_with_another(record, champion):
        return Judgement(rule="worst_slice", verdict=Verdict.ERROR, observed=stale, needed=needed)
    delta = record.metrics.get(WORST_SLICE)
    if delta is None:
        observed = "no slice has enough rows of both verdicts"
        return Judgement(rule="worst_slice", verdict=Verdict.PASS, observed=observed, needed=needed)
    verdict = Verdict.UNSURE if delta < -spec.slice_drop else Verdict.PASS
    return Judgement(rule="worst_slice", verdict=verdict, observed=f"{delta:+.4f}", needed=needed)


def _parity(spec: GateSpec, record: VersionRecord) -> Judgement:
    needed = f"exported and trained model differ by <= {spec.parity}"
    name = PARITY if spec.parity.is_absolute else PARITY_SHARE
    value = record.metrics.get(name)
    if value is None:
        return _missing("parity", f"metric {name}", needed)
    if spec.parity.is_absolute:
        met, observed = value <= spec.parity.absolute, f"{value:.2e}"
    else:
        met, observed = value <= spec.parity.share, f"{value:.2%} of the rows differ by more"
    return Judgement(
        rule="parity", verdict=Verdict.PASS if met else Verdict.FAIL, observed=observed, needed=needed
    )


def _latency(spec: GateSpec, latencies_ms: Sequence[float]) -> Judgement:
    needed = f"p95 <= {spec.latency_p95_ms:g} ms"
    if not latencies_ms:
        return _missing("latency", "a single timed request", needed)
    p95 = quantile(list(latencies_ms), 0.95)
    return Judgement(
        rule="latency",
        verdict=Verdict.PASS if p95 <= spec.latency_p95_ms else Verdict.FAIL,
        observed=f"p95 {p95:.1f} ms of {len(latencies_ms)} requests",
        needed=needed,
    )


def _data_checks(record: VersionRecord) -> Judgement:
    if is_imported(record.tags):
        observed = "imported: the data that it learnt from was never here to be checked"
        return Judgement(rule="data_checks", verdict=Verdict.UNSURE, observed=observed, needed="passed")
    value = record.tags.get("data_checks")
    if value is None:
        return _missing("data_checks", "tag data_checks", "passed")
    verdict = Verdict.PASS if value == "passed" else Verdict.FAIL
    return Judgement(rule="data_checks", verdict=verdict, observed=value, needed="passed")


def _risks(spec: GateSpec, candidate: VersionRecord, champion: VersionRecord) -> Iterator[str]:
    for tag, what in (("architecture", "architecture"), ("features_hash", "features")):
        if tag not in candidate.tags:
            yield f"the version does not say its {what}"
        elif candidate.tags[tag] != champion.tags.get(tag):
            yield f"new {what}"
    drop = candidate.metrics.get(WORST_SLICE)
    if drop is not None and drop < -spec.slice_drop:
        yield f"{spec.improvement.metric} drops by {-drop:.3f} on a slice (more than {spec.slice_drop:g})"


def _missing(rule: str, what: str, needed: str) -> Judgement:
    return Judgement(rule=rule, verdict=Verdict.ERROR, observed=f"the version has no {what}", needed=needed)


def _single_group(metrics: Mapping[str, float]) -> bool:
    """Return whether the holdout has a single group, so that nothing is known of how groups differ."""
    return metrics.get("holdout.groups") == 1


def _interval(metrics: Mapping[str, float], name: str) -> str:
    if _single_group(metrics):
        return " [unknown: a single group]"
    low, high = metrics.get(f"{name}.low"), metrics.get(f"{name}.high")
    return "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"
