"""Check a candidate before it gets traffic: scan its files, then test the behaviour of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation import checks, fairness
from perennial.core.evaluation.checks import Case
from perennial.core.evaluation.fairness import Answers, Gap
from perennial.core.gate_spec import GroupMeasure
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.training.artifacts import ModelManifest
from perennial.core.verdict import Judgement, Verdict
from perennial.errors import DatasetMissing, MalformedInput, ModelFileError, ShapeError, WrongAnswer
from perennial.flows.training.package import RIGHT
from perennial.flows.training.workdir import read_record, read_table
from perennial.ports import GroupFigures, Scorer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CheckPorts:
    scorer: Scorer
    scan: Callable[[Path], tuple[list[str], int]]
    """Returns the problems of the files in a folder, and the number of files."""
    cases: Sequence[Case]
    """Behavioural tests of the spec."""
    group_figures: GroupFigures


def check(spec: ModelSpec, files: Path, ports: CheckPorts) -> tuple[Judgement, ...]:
    """Apply every check; the same files give the same result, since all randomness uses the seed of the spec.

    A malformed or unsafe file is never opened: the result is then the scan only.

    Raises:
        MalformedInput: the manifest is malformed.
    """
    scanned = checks.judge_files(*ports.scan(files))
    if scanned.verdict is not Verdict.PASS:
        return (scanned,)
    manifest = read_record(files / "manifest.json", ModelManifest, "train")
    behaves = _behaviour(manifest, files, ports) if ports.cases else ()
    reference = files / manifest.reference
    try:
        rows = read_table(reference, "train")
    except (DatasetMissing, MalformedInput) as error:
        needed = "the reference rows of the version"
        return (scanned, *behaves, checks.unmeasured("robustness", error.message, needed))
    return (scanned, *behaves, *_on_rows(spec, manifest, files, rows, ports))


def _behaviour(manifest: ModelManifest, files: Path, ports: CheckPorts) -> tuple[Judgement, ...]:
    rows = np.concatenate([case.rows(manifest.features) for case in ports.cases])
    try:
        scores = ports.scorer.score(files, rows)
        manifest.task.wrong_rows(scores, len(rows))  # refuses another shape
    except (ModelFileError, ShapeError, WrongAnswer) as error:
        return (checks.failed("behaviour", error.message, "every case can be scored"),)
    return (checks.judge_behaviour(ports.cases, scores.reshape(-1, 2)),)


def _on_rows(
    spec: ModelSpec, manifest: ModelManifest, files: Path, rows: pd.DataFrame, ports: CheckPorts
) -> Iterator[Judgement]:
    features = rows[list(manifest.features)].to_numpy(dtype=np.float32)
    hostile = checks.hostile_rows(typical(features))
    try:
        yield checks.judge_safety(
            manifest.task, manifest.features, hostile, ports.scorer.score(files, hostile)
        )
        scale = manifest.task.scale(_labels(manifest, rows))
        yield from _robustness(spec, manifest.task, files, features, scale, ports.scorer)
    except (ModelFileError, ShapeError, WrongAnswer) as error:
        yield checks.failed("safety", error.message, checks.safe(manifest.task))
        return
    yield from _fairness(spec, manifest, rows, ports)


def typical(features: np.ndarray) -> np.ndarray:
    """Return the median of the known values of each feature, [features]; NaN without known values."""
    known = [column[np.isfinite(column)] for column in features.T]
    return np.array([np.median(values) if len(values) else np.nan for values in known], dtype=np.float32)


def _labels(manifest: ModelManifest, rows: pd.DataFrame) -> np.ndarray:
    return manifest.task.targets(rows[manifest.target].to_numpy(), manifest.target)


def _robustness(
    spec: ModelSpec, task: Task, files: Path, features: np.ndarray, scale: float, scorer: Scorer
) -> Iterator[Judgement]:
    policy, random = spec.gate.checks, np.random.default_rng(spec.tuning.seed)
    before = scorer.score(files, features)
    for rule, disturbed, limit in (
        ("noise", checks.noisy(features, policy.noise, random), policy.noise_change),
        ("missing_values", checks.with_holes(features, policy.missing, random), policy.missing_change),
    ):
        change = task.change(before, scorer.score(files, disturbed), scale)
        yield checks.judge_change(rule, change, limit, task.output)


def _fairness(
    spec: ModelSpec, manifest: ModelManifest, rows: pd.DataFrame, ports: CheckPorts
) -> Iterator[Judgement]:
    scores, task = rows["score"].to_numpy(), manifest.task
    # Reference rows of format 1, a ranking, have no column of decisions.
    decisions = rows["decision"].to_numpy() if "decision" in rows else task.decisions(scores)
    if task.answer_tells_right and RIGHT in rows:
        target, answer = np.ones(len(rows), dtype=bool), rows[RIGHT].to_numpy() > 0
    else:
        target, answer = task.sides(scores, decisions, _labels(manifest, rows))
    for column in dict.fromkeys([*spec.data.sensitive, *spec.evaluation.slices]):
        if column not in rows:
            needed = f"column {column} of the reference rows"
            yield checks.unmeasured(f"fairness_{column}", "the column is missing: train again", needed)
            continue
        answers = Answers(
            target=target,
            answer=answer,
            group=rows[spec.evaluation.group].to_numpy(),
            values=rows[column].astype(str).to_numpy(),
        )
        sensitive = column in spec.data.sensitive
        judged = [
            _compared(spec, answers, measure, limit, sensitive, ports)
            for measure, limit in fairness.limits(spec.gate.fairness)
        ]
        yield fairness.together(column, judged)


def _compared(
    spec: ModelSpec, answers: Answers, measure: GroupMeasure, limit: float, sensitive: bool, ports: CheckPorts
) -> Judgement:
    """Judge a measure between the groups of a column that are large enough."""
    compared = compared_groups(spec, answers, measure, ports.group_figures)
    if compared is None:
        return fairness.too_few(answers, measure, limit, sensitive)
    return fairness.judge_gap(measure, *compared, limit, sensitive)


def compared_groups(
    spec: ModelSpec, answers: Answers, measure: GroupMeasure, group_figures: GroupFigures
) -> tuple[dict[str, float], Gap] | None:
    """Return a measure by group, and its gap, of the groups that are large enough; None for fewer than two."""
    names = fairness.comparable(
        answers, measure, spec.evaluation.slice_min_rows, spec.gate.fairness.min_groups
    )
    if len(names) < 2:
        return None
    large = answers.where(np.isin(answers.values, names))
    figures = group_figures(large, measure)
    random = np.random.default_rng(spec.tuning.seed)
    return figures, fairness.gap(large, measure, figures, spec.evaluation.bootstrap, random)
