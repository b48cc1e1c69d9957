"""What the flows need from the outside, as small protocols. Adapters implement them, one library each.

Frames are pandas DataFrames; the columns are named in each docstring. `perennial.adapters.memory`
holds one fake per port, and `tests/contracts` runs the same suite over fake and real.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perennial.core.traffic import Counters, Readiness, Route
from perennial.core.version import VersionRef

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from perennial.core.data import CheckReport, DataRevision
    from perennial.core.drift import ColumnDrift
    from perennial.core.examples import Examples
    from perennial.core.expectations import Suite
    from perennial.core.ledger import Entry, LedgerRow, StoredRow
    from perennial.core.metrics import Scored
    from perennial.core.registration import NewVersion, VersionRecord
    from perennial.core.release import Intent, ReleaseStatus
    from perennial.core.spec import FeatureSpec, ModelSpec, TuningSpec
    from perennial.core.tuning import Trial


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

    def events(self, folder: Path, points: Sequence[Mapping[str, float]]) -> None:
        """The metrics of the epochs as TensorBoard event files."""


class Reference(Protocol):
    """A model that is only measured against (scikit-learn)."""

    def __call__(self, train: Examples, features: np.ndarray) -> np.ndarray:
        """Learn from `train` and score float32[n, features] -> [n] in [0, 1]."""


class Registry(Protocol):
    """Model versions, aliases and tags (MLflow)."""

    def register(self, new: NewVersion) -> VersionRef:
        """Register the run's model once; the same run again gives the same version and changes nothing."""

    def find(self, model: str, which: str) -> VersionRecord | None:
        """`which` is a semantic version, an alias, or `key:N`."""

    def versions(self, model: str) -> list[VersionRecord]: ...

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        """Copy the served files (model.onnx, manifest.json) into a folder and verify the digest."""


class VersionSearch(Protocol):
    """Versions of any model by what is known of them (MLflow)."""

    def search(self, query: str) -> list[VersionRecord]:
        """Those that meet a query in the registry's own syntax; raises UsageError for one it does not know."""


class Labels(Protocol):
    """Names and marks on versions (MLflow aliases and tags)."""

    def alias(self, model: str, alias: str, key: str | None) -> None:
        """Point the alias at a version; None removes it. Repeating changes nothing."""

    def tag(self, model: str, key: str, tags: Mapping[str, str]) -> None: ...


class ModelFiles(Protocol):
    """The stored files of versions (MLflow's artifact store)."""

    def delete(self, ref: VersionRef) -> None:
        """Delete them; the version's tags and figures stay. Repeating changes nothing."""


class Pool(Protocol):
    """The model servers of the pools (BentoML), driven by desired-state files."""

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Ask every server of the pool to hold this version; idempotent."""

    def drop(self, pool: str, model: str, digest: str) -> None:
        """Ask every server of the pool to let go of this version; idempotent."""

    def readiness(self, pool: str, model: str, digest: str) -> Readiness: ...

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        """Send `requests` synthetic requests straight to one server; latencies in ms."""


class Router(Protocol):
    """Live traffic (Envoy)."""

    def apply(self, route: Route) -> None:
        """Make this the live route of its model and wait until Envoy confirms it.

        Raises RouterRejected when Envoy refuses it (the last good one stays), RouterUnavailable when
        it does not answer.
        """

    def route(self, model: str) -> Route | None:
        """The route last applied; None when the model has none."""

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Counted so far, by pool name."""

    def healthy(self, model: str) -> Mapping[str, int]:
        """Number of healthy servers by pool name."""


class ReleaseStore(Protocol):
    """Releases, with compare-and-set on their revision (our SQL database)."""

    def load(self, release_id: str) -> ReleaseStatus | None: ...

    def latest(self, model: str) -> list[ReleaseStatus]:
        """All releases of a model, newest first."""

    def save(self, status: ReleaseStatus, expected: int | None, entries: Sequence[Entry]) -> ReleaseStatus:
        """Store with revision expected + 1 (0 when None: new) and append the ledger entries, both or
        neither. Raises ReleaseConflict when the stored revision is not `expected`."""


class Intents(Protocol):
    """What people asked of a release (our SQL database)."""

    def put(self, intent: Intent) -> None: ...

    def pending(self, release_id: str) -> list[Intent]:
        """Intents of the release in the order they came; consumed ones are those whose id the status names."""


class Ledger(Protocol):
    """The append-only, hash-chained record (our SQL database)."""

    def append(self, entry: Entry) -> LedgerRow: ...

    def rows(
        self,
        model: str | None = None,
        *,
        kinds: Collection[str] = (),
        release_id: str | None = None,
        until: datetime | None = None,
        newest: int | None = None,
    ) -> list[LedgerRow]:
        """In order of sequence: those that meet every condition given, at most the `newest` so many.

        Costs what it returns, not what the ledger holds, but for `until`, which looks back from the end.
        """

    def stored(self) -> Iterator[StoredRow]:
        """Every row as it lies there, in order of sequence, for the verification of the chain."""

    def end(self) -> tuple[int, str]:
        """Sequence number and hash of the last row as the store notes them apart; (0, GENESIS) at first."""


class Signer(Protocol):
    """Signatures by one private key (Ed25519)."""

    public: str
    """The public key in base64."""

    def sign(self, message: bytes) -> bytes: ...


class FeedbackStore(Protocol):
    """Labels that came back, keyed by prediction id (our SQL database)."""

    def put(self, labels: Mapping[str, float], received: datetime) -> int:
        """Store; the same label again counts 0; another label for a known id replaces it and counts 1.
        Returns how many changed."""

    def labels(self, since: datetime | None = None) -> Mapping[str, float]:
        """prediction id -> label, of those received at or after `since`."""


class PredictionLog(Protocol):
    """What the model servers answered (files)."""

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        """Columns: prediction_id, request_id, at (UTC), model, version, digest, release_id, capsule, pool,
        shadow (bool), entity (JSON text), context (request values, JSON text; `{}` where none were logged),
        score, decision, latency_ms, and one `feature:<name>` column per feature, in order of `at`."""


class DriftReporter(Protocol):
    """Drift of a window against a reference (Evidently)."""

    def compare(
        self, spec: ModelSpec, reference: pd.DataFrame, window: pd.DataFrame, html: Path | None
    ) -> list[ColumnDrift]:
        """PSI per watched column and of `score`; writes the HTML report when `html` is given."""


class Scheduler(Protocol):
    """Runs of DAGs (Airflow)."""

    def raise_event(self, asset: str, extra: Mapping[str, Any]) -> None:
        """Raise an asset event; the DAGs scheduled on it start."""

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run; returns its id."""

    def state(self, dag: str, run: str) -> str: ...


class Scorer(Protocol):
    """Scores rows with an exported model file (ONNX Runtime)."""

    def score(self, folder: Path, features: np.ndarray) -> np.ndarray:
        """float32[n, features] -> float32[n]; raises ModelFileError or ShapeError."""
