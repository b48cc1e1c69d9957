"""Train a model: join, tune, fit, package and log, from prepared data to an exported model with its run."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.assets import Reason
from perennial.core.shared_search import SharedSearch
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import Trained
from perennial.core.training.capsule import Provenance
from perennial.core.training.leaderboard import Place, leaderboard, table_of
from perennial.files import sha256, write_text
from perennial.flows.training.blend import blend
from perennial.flows.training.fit import Build, Suggest, fit, search, study_name
from perennial.flows.training.package import CAPSULE, check_parity, log_model, package
from perennial.flows.training.training_data import load_training_data
from perennial.flows.training.workdir import Workdir, write_json, write_table
from perennial.ports import Features, Figures, Registry, Run, Scorer, Signer, Together, Tracker, Tuner

LEADERBOARD = "leaderboard.json"


@dataclass(frozen=True)
class TrainPorts:
    features: Features
    tracker: Tracker
    tuner: Tuner
    registry: Registry
    scorer: Scorer
    figures: Figures
    signer: Signer
    together: Together


def train(
    spec: ModelSpec,
    work: Workdir,
    ports: TrainPorts,
    build: Build,
    suggest: Suggest,
    provenance: Provenance,
    reason: Reason,
    reason_text: str,
    say: Callable[[str], None],
    first: Sequence[Mapping[str, Any]] = (),
) -> Trained:
    """Train a model on the prepared data of `work`.

    After a kill, the same call continues the search where it stopped; the interrupted run stays in the
    tracker as an interrupted run.

    Args:
        build: the model class; `suggest` is its search space.
        first: parts of parameters that the first trials must have.

    Raises:
        DatasetMissing: `prepare` or `validate` has not run.
        ValidationFailed: `validate` has checked another revision, or the tables are not those of the revision.
        DataError: the history is too short, or has a single verdict.
        WorkerLost: a process of `training.workers` died again and again.
        ParityError: the exported model scores differently from the trained model; nothing is kept.
        TrackerUnavailable: the tracker is down; nothing has been trained.
    """
    started = time.monotonic()
    champion = ports.registry.find(spec.name, "champion")
    data = load_training_data(spec, work, ports.features, retrain=champion is not None)
    split = data.split
    tags = {
        "reason": reason.value,
        "reason.text": reason_text,
        "data.revision": data.revision.revision,
        "data.source": data.source,
    }
    with (
        ports.tracker.run(spec.name, f"{spec.name} {reason.value}", tags) as run,
        tempfile.TemporaryDirectory(dir=work.folder) as name,
    ):
        temporary, folder = Path(name), Path(name) / "model"
        learnt, total = len(split.training), len(split.everything)
        say(f"run {run.run_id}: {learnt} of {total} rows train, from {spec.evaluation.group} "
            f"{split.holdout_from} on they judge")  # fmt: skip
        settings = {f"tuning.{key}": getattr(spec.tuning, key) for key in ("trials", "epochs", "seed")}
        bounds = {"holdout_from": split.holdout_from, "validation_from": split.validation_from}
        run.log(params=settings | bounds)
        run.dataset(data.revision, data.rows, context="training")

        improved = spec.gate.improvement.metric
        study = study_name(spec, data.revision.files, provenance, split)
        shared = (
            SharedSearch(
                study=study, files=data.revision.files, holdout_from=split.holdout_from, tuning=spec.tuning
            )
            if spec.tuning.shared
            else None
        )
        best, trials = search(
            spec, split, ports.tuner, ports.tracker, run, build, suggest, study, say, first, shared
        )
        maximise = not spec.task.metrics[improved].lower_is_better
        if leaderboard(trials, improved, maximise):
            best = blend(spec, split, build, trials, best, say)
            tried = trials if best in trials else [*trials, best]
            board = leaderboard(tried, improved, maximise)
            _log_leaderboard(board, run, temporary, say)
        fitted = ports.together(spec.training.workers, functools.partial(fit, spec, split, build, best))
        capsule, digest = package(spec, data, provenance, fitted, ports.scorer, ports.signer, folder)
        parity = check_parity(spec, data, fitted.model, ports.scorer, folder)

        uri = log_model(run, folder, fitted.model.native(), split.everything.features, ports.scorer)
        run.log(
            params={**best.parameters, "epochs": fitted.epochs},
            metrics=parity.figures,
            tags={
                "capsule": capsule.hash,
                "digest": digest,
                "architecture": fitted.model.architecture,
                "features_hash": capsule.features,
                "code": capsule.code,
            },
            curve=fitted.curve,
        )
        ports.figures.events(temporary / "tensorboard", fitted.curve)
        run.artifact(temporary / "tensorboard", "tensorboard")
        write_json(temporary / CAPSULE, capsule)
        run.artifact(temporary / CAPSULE)
        for plot in ports.tuner.plots(study, temporary / "tuning"):
            run.artifact(plot, "tuning")
        run.artifact(work.data_docs, "data_docs")

        # `work` has the evaluation and registration of the previous model, which must not pass for this model's.
        work.forget_evaluation()
        shutil.rmtree(work.model, ignore_errors=True)
        shutil.move(folder, work.model)
        write_table(work.features, data.rows)
        trained = Trained(
            model=spec.name,
            run_id=run.run_id,
            model_uri=uri,
            digest=digest,
            capsule=capsule.hash,
            revision=data.revision.revision,
            rows=sha256(work.features),
            source=data.source,
            code=provenance.code,
            features_hash=provenance.features,
            spec=spec.digest,
            architecture=fitted.model.architecture,
            holdout_from=split.holdout_from,
            groups=len(np.unique(split.everything.group)),
            parameters=best.parameters,
            epochs=fitted.epochs,
            trials=len(trials),
            pruned=sum(trial.pruned for trial in trials),
            parity=parity.largest,
            parity_share=parity.share,
            reason=reason,
            reason_text=reason_text,
            seconds=round(time.monotonic() - started, 1),
        )
        write_json(work.trained, trained)
    return trained


def _log_leaderboard(board: Sequence[Place], run: Run, temporary: Path, say: Callable[[str], None]) -> None:
    """Log the leaderboard as a table of MLflow, and say it."""
    content = table_of(board)
    write_text(temporary / LEADERBOARD, json.dumps(content))
    run.artifact(temporary / LEADERBOARD)
    # By this tag MLflow shows the file as a table.
    run.log(tags={"mlflow.loggedArtifacts": json.dumps([{"path": LEADERBOARD, "type": "table"}])})
    for number, place in enumerate(board, 1):
        say(f"{number}. {place}")
