"""The model card of a version, generated from its record.

The sections are those of M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Where the record has no
value, the card says "not stated".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from perennial.core.events import Event, LedgerRow
from perennial.core.governance.card_figures import CardEvidence, attributions, quantitative
from perennial.core.governance.document import Document, Section, Table
from perennial.core.governance.timeline import VersionTimeline
from perennial.core.payloads import GateFact, VersionFact
from perennial.core.recalibration.attempt import RECALIBRATION_OF
from perennial.core.spec import ModelSpec
from perennial.core.training.imported import FILE_TAG, NOT_KNOWN, TRAINED_TAG, is_imported
from perennial.core.training.registration import REQUESTED_BY, VersionRecord
from perennial.core.training.variants import VARIANT_OF, VARIANT_RECIPE


def make_card(
    spec: ModelSpec,
    record: VersionRecord,
    evidence: CardEvidence,
    timeline: VersionTimeline | None,
    rows: Sequence[LedgerRow],
    now: datetime,
) -> Document:
    """Return the card of a version.

    Args:
        spec: the model's spec of today; the card says so when the version was trained under another.
        record: tags and metrics of the version and its run.
        evidence: evaluation of the run; the named pictures lie beside the card.
        timeline: events of the version; None when the ledger does not know it.
        rows: ledger rows about the version's digest, in order.
    """
    return Document(
        title=f"Model card: {record.ref.model} {record.ref.version}",
        sections=(
            _details(spec, record, now),
            Section(
                title="Intended use", text=(spec.description, f"Task: {spec.task.kind}. Owner: {spec.owner}.")
            ),
            _factors(spec, record),
            _metrics(spec),
            _evaluation_data(spec, record),
            _training_data(record),
            quantitative(record, evidence, tuple(spec.task.metrics)),
            attributions(evidence, spec.task.explained),
            _ethics(spec, rows),
            _caveats(spec, record, rows),
            _governance(timeline, rows),
        ),
    )


def _details(spec: ModelSpec, record: VersionRecord, now: datetime) -> Section:
    tags = record.tags
    facts = {
        "version": record.ref.version,
        "digest (SHA-256 of the signed list of its files)": record.ref.digest,
        "capsule": record.ref.capsule,
        "registered": f"{record.created:%Y-%m-%d %H:%M UTC}",
        "lifecycle": tags.get("lifecycle"),
        "architecture": tags.get("architecture"),
        "framework": tags.get("framework"),
        "parameters": tags.get("model.parameters"),
        "size in bytes": tags.get("model.bytes"),
        "input": tags.get("model.input"),
        "output": tags.get("model.output"),
        "code": tags.get("code"),
        "run": record.run_id,
        **_origin(tags),
        "card made": f"{now:%Y-%m-%d %H:%M UTC}",
    }
    since = "this import" if is_imported(tags) else "this training"
    text = () if tags.get("spec") in (None, spec.digest) else (f"The spec has changed since {since}.",)
    return Section(title="Model details", text=text, tables=(_facts(facts),))


def _origin(tags: Mapping[str, str]) -> dict[str, str]:
    """Return why a version was trained, or where it comes from."""
    if is_imported(tags):
        return {"imported; trained": tags.get(TRAINED_TAG, NOT_KNOWN), "imported by": tags.get(REQUESTED_BY, NOT_KNOWN),
                "imported file (SHA-256)": tags[FILE_TAG]}  # fmt: skip
    if RECALIBRATION_OF in tags:
        return {
            "recalibrated": tags.get("reason.text", NOT_KNOWN),
            "made of the digest": tags[RECALIBRATION_OF],
        }
    if VARIANT_OF in tags:
        return {"variant": tags.get(VARIANT_RECIPE, NOT_KNOWN), "made of the digest": tags[VARIANT_OF]}
    return {"trained because": " ".join(filter(None, (tags.get("reason"), tags.get("reason.text"))))}


def _factors(spec: ModelSpec, record: VersionRecord) -> Section:
    text = [f"Reported apart by: {', '.join(spec.evaluation.slices) or 'nothing'}."]
    worst = record.metrics.get("slice.worst_delta")
    if worst is not None:
        text.append(
            f"Worst gain over the champion on any slice: {worst:+.4f} ({spec.gate.improvement.metric})."
        )
    return Section(title="Factors", text=tuple(text))


def _metrics(spec: ModelSpec) -> Section:
    bounds = {name: " and ".join(_sides(bound.min, bound.max)) for name, bound in spec.gate.metrics.items()}
    improvement = spec.gate.improvement
    text = (
        f"Measured: {', '.join(spec.task.metrics)}, with 95 % intervals over whole {spec.evaluation.group}s "
        f"({spec.evaluation.bootstrap} resamples).",
        f"Needed at the gate: {'; '.join(f'{name} {bound}' for name, bound in bounds.items())}; "
        f"{improvement.metric} at least {improvement.min_delta:+g} of the champion's.",
        spec.task.rule(spec.target.column),
    )
    return Section(title="Metrics", text=text)


def _evaluation_data(spec: ModelSpec, record: VersionRecord) -> Section:
    metrics = record.metrics
    if "holdout.rows" not in metrics:
        return Section(title="Evaluation data")
    if is_imported(record.tags):
        rows, groups = metrics["holdout.rows"], metrics.get("holdout.groups", 0)
        given = (
            f"{rows:.0f} rows of {groups:.0f} {spec.evaluation.group}s that its importer gave as a holdout."
        )
        return Section(title="Evaluation data", text=(f"{given} Whether it learnt from them is not known.",))
    never_learnt = "later than anything that was learnt from" if spec.data.in_time else "none was learnt from"
    text = (
        f"{metrics['holdout.rows']:.0f} rows of {metrics.get('holdout.groups', 0):.0f} {spec.evaluation.group}s, from "
        f"{record.tags.get('holdout_from', 'unknown')} on: {never_learnt}.",
    )
    return Section(title="Evaluation data", text=text)


def _training_data(record: VersionRecord) -> Section:
    if is_imported(record.tags):
        trained = record.tags.get(TRAINED_TAG, NOT_KNOWN)
        said = f"Imported; trained: {trained}, as its importer says. Its data, code and checks are not known here."
        return Section(title="Training data", text=(said,))
    names = ("data.source", "data.revision", "data_checks", "features_hash")
    return Section(title="Training data", tables=(_facts({name: record.tags.get(name) for name in names}),))


def _ethics(spec: ModelSpec, rows: Sequence[LedgerRow]) -> Section:
    columns = ", ".join(spec.data.sensitive)
    text = (
        f"Sensitive columns named by the spec: {columns}."
        if columns
        else "The spec names no sensitive column."
    )
    judged = [rule for rule in _rules(rows) if rule[0].startswith(("fair", "data_consent", "licence_data"))]
    table = (Table(header=("rule", "verdict", "observed", "needed"), rows=tuple(judged)),) if judged else ()
    return Section(title="Ethical considerations", text=(text,), tables=table)


def _caveats(spec: ModelSpec, record: VersionRecord, rows: Sequence[LedgerRow]) -> Section:
    text = [
        f"Not passed at the gate: {rule}: {observed}."
        for rule, verdict, observed, _ in _rules(rows)
        if verdict != "PASS"
    ]
    watch = spec.monitoring
    retrained = "a person gets a message" if spec.entrypoint is None else "retrained"
    text.append(
        f"Watched for drift, which alone is a warning: {', '.join(watch.columns)}. Its answers are watched by their "
        f"labels; {retrained} once a loss of more than {watch.accuracy_drop_percent.watch:g} % is found that is "
        f"estimated at {watch.accuracy_drop_percent.retrain:g} % or more."
    )
    if "simulat" in record.tags.get("data.source", "").lower():
        text.append("It was trained on simulated data: its figures say nothing of a real project.")
    return Section(title="Caveats and recommendations", text=tuple(text))


def _governance(timeline: VersionTimeline | None, rows: Sequence[LedgerRow]) -> Section:
    """Return who approved the version, by the ledger. This section is not in Mitchell et al."""
    if timeline is None:
        return Section(title="Record", text=("The ledger knows no release of this version.",))
    text = tuple(
        f"Approved by {row.entry.actor} ({VersionFact.read(row.entry).channel or ''}) "
        f"at {row.entry.at:%Y-%m-%d %H:%M UTC}, entry {row.seq}."
        for row in rows
        if row.entry.kind == Event.RELEASE_APPROVED
    )
    facts = tuple(
        (f"{event.at:%Y-%m-%d %H:%M}", event.what, event.actor, event.why) for event in timeline.events
    )
    gate = Table(header=("rule", "verdict", "observed", "needed"), rows=tuple(_rules(rows)))
    happened = Table(header=("when (UTC)", "what", "by", "why"), rows=facts)
    return Section(title="Record", text=text, tables=(gate, happened))


def _rules(rows: Sequence[LedgerRow]) -> list[tuple[str, str, str, str]]:
    """Return the rules of the last gate."""
    gated = [GateFact.read(row.entry).rules for row in rows if row.entry.kind == Event.RELEASE_GATED]
    return [
        (rule.rule, rule.verdict.value, rule.observed, rule.needed) for rule in (gated[-1] if gated else ())
    ]


def _sides(low: float | None, high: float | None) -> Iterable[str]:
    if low is not None:
        yield f"at least {low:g}"
    if high is not None:
        yield f"at most {high:g}"


def _facts(facts: Mapping[str, str | None]) -> Table:
    return Table(
        header=("fact", "value"), rows=tuple((name, value) for name, value in facts.items() if value)
    )
