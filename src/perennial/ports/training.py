"""What a training needs: data, features, a place for runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from perennial.core.evaluation.fairness import Answers
    from perennial.core.evaluation.metrics import Scored
    from perennial.core.gate_spec import GroupMeasure
    from perennial.core.spec import FeatureSpec, TuningSpec
    from perennial.core.training.attribution import Attributions, GlobalAttributions
    from perennial.core.training.data import CheckReport, DataRevision
    from perennial.core.training.examples import Examples
    from perennial.core.training.expectations import Suite
    from perennial.core.training.tuning import Trial


class DataStore(Protocol):
    """Bytes of data under version control (DVC)."""

    def commit(self, files: Mapping[str, Path], message: str) -> DataRevision:
        """Put files (name in the repository -> source) under a new revision and push them.

        The same bytes again give the same revision.
        """

    def checkout(self, revision: str, into: Path) -> None:
        """Write the files of a revision; raises DatasetMissing when it is not known."""

    def latest(self) -> DataRevision | None: ...


class Validator(Protocol):
    """Data checks (Great Expectations)."""

    def check(self, suite: Suite, table: pd.DataFrame, docs: Path) -> CheckReport:
        """Run the expectations of one suite; data docs (HTML) go below `docs`/<suite>.

        A failed check is a report, not an exception. Freshness must have been resolved (`Suite.at`).
        Raises SpecError for a rule that the tool does not know or whose arguments do not fit."""


class Features(Protocol):
    """Feature values (Feast)."""

    def publish(self, views: Mapping[str, pd.DataFrame]) -> None:
        """Make the tables the offline source and materialise the newest row per entity online."""

    def push(self, views: Mapping[str, pd.DataFrame]) -> None:
        """Write the newest rows online at once; the offline source follows with the next publish."""

    def join(
        self, features: FeatureSpec, rows: pd.DataFrame, views: Mapping[str, pd.DataFrame]
    ) -> pd.DataFrame:
        """Point-in-time join: `rows` (entity keys, request values, event_timestamp) plus one column per
        feature name as known at that row's event_timestamp; the order of rows stays. A value not yet
        known is NaN. `views` are the feature tables to join against."""

    def online(self, features: FeatureSpec, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The newest values by name per row, in order; None for an entity that nobody has seen."""


class Tracker(Protocol):
    """Training runs (MLflow)."""

    def run(self, model: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> Run: ...

    def reopen(self, run_id: str) -> Run:
        """A run that ended, to log more to it."""

    def files(self, run_id: str, folder: str, into: Path) -> list[Path]:
        """Copy what a run keeps directly in one folder; nothing where it has none. Sorted by name."""


class Run(Protocol):
    """One open run; a context manager that marks the run failed when an exception leaves it.

    The tracker may be away for a while: each call raises TrackerUnavailable then."""

    run_id: str

    def __enter__(self) -> Run: ...
    def __exit__(self, *exc: object) -> None: ...
    def log(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int | None = None,
        tags: Mapping[str, str] | None = None,
        curve: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """`curve` holds the metrics of the steps 0, 1, ...: one round trip, not one per epoch."""

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def dataset(self, revision: DataRevision, rows: pd.DataFrame, context: str) -> None:
        """Name the data that the run used, by its revision."""

    def model(self, folder: Path, native: Any, example: np.ndarray, output: np.ndarray) -> str:
        """Log the exported model (`folder`/model.onnx) with the signature of example -> output, and the
        trained object itself; returns the address of the exported one for the registry. All files of
        `folder` are kept with the run for Registry.fetch."""


class Tuner(Protocol):
    """Search for parameters (Optuna)."""

    def tune(
        self,
        study: str,
        tuning: TuningSpec,
        maximise: bool,
        suggest: Callable[[Any], dict[str, Any]],
        objective: Callable[[dict[str, Any], Callable[[int, float], None]], float],
        done: Callable[[Trial], None],
    ) -> Trial:
        """Run what is left of `tuning.trials` of the study and return the best trial.

        `objective(parameters, report)` trains once; `report(epoch, value)` may raise to prune. `done` is
        called once per finished trial, for those of an earlier, interrupted call too. A study of the
        same name goes on where it stopped."""

    def plots(self, study: str, folder: Path) -> list[Path]:
        """History and parameter importances of the study as files."""


class Figures(Protocol):
    """Pictures and event files (Matplotlib, TensorBoard)."""

    def evaluation(self, folder: Path, title: str, scores: Mapping[str, Scored]) -> list[Path]:
        """ROC, precision-recall and calibration of several scores as files."""

    def attributions(self, folder: Path, title: str, found: GlobalAttributions) -> Path:
        """How much each feature moves the score, as a file."""

    def events(self, folder: Path, points: Sequence[Mapping[str, float]]) -> None:
        """The metrics of the epochs as TensorBoard event files."""


class Reference(Protocol):
    """A model that is only measured against (scikit-learn)."""

    def __call__(self, train: Examples, features: np.ndarray) -> np.ndarray:
        """Learn from `train` and score float32[n, features] -> [n] in [0, 1]."""


class Scorer(Protocol):
    """Scores rows with an exported model file (ONNX Runtime)."""

    def score(self, folder: Path, features: np.ndarray) -> np.ndarray:
        """float32[n, features] -> float32[n]; raises ModelFileError or ShapeError."""

    def opened(self, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        """The same for many calls: the file is read once, errors come with the call that meets them."""


class Explain(Protocol):
    """Takes scores apart into what each feature added (shap)."""

    def __call__(
        self,
        score: Callable[[np.ndarray], np.ndarray],
        background: np.ndarray,
        rows: np.ndarray,
        coalitions: int,
        seed: int,
    ) -> Attributions:
        """Shapley values of `rows` (float32 [n, features], NaN for a missing value) against `background`
        (the same features); base and values of a row add up to its score."""


class GroupFigures(Protocol):
    """Figures of the groups of one column (Fairlearn)."""

    def __call__(self, answers: Answers, measure: GroupMeasure) -> dict[str, float]:
        """Value of the column -> the measure over its rows; each value must have rows that it counts."""
