"""Ports of a training: data, features, runs, scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from perennial.core.evaluation.fairness import Answers
    from perennial.core.feature_spec import FeatureSpec
    from perennial.core.feature_view import ViewSpec
    from perennial.core.gate_spec import GroupMeasure
    from perennial.core.shared_search import SharedSearch
    from perennial.core.spec import TuningSpec
    from perennial.core.tasks import Scored, Task
    from perennial.core.training.artifacts import Trial
    from perennial.core.training.attribution import Attributions, GlobalAttributions
    from perennial.core.training.data import CheckReport, DataRevision
    from perennial.core.training.examples import Examples
    from perennial.core.training.expectations import Suite


T = TypeVar("T")


class Together(Protocol):
    """Processes that fit a model together (PyTorch's elastic launch)."""

    def __call__(self, workers: int, work: Callable[[], T], /) -> T:
        """Run a function once in each of several processes and return what it returns in the first; 1: here.

        Raises:
            WorkerLost: processes died again and again.
        """


class Source(Protocol):
    """The data that a model learns from: a CI history, files, a database."""

    def read(self) -> pd.DataFrame:
        """Return all rows, typed as the source declares them.

        Raises:
            DatasetMissing: there are none. MalformedInput: a column or a value is not as declared.
        """

    def revision(self) -> str:
        """Return a hash that is another one when `read` returns other rows; call it after `read`."""

    def terms(self) -> str:
        """Return the names, joined by ` + `, by which the terms of the data are stated."""


class Objects(Protocol):
    """Objects below an address of object storage."""

    address: str

    def find(self, name: str) -> bytes | None:
        """Return an object; None where there is none of this name. Raises ToolError when the storage is away."""

    def write(self, name: str, content: bytes) -> None:
        """Store an object."""

    def upload(self, name: str, path: Path) -> None:
        """Store a file as an object."""

    def download(self, name: str, path: Path) -> bool:
        """Write an object into a file; return whether there is one of this name."""

    def names(self, folder: str) -> list[str]:
        """Return the names of all objects below a folder, in order."""


class DataStore(Protocol):
    """Data files under version control (DVC)."""

    def commit(self, files: Mapping[str, Path], message: str) -> DataRevision:
        """Commit files (name in the repository -> source) as a revision and push them.

        The same bytes give the same revision.
        """

    def checkout(self, revision: str, into: Path) -> None:
        """Write the files of a revision; raises DatasetMissing for an unknown revision."""

    def fetch(self, files: Mapping[str, str], into: Path) -> None:
        """Write files (name -> hash) from the remote, whichever machine has committed them; verify each.

        Raises:
            DatasetMissing: the remote does not have one. ChecksumMismatch: its bytes are others.
        """

    def latest(self) -> DataRevision | None:
        """Return the revision committed last; None before the first."""


class Validator(Protocol):
    """Data checks (Great Expectations)."""

    def check(self, suite: Suite, table: pd.DataFrame, docs: Path) -> CheckReport:
        """Run the expectations of a suite; write data docs (HTML) below `docs`/<suite>.

        A failed check is a report, not an exception. Freshness must be resolved before (`Suite.at`).

        Raises:
            SpecError: the tool does not know a rule, or its arguments are wrong.
        """


class Features(Protocol):
    """Feature values (Feast)."""

    def publish(self, views: Mapping[str, pd.DataFrame]) -> None:
        """Store the tables as offline source and write the newest row per entity online."""

    def push(self, views: Mapping[str, pd.DataFrame]) -> None:
        """Write the newest rows online; the offline source follows with the next publish."""

    def join(
        self, features: FeatureSpec, rows: pd.DataFrame, views: Mapping[str, pd.DataFrame]
    ) -> pd.DataFrame:
        """Point-in-time join: return `rows` (entity keys, request values, event_timestamp) with a column per
        feature as known at event_timestamp, NaN for a value not yet known. The order of rows stays.

        Args:
            views: the feature tables to join with.
        """

    def online(self, features: FeatureSpec, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """Return the newest values by name for each row; None for an unknown entity."""


class Windows(Protocol):
    """Values of window features (DuckDB)."""

    def __call__(
        self, view: ViewSpec, names: list[str], events: pd.DataFrame, rows: pd.DataFrame, row_time: str
    ) -> dict[str, np.ndarray]:
        """Return feature -> float64 [rows], of the events of each row's entity before the time of the row."""


class Tracker(Protocol):
    """Training runs (MLflow)."""

    def run(self, model: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> Run:
        """Start a run; with `parent` as a nested run."""

    def reopen(self, run_id: str) -> Run:
        """Return an ended run, to log more to it."""

    def files(self, run_id: str, folder: str, into: Path) -> list[Path]:
        """Copy the files of an artifact folder of a run, without subfolders; return the paths by name."""


class Run(Protocol):
    """An open run; a context manager that marks the run as failed when an exception leaves it.

    Every call raises TrackerUnavailable while the tracker is down.
    """

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
        """Log values; `curve` has the metrics of the steps 0, 1, ... for a single round trip."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Upload a file, or the content of a folder, into an artifact folder."""

    def dataset(self, revision: DataRevision, rows: pd.DataFrame, context: str) -> None:
        """Log the data of the run by its revision."""

    def model(self, folder: Path, native: Any, example: np.ndarray, output: np.ndarray) -> str:
        """Log the exported model (`folder`/model.onnx) with the signature of example -> output, and the
        trained object; return the address of the exported model for the registry. All files of
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
        first: Sequence[Mapping[str, Any]] = (),
        shared: SharedSearch | None = None,
    ) -> Trial:
        """Run the remaining trials of `tuning.trials` and return the best trial.

        A study of the same name continues where it stopped.

        Args:
            objective: trains once with `parameters`; its `report(epoch, value)` may raise to prune.
            done: called for each finished trial, also for the trials of an interrupted call before.
            first: parts of parameters that the first trials of a new study must have.
            shared: what those need that take trials of this study elsewhere; None: nobody does.

        Raises:
            WorkerLost: a trial has lost its process again and again.
            StoreUnavailable: the database of a shared search does not answer.
        """

    def offered(self, model: str) -> SharedSearch | None:
        """Return the search of a model that may be joined now; None: there is none."""

    def join(
        self,
        search: SharedSearch,
        suggest: Callable[[Any], dict[str, Any]],
        objective: Callable[[dict[str, Any], Callable[[int, float], None]], float],
        done: Callable[[Trial], None],
        idle: float,
    ) -> None:
        """Run trials of a shared search until it ends, or none has waited for `idle` seconds; see `tune`."""

    def plots(self, study: str, folder: Path) -> list[Path]:
        """Draw history and parameter importances of the study into files."""


class Figures(Protocol):
    """Pictures and event files (Matplotlib, TensorBoard)."""

    def evaluation(self, folder: Path, title: str, scores: Mapping[str, Scored]) -> list[Path]:
        """Draw the pictures of the kind of task for several scores into files."""

    def attributions(self, folder: Path, title: str, attributions: GlobalAttributions) -> Path:
        """Draw the mean attribution of each feature into a file."""

    def events(self, folder: Path, points: Sequence[Mapping[str, float]]) -> None:
        """Write the metrics of the epochs as TensorBoard event files."""


class Reference(Protocol):
    """A reference model to compare with (scikit-learn)."""

    def __call__(self, task: Task, train: Examples, features: np.ndarray) -> np.ndarray:
        """Fit to `train` and answer float32 [n, features] as the task wants."""


class Scorer(Protocol):
    """Scores of an exported model file (ONNX Runtime)."""

    def score(self, folder: Path, features: np.ndarray) -> np.ndarray:
        """Score float32 [n, features] -> float32 [n] or [n, k]; raises ModelFileError or ShapeError."""

    def opened(self, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        """Open the file once and return a function that scores as `score`."""


class Explain(Protocol):
    """Attributions of scores to features (shap)."""

    def __call__(
        self,
        score: Callable[[np.ndarray], np.ndarray],
        background: np.ndarray,
        rows: np.ndarray,
        coalitions: int,
        seed: int,
        together: Sequence[Sequence[int]],
    ) -> Attributions:
        """Return Shapley values of `rows` (float32 [n, columns], NaN for a missing value) against `background`
        (the same columns) of each of the k numbers that `score` gives per row, [n, k]; base and values of a row
        add up to them. `together` has the places of the columns of each feature."""


class GroupFigures(Protocol):
    """Figures of the groups of a column (Fairlearn)."""

    def __call__(self, answers: Answers, measure: GroupMeasure) -> dict[str, float]:
        """Return value of the column -> measure over its rows; each value must have countable rows."""
