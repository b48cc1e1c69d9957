"""Contents of the bill of materials (ML-BOM) of a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import Field

from perennial.core.evaluation.evaluation import MODEL, Evaluation
from perennial.core.frozen import Frozen
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Capsule
from perennial.core.training.imported import is_imported
from perennial.core.training.registration import VersionRecord


class Package(Frozen):
    """An installed direct dependency of the project."""

    name: str
    version: str
    licence: str | None = Field(None, description="as the package states it; None if it states nothing")


class Measure(Frozen):
    """One metric on the evaluation data."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    part: str | None = Field(None, description="slice, as column=value; None for all rows")


class Bom(Frozen):
    """Contents of the ML-BOM, independent of its file format."""

    model: str
    version: str
    digest: str
    capsule: Capsule
    spec: ModelSpec
    tags: dict[str, str]
    files: dict[str, str] = Field(description="file of the version -> SHA-256 (hex)")
    packages: tuple[Package, ...]
    measures: tuple[Measure, ...]
    made: datetime


def make_bom(
    spec: ModelSpec,
    record: VersionRecord,
    capsule: Capsule,
    files: Mapping[str, str],
    packages: Sequence[Package],
    evaluation: Evaluation | None,
    now: datetime,
) -> Bom:
    """Return the contents of the ML-BOM.

    Args:
        files: file of the version -> SHA-256 (hex).
        packages: packages installed where the version was trained.
    """
    return Bom(
        model=record.ref.model,
        version=record.ref.version,
        digest=record.ref.digest,
        capsule=capsule,
        spec=spec,
        tags=record.tags,
        files=dict(sorted(files.items())),
        # What was installed where an imported version was trained is not known.
        packages=()
        if is_imported(record.tags)
        else tuple(sorted(packages, key=lambda package: package.name.lower())),
        measures=tuple(_measures(evaluation)) if evaluation is not None else (),
        made=now,
    )


def _measures(evaluation: Evaluation) -> Iterator[Measure]:
    for metric, figure in evaluation.scores[MODEL].items():
        yield Measure(metric=metric, value=figure.value, low=figure.low, high=figure.high)
    for part in evaluation.slices:
        for metric, value in part.scores[MODEL].items():
            yield Measure(metric=metric, value=value, part=f"{part.column}={part.value}")
