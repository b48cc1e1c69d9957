"""Evaluate the last training on its holdout against the champion, the baselines and the reference models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation.evaluation import CHAMPION, MODEL, Evaluation, evaluate_scores
from perennial.core.explanation_spec import ExplanationSpec
from perennial.core.input_spec import by_name
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Scored, Task
from perennial.core.tasks.ranked_scores import CurvedScores
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.attribution import GlobalAttributions, check_complete
from perennial.core.training.examples import Examples
from perennial.core.training.explanation import Background
from perennial.core.training.imported import is_imported
from perennial.core.training.registration import VersionRecord
from perennial.errors import ModelFileError
from perennial.flows.training.package import version_features, version_task
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.revision import read_trained
from perennial.flows.training.workdir import Workdir, read_record, read_table, write_json
from perennial.ports import Explain, Features, Figures, Reference, Registry, Scorer, Tracker

if TYPE_CHECKING:
    import pandas as pd


KEPT = "evaluation"
"""Folder of the run with the pictures of an evaluation and these JSON files."""
EVALUATION, ATTRIBUTIONS = "evaluation.json", "attributions.json"


@dataclass(frozen=True)
class EvaluatePorts:
    features: Features
    """Used only if the champion was trained on other features than the spec names now."""
    tracker: Tracker
    registry: Registry
    scorer: Scorer
    figures: Figures
    references: Callable[[Task], Mapping[str, Reference]]
    """Returns the reference models of a kind of task by name."""
    explain: Explain


def evaluate(spec: ModelSpec, work: Workdir, ports: EvaluatePorts, say: Callable[[str], None]) -> Evaluation:
    """Evaluate the trained model of `work` on the holdout groups.

    Metrics and pictures are stored with the training run and in `work`; a repetition gives the same figures.

    Raises:
        DatasetMissing: `train` has not run.
        ValidationFailed: the tables are not those of the revision that the training used.
        DataError: all holdout rows have the same target.
        WrongAnswer: an answer of the model is not one of its kind of task.
        TrackerUnavailable: the tracker is unavailable; `work` is unchanged.
    """
    trained = read_trained(spec, work)
    rows = read_table(work.features, "train")
    later = (rows[spec.evaluation.group] >= trained.holdout_from).to_numpy()
    examples = as_examples(spec, rows)
    train, holdout = examples.where(~later), examples.where(later)
    score_of = {MODEL: ports.scorer.score(work.model, holdout.features)}
    champion_task: Task | None = None
    champion = ports.registry.find(spec.name, CHAMPION)
    if champion is not None and champion.run_id != trained.run_id:
        if int(champion.tags.get("holdout_from", trained.holdout_from)) > trained.holdout_from:
            say(
                f"the champion {champion.ref.version} was trained on some of these rows: its figures are too good"
            )
        if is_imported(champion.tags):
            say(f"the champion {champion.ref.version} is imported: it may have learnt from these rows")
        score_of[CHAMPION], champion_task = _champion_scores(
            spec, champion, rows[later], holdout, work, ports
        )
    score_of |= baseline_scores(spec, train, holdout)
    score_of |= {
        name: learn(spec.task, train, holdout.features) for name, learn in ports.references(spec.task).items()
    }
    scores = as_scored(spec, holdout, score_of)
    for name, task in {MODEL: version_task(work.model), CHAMPION: champion_task}.items():
        if name in score_of and task is not None:
            scores[name] = _scored(task, holdout, score_of[name])
    slices = {column: rows[later][column].to_numpy() for column in spec.evaluation.slices}
    evaluation = evaluate_scores(
        trained.digest,
        scores,
        slices,
        spec.gate.improvement.metric,
        spec.evaluation.slice_min_rows,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )
    if champion is not None and CHAMPION in score_of:
        evaluation = evaluation.model_copy(update={"champion": champion.ref.digest})
    title = f"{spec.name}, {spec.evaluation.group} {evaluation.first_group} to {evaluation.last_group}"
    ports.figures.evaluation(work.plots, title, scores)
    if isinstance(model := scores[MODEL], CurvedScores):
        _curves(work.plots, model)
    if spec.explanation is not None:
        attributions = explain_model(
            spec.explanation, work.model, trained.digest, holdout.features, ports.scorer, ports.explain
        )
        ports.figures.attributions(work.plots, f"{spec.name}, model {evaluation.digest[:12]}", attributions)
        write_json(work.plots / ATTRIBUTIONS, attributions)
        top = ", ".join(name for name, _ in attributions.mean_absolute[:3])
        say(f"{attributions.rows} rows explained: {top} move the {spec.task.explained} most")
    write_json(work.plots / EVALUATION, evaluation)
    _log(ports.tracker, trained.run_id, evaluation, work)
    write_json(work.metrics, evaluation.flat())
    write_json(work.evaluation, evaluation)
    return evaluation


def baseline_scores(spec: ModelSpec, train: Examples, judged: Examples) -> dict[str, np.ndarray]:
    """Return the answers of the baselines of the kind of task, and of those that the spec names."""
    names = spec.features.names
    return spec.task.baselines(train.target, len(judged), train.features, judged.features) | {
        name: spec.task.from_feature(
            judged.features[:, names.index(column)].astype(float),
            train.features[:, names.index(column)].astype(float),
        )
        for name, column in spec.evaluation.baselines.items()
    }


def as_scored(spec: ModelSpec, judged: Examples, scores: Mapping[str, np.ndarray]) -> dict[str, Scored]:
    return {name: _scored(spec.task, judged, score) for name, score in scores.items()}


def _scored(task: Task, judged: Examples, score: np.ndarray) -> Scored:
    return task.scored(judged.target, score, judged.group, judged.features)


def _champion_scores(
    spec: ModelSpec,
    champion: VersionRecord,
    later: pd.DataFrame,
    holdout: Examples,
    work: Workdir,
    ports: EvaluatePorts,
) -> tuple[np.ndarray, Task | None]:
    """Return the answers of the champion, and its task if that has the metrics of the spec's."""
    with tempfile.TemporaryDirectory() as aside:
        folder = ports.registry.fetch(champion.ref, Path(aside))
        own, task = version_features(spec, folder), version_task(folder)
        comparable = task if task.as_specified() == spec.task else None
        if own.same_values(spec.features):
            return ports.scorer.score(folder, holdout.features), comparable
        joined = join(spec, later, ports.features, work.read_views(), own)
        return ports.scorer.score(folder, as_examples(spec, joined, own.names).features), comparable


def _curves(folder: Path, model: CurvedScores) -> None:
    """Write the curves of the model as tables, for `dvc plots`."""
    import pandas as pd

    curve = model.curve()
    false_rate, true_rate = curve.roc
    recall, precision = curve.precision_recall
    pd.DataFrame({"false_positive_rate": false_rate, "true_positive_rate": true_rate}).to_csv(
        folder / "roc.csv", index=False, float_format="%.6f"
    )
    pd.DataFrame({"recall": recall, "precision": precision}).to_csv(
        folder / "precision_recall.csv", index=False, float_format="%.6f"
    )


def _log(tracker: Tracker, run_id: str, evaluation: Evaluation, work: Workdir) -> None:
    with tracker.reopen(run_id) as run:
        run.log(metrics=evaluation.flat())
        run.artifact(work.plots, KEPT)


def explain_model(
    policy: ExplanationSpec, folder: Path, digest: str, features: np.ndarray, scorer: Scorer, explain: Explain
) -> GlobalAttributions:
    """Explain at most `explanation.sample` rows, drawn with the seed of the manifest.

    Args:
        folder: the exported model with its manifest and background.
        digest: of the version that they make up.
        features: float32 [n, features] of holdout rows.

    Raises:
        ModelFileError: the manifest has no explanation settings.
        IncompleteExplanation: base and attributions do not add up to a score.
    """
    manifest = read_record(folder / "manifest.json", ModelManifest, "train")
    settings = manifest.explanation
    if settings is None:
        raise ModelFileError(f"{folder} has no background to explain against", hint="train again")
    background = read_record(folder / settings.background, Background, "train").values()
    order = np.random.default_rng(settings.seed).permutation(len(features))
    rows = features[np.sort(order[: policy.sample])]
    task, answer = manifest.task, scorer.opened(folder)

    def score(features: np.ndarray) -> np.ndarray:
        return task.explained_numbers(answer(features))

    named = by_name(manifest.inputs, manifest.features)
    attributions = explain(score, background, rows, settings.coalitions, settings.seed, list(named.values()))
    gap = check_complete(attributions, score(rows).astype(float), settings.tolerance)
    return GlobalAttributions.of(
        digest,
        list(named),
        task.explained_classes,
        attributions,
        len(background),
        settings.coalitions,
        gap,
    )
