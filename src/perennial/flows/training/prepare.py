"""Make feature tables and examples from a history, as a data revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from perennial.core.frozen import Frozen
from perennial.core.spec import ModelSpec
from perennial.core.training.data import DataRevision
from perennial.errors import DatasetMissing, UsageError
from perennial.flows.training.revision import tracked_files
from perennial.flows.training.workdir import Workdir, write_json, write_table
from perennial.ports import DataStore

if TYPE_CHECKING:
    import pandas as pd


class DataSource(Frozen):
    """Name of the data's source for people; it tells simulated from real data."""

    source: str
    revision: str | None = None
    """Hash of what was read, as the source names it; None where nothing names it."""


class Prepared(Protocol):
    """Result of the function that `data.prepare` of a spec names."""

    @property
    def views(self) -> Mapping[str, pd.DataFrame]: ...

    @property
    def examples(self) -> pd.DataFrame: ...


def prepare(
    spec: ModelSpec,
    history: pd.DataFrame,
    source: str,
    make: Callable[[pd.DataFrame], Prepared],
    store: DataStore,
    work: Workdir,
    until: int | None = None,
    of_source: str | None = None,
) -> DataRevision:
    """Write the tables of a model and commit them; the same history gives the same revision.

    Args:
        history: all rows of the source.
        source: name of the history's source.
        until: last group (cycle) to use; None for all.
        of_source: revision of the source.

    Raises:
        DatasetMissing: the history has no rows up to `until`.
        ToolError: the data store failed; no step goes on until a repetition succeeds.
    """
    group = spec.evaluation.group
    if until is not None:
        if group not in history:
            raise UsageError(
                f"{spec.name} has no {group} before it is prepared", hint="leave --until-cycle out"
            )
        history = history[history[group] <= until]
    if history.empty:
        raise DatasetMissing(
            f"{spec.data.rows_name} {spec.data.source.name!r} has no rows"
            + (f" up to {group} {until}" if until else ""),
            hint="fill a history with `perennial data bootstrap`; a table needs at least its rows",
        )
    prepared = make(history)
    # Without its record no later step goes on, whatever stops this one, for example a push that fails.
    work.revision.unlink(missing_ok=True)
    work.validation.unlink(missing_ok=True)
    write_json(work.source, DataSource(source=source, revision=of_source))
    write_table(work.history, history)
    write_table(work.examples, prepared.examples)
    work.views.mkdir(parents=True, exist_ok=True)  # an output of `dvc repro`, also without feature tables
    for stale in work.views.glob("*.parquet"):
        stale.unlink()
    for name, view in prepared.views.items():
        write_table(work.views / f"{name}.parquet", view)
    last = int((history if group in history else prepared.examples)[group].max())
    message = f"{spec.name}: {len(history)} rows of {source} to {group} {last}"
    revision = store.commit(tracked_files(spec, work), message)
    write_json(work.revision, revision)
    return revision
