"""Take trials of a search that a training elsewhere leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perennial.core.shared_search import SharedSearch
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import Trial
from perennial.core.training.capsule import Provenance
from perennial.errors import OtherCode
from perennial.flows.training.fit import Build, Suggest, objective_of, study_name
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.training_data import split_at
from perennial.flows.training.workdir import read_table
from perennial.ports import DataStore, Features, Tuner


@dataclass(frozen=True)
class JoinPorts:
    data: DataStore
    features: Features
    tuner: Tuner


def join_search(
    spec: ModelSpec,
    search: SharedSearch,
    ports: JoinPorts,
    build: Build,
    suggest: Suggest,
    provenance: Provenance,
    aside: Path,
    idle: float,
    say: Callable[[str], None],
) -> int:
    """Fetch the data of a search and evaluate its trials until it ends; return how many were evaluated here.

    Args:
        aside: an empty folder for the data.
        idle: seconds without a waiting trial after which this ends.

    Raises:
        OtherCode: code, spec, feature definitions or data differ here from those of the search.
        DatasetMissing, ChecksumMismatch: the data is not in the DVC remote, or is damaged.
    """
    spec = spec.model_copy(update={"tuning": search.tuning})
    ports.data.fetch(search.files, aside)
    folder = aside / spec.name
    views = {path.stem: read_table(path, "prepare") for path in sorted((folder / "views").glob("*.parquet"))}
    rows = join(spec, read_table(folder / "examples.parquet", "prepare"), ports.features, views)
    split = split_at(spec, as_examples(spec, rows), search.holdout_from)
    if study_name(spec, search.files, provenance, split) != search.study:
        raise OtherCode(
            f"the search {search.study} is of another spec, code of the model or feature definitions of {spec.name}",
            hint="check out here what the training runs with",
        )
    evaluated: list[Trial] = []

    def done(trial: Trial) -> None:
        evaluated.append(trial)
        value = "failed" if trial.failed else "pruned" if trial.value is None else f"{trial.value:.4f}"
        say(f"trial {trial.number} {spec.gate.improvement.metric} {value}")

    say(f"{search.study}: {len(split.training)} rows, takes trials")
    ports.tuner.join(search, suggest, objective_of(spec, split, build), done, idle)
    return len(evaluated)
