"""Events and ports from which window features are proposed, and where a proposed view is written."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import catalog
from perennial.core.data_spec import SqlSpec, TableSpec
from perennial.core.feature_view import KINDS, NAME, FileOrigin, SqlOrigin, ViewSpec, ViewTimes
from perennial.core.spec import ModelSpec
from perennial.core.training.window_candidates import NUMBERS
from perennial.errors import UsageError
from perennial.files import write_text
from perennial.settings import Settings
from perennial.wiring import training

if TYPE_CHECKING:
    from perennial.flows.training.propose import ProposePorts


def events_of(
    spec: ModelSpec,
    entity: str | None,
    view: str | None,
    name: str,
    columns: tuple[str, ...],
    settings: Settings,
) -> ViewSpec:
    """Return the events to propose windows over, under the name of the new view.

    Args:
        entity: column of the key; None: the only key of the model, or that of the view.
        view: feature view whose rows are the events; None: the earlier rows of the model's own table, with the numbers
            and bools that a caller sends. Their targets are left out: nothing says when they were known.
        columns: of the events; none: all that are numbers or bools.

    Raises:
        UsageError: no entity is named, or the rows cannot be the source of a view.
        SpecError: the view is wrong.
    """
    of_events = _own_rows(spec, entity) if view is None else catalog.feature_view(view_path(view, settings))
    if view is not None and entity not in (None, of_events.entity):
        raise UsageError(
            f"the entity of {view} is {of_events.entity}, not {entity}", hint="leave --entity out"
        )
    if unknown := sorted(set(columns) - set(of_events.columns)):
        raise UsageError(
            f"the events have no column {', '.join(unknown)}",
            hint=f"they have {', '.join(of_events.columns)}",
        )
    kept = {
        column: kind
        for column, kind in of_events.columns.items()
        if kind in NUMBERS and (not columns or column in columns)
    }
    if unfit := [word for word in (name, of_events.entity, *kept) if not re.fullmatch(NAME, word)]:
        raise UsageError(
            f"{', '.join(unfit)}: names in a view are of letters, digits and _",
            hint="rename them in the data, or name the other columns by --column",
        )
    path = view_path(name, settings)
    if path.exists():
        raise UsageError(f"{path} exists", hint="--name another view, or delete it")
    update = {
        "name": name,
        "columns": kept,
        "windows": (),
        "ttl": None,
        "description": _described(spec, of_events),
    }
    return of_events.model_copy(update=update)


def view_path(name: str, settings: Settings) -> Path:
    return settings.configs / "features" / f"{name}.yaml"


def write_view(view: ViewSpec, text: str, settings: Settings) -> Path:
    """Write the YAML of a view and return its path."""
    path = view_path(view.name, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def propose_ports(settings: Settings) -> ProposePorts:
    from perennial.adapters.feast.windows import window_columns
    from perennial.adapters.reference_models import gradient_boosting
    from perennial.flows.training.propose import ProposePorts

    return ProposePorts(
        rows=lambda spec: training.source(spec, settings).read(),
        views=lambda spec: training.view_tables(spec, settings),
        events=functools.partial(training.view_rows, settings=settings),
        features=training.features(settings),
        windows=window_columns,
        learner=gradient_boosting,
    )


def _own_rows(spec: ModelSpec, entity: str | None) -> ViewSpec:
    source, given = spec.data.source, spec.features
    if entity is None:
        if len(given.entities) != 1:
            raise UsageError(
                f"{spec.name} has {len(given.entities)} entities",
                hint="--entity COLUMN: whose past events count",
            )
        entity = given.entities[0]
    origin: FileOrigin | SqlOrigin
    if isinstance(source, TableSpec):
        origin = FileOrigin(kind="table", path=source.path, missing=source.missing, csv=source.csv)
    elif isinstance(source, SqlSpec):
        origin = SqlOrigin(
            kind="sql", connection=source.connection, query=source.query, table=source.table,
            high_water=source.high_water,
        )  # fmt: skip
    else:
        raise UsageError(
            f"the rows of {spec.name} are no file and no query, so no view can read them",
            hint="--events VIEW: a view of configs/features over a file or a query",
        )
    kinds = {kind: column for column, kind in KINDS.items() if column in NUMBERS}
    taken = {entity, source.time, spec.target.column}
    columns = {
        name: kinds[typed.type]
        for name in given.sent
        if (typed := given.inputs[name]).type in kinds and name not in taken
    }
    times = ViewTimes(event=source.time or "", created=None)
    return ViewSpec.model_construct(
        name="",
        description="",
        entity=entity,
        times=times,
        ttl=None,
        columns=columns,
        source=origin,
        windows=(),
    )


def _described(spec: ModelSpec, of_events: ViewSpec) -> str:
    events = f"rows of the view {of_events.name}" if of_events.name else f"rows of {spec.data.source.name}"
    return f"windows over earlier {events} by {of_events.entity}, chosen for the model {spec.name}"
