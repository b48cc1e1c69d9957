"""Score the rows of a file or query with a registered version, in parts, so that a killed run can go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.batch.plan import BatchCounts, BatchPlan, BatchReport, check_names
from perennial.core.batch.scoring import score_rows
from perennial.core.events import Entry, Event
from perennial.core.feature_spec import FeatureSpec
from perennial.core.input_spec import InputKind, InputSpec, in_order
from perennial.core.training.registration import VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import ChecksumMismatch, DatasetMissing, UsageError, VersionFailed
from perennial.flows.batch.features import JoinedRows, OpenJoin
from perennial.flows.versions import find_version
from perennial.ports import Ledger, Registry
from perennial.ports.batch import BatchChunk, BatchParts, BatchRows, BatchWorkers, FeatureJoin

if TYPE_CHECKING:
    from perennial.serving.manifest import ServedManifest
    from perennial.serving.session import LoadedVersion

MILLION = 1_000_000


@dataclass(frozen=True)
class BatchPorts:
    registry: Registry
    opener: Callable[[VersionRef], Callable[[], LoadedVersion]]
    """Fetches, verifies and tries a version; returns a function that opens it, also in another process."""
    rows: Callable[[Mapping[str, InputKind], str], BatchRows]
    """Types of the inputs, and the source in words -> the rows of the input."""
    parts: BatchParts
    workers: BatchWorkers
    ledger: Ledger
    join: OpenJoin | None = None
    """Opens the features of a version; None: nobody said which values of the feature store count."""


@dataclass(frozen=True)
class BatchRequest:
    model: str
    which: str
    """Semantic version or alias."""
    source: str
    """File, or the query with its connection, in words."""
    part_rows: int


def score_batch(
    request: BatchRequest,
    ports: BatchPorts,
    actor: str,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
) -> BatchReport:
    """Score every row, and set those apart that a request with them would be refused for.

    The parts of a killed run with the same plan are taken over. The ledger gets the counts; the prediction log does
    not get the rows.

    Raises:
        UnknownVersion: the registry has no such version.
        NotSigned, ModelFileError: its files are not sound.
        UsageError: it cannot be asked in batches, or the result is there.
        DatasetMissing, MalformedInput: the input is missing or empty, or lacks a column.
        ChecksumMismatch: the input has changed since the batch began.
        VersionFailed: the version has no answer for a plausible row.
    """
    record = find_version(request.model, request.which, ports.registry)
    opener = ports.opener(record.ref)
    version = opener()
    inputs = batch_inputs(version.manifest)
    join = feature_join(version.manifest, ports.join)
    types = {name: spec.type for name, spec in inputs.items()} if join is None else join.asked
    with ports.parts.working():
        rows = ports.rows(types, request.source)
        if join is not None:
            rows = JoinedRows(rows, join)
        check_names(rows.copied, version.manifest.task.columns(_example(version.manifest)))
        plan = _plan(request, record, rows, "" if join is None else join.words)
        done = dict(ports.parts.begin(plan))
        if done:
            say(f"goes on after {BatchCounts.total(done.values()).read:,} rows of an earlier run")
        counts = _score(plan, inputs, opener, done, rows, ports, say)
        if rows.revision() != plan.revision:
            raise ChecksumMismatch(
                f"{request.source} has changed while it was scored",
                hint="the parts are of no use: remove them, and give the command again",
            )
        out, rejected_to = ports.parts.finish()
        report = BatchReport(
            **plan.model_dump(exclude={"copied", "part_rows"}),
            read=counts.read,
            scored=counts.scored,
            rejected=counts.rejected,
            out=out,
            rejected_to=rejected_to,
            resumed_parts=len(done),
        )
        ports.ledger.append(
            Entry(
                at=clock(),
                actor=actor,
                kind=Event.BATCH_SCORED,
                model=request.model,
                digest=record.ref.digest,
                payload=report.model_dump(mode="json"),
            )
        )
        ports.parts.clear()
    return report


def batch_inputs(manifest: ServedManifest) -> dict[str, InputSpec]:
    """Return the inputs of the model with their types; plain numbers where the manifest has no types.

    Raises:
        UsageError: a row becomes several.
    """
    if manifest.task.windows is not None:
        raise UsageError(
            f"{manifest.model} forecasts several steps from a row, which a batch does not",
            hint=f"ask the endpoint: POST /v1/models/{manifest.model}/predict",
        )
    number = InputSpec(type=InputKind.FLOAT, missing="allow")
    owner = {column: name for name, given in manifest.inputs.items() for column in given.columns(name)}
    names = dict.fromkeys(owner.get(feature, feature) for feature in manifest.features)
    return {name: manifest.inputs.get(name, number) for name in names}


def feature_join(manifest: ServedManifest, join: OpenJoin | None) -> FeatureJoin | None:
    """Return what joins the features of a version; None for one whose inputs are columns.

    Raises:
        UsageError: nobody said which values count, the model has none in the feature store, or its version is older
            than the names of their views.
    """
    if manifest.feature_service is None:
        if join is not None:
            raise UsageError(
                f"{manifest.model} reads no features from the feature store: its inputs are columns",
                hint="leave out --newest and --as-of",
            )
        return None
    if join is None:
        raise UsageError(
            f"{manifest.model} reads features from the feature store: say which values count",
            hint="--newest: those that a request now gets; --as-of COLUMN: those known at the time in that column",
        )
    if not manifest.columns:
        raise UsageError(
            f"{manifest.model}: the version does not say where its features come from: it is older than that",
            hint="train again, or ask by entity: POST /v1/models/MODEL/predict",
        )
    return join(
        FeatureSpec.model_construct(
            source="store",
            service=manifest.feature_service,
            entities=manifest.entities,
            columns=manifest.columns,
            request=manifest.request,
            inputs=in_order(manifest.inputs, manifest.features),
        )
    )


@dataclass(frozen=True)
class ScoreParts:
    """Opens the version once in a process; the result scores a chunk and writes its part."""

    opener: Callable[[], LoadedVersion]
    inputs: Mapping[str, InputSpec]
    parts: BatchParts

    def __call__(self) -> Callable[[BatchChunk], BatchCounts]:
        version = self.opener()

        def work(chunk: BatchChunk) -> BatchCounts:
            try:
                scored = score_rows(
                    self.inputs,
                    version.manifest.task,
                    version.score,
                    chunk.columns(),
                    len(chunk),
                    chunk.refused,
                )
            except VersionFailed as error:
                last = chunk.first_row + len(chunk) - 1
                raise VersionFailed(
                    f"{version.wanted.model} {version.wanted.version}, rows {chunk.first_row} to {last}: "
                    f"{error.message}",
                    hint=error.hint,
                ) from error
            return self.parts.write(chunk, scored, version.wanted.version)

        return work


def _plan(request: BatchRequest, record: VersionRecord, rows: BatchRows, features: str) -> BatchPlan:
    return BatchPlan(
        model=request.model,
        version=record.ref.version,
        digest=record.ref.digest,
        source=request.source,
        revision=rows.revision(),
        copied=rows.copied,
        features=features,
        part_rows=request.part_rows,
    )


def _score(
    plan: BatchPlan,
    inputs: Mapping[str, InputSpec],
    opener: Callable[[], LoadedVersion],
    done: Mapping[int, BatchCounts],
    rows: BatchRows,
    ports: BatchPorts,
    say: Callable[[str], None],
) -> BatchCounts:
    """Score what is not done; says each tenth of the rows, or each million where their number is not known."""
    whole = rows.count()
    step = max(1, whole // 10) if whole else MILLION
    counts = BatchCounts.total(done.values())
    said = counts.read // step
    chunks = rows.chunks(plan.part_rows, done.keys())
    for part in ports.workers.each(ScoreParts(opener, inputs, ports.parts), chunks):
        counts = BatchCounts.total((counts, part))
        if counts.read // step > said:
            said = counts.read // step
            say(f"{counts.read:,}{f' of {whole:,}' if whole else ''} rows, {counts.rejected:,} rejected")
    if not counts.read:
        ports.parts.clear()
        raise DatasetMissing(f"{plan.source} has no rows", hint="correct the query, or the file")
    if whole is not None and counts.read != whole:
        raise ChecksumMismatch(
            f"{plan.source} has {whole:,} rows, of which {counts.read:,} were read",
            hint="it has changed meanwhile: give the command again",
        )
    return counts


def _example(manifest: ServedManifest) -> np.ndarray:
    width = manifest.task.width()
    return np.zeros((1,) if width is None else (1, width), dtype=np.float32)
