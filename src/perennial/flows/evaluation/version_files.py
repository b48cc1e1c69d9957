"""Evaluate the files of a version that comes from no training step: an import, a variant."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from perennial.core.evaluation.evaluation import CHAMPION, MODEL, Evaluation, evaluate_scores
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Scored
from perennial.core.training.examples import Examples
from perennial.core.training.registration import VersionRecord
from perennial.flows.evaluation.evaluate import ATTRIBUTIONS, EVALUATION, as_scored, explain_model
from perennial.flows.training.package import version_features, version_task
from perennial.flows.training.training_data import TrainingData
from perennial.flows.training.workdir import write_json
from perennial.ports import Explain, Figures, Registry, Scorer


def score_files(holdout: Examples, folder: Path, scorer: Scorer, batch: int | None = None) -> Scored:
    """Return the answers of a version to the holdout, by the task of its own manifest.

    Args:
        batch: rows of a request, where an answer may depend on the rows beside it; None: all rows at once.
    """
    score, rows, size = scorer.opened(folder), holdout.features, batch or len(holdout)
    answers = np.concatenate([score(rows[start : start + size]) for start in range(0, len(rows), size)])
    return version_task(folder).scored(holdout.target, answers, holdout.group, holdout.features)


def evaluate_files(
    spec: ModelSpec,
    data: TrainingData,
    digest: str,
    folder: Path,
    champion: VersionRecord | None,
    registry: Registry,
    scorer: Scorer,
    others: Mapping[str, Scored] | None = None,
) -> Evaluation:
    """Measure a version on the holdout, beside the champion if that has the same features.

    Args:
        others: answers of further models to the same rows, by name.

    Raises:
        WrongAnswer: an answer is not one of the kind of task. DataError: a metric is undefined on these rows.
    """
    judged = data.split.everything.group >= data.split.holdout_from
    holdout = data.split.everything.where(judged)
    scored = {MODEL: score_files(holdout, folder, scorer)}
    compared = None
    if champion is not None:
        with tempfile.TemporaryDirectory() as aside:
            files = registry.fetch(champion.ref, Path(aside))
            if version_features(spec, files).same_values(spec.features):
                answers = {CHAMPION: scorer.score(files, holdout.features)}
                scored |= as_scored(spec, holdout, answers)
                compared = champion.ref.digest
    evaluation = evaluate_scores(
        digest,
        {**scored, **(others or {})},
        {column: data.rows[judged][column].to_numpy() for column in spec.evaluation.slices},
        spec.gate.improvement.metric,
        spec.evaluation.slice_min_rows,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )
    return evaluation if compared is None else evaluation.model_copy(update={"champion": compared})


def show_evaluation(
    spec: ModelSpec,
    evaluation: Evaluation,
    holdout: Examples,
    title: str,
    folder: Path,
    plots: Path,
    figures: Figures,
    scorer: Scorer,
    explain: Explain,
    say: Callable[[str], None],
) -> None:
    """Write pictures, evaluation and attributions into `plots`, as the evaluation of a training does."""
    scored = as_scored(spec, holdout, {MODEL: scorer.score(folder, holdout.features)})
    figures.evaluation(plots, f"{spec.name}, {title}", scored)
    if spec.explanation is not None:
        attributions = explain_model(
            spec.explanation, folder, evaluation.digest, holdout.features, scorer, explain
        )
        named = f"{spec.name}, model {evaluation.digest[:12]}"
        figures.attributions(plots, named, attributions)
        write_json(plots / ATTRIBUTIONS, attributions)
        say(f"{attributions.rows} rows explained")
    write_json(plots / EVALUATION, evaluation)
