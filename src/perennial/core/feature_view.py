"""Feature views as YAML states them: `configs/features/<view>.yaml`."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perennial.core.data_spec import CsvForm
from perennial.core.frozen import Frozen, canonical
from perennial.core.input_spec import MOST_NUMBERS, InputKind

NAME = r"^[A-Za-z]\w*$"
ColumnName = Annotated[str, Field(pattern=NAME)]
HOUR = timedelta(hours=1)


class ColumnType(StrEnum):
    """Type of a column of a feature view."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    STRING = "string"
    TIMESTAMP = "timestamp"


KINDS = {
    ColumnType.FLOAT: InputKind.FLOAT,
    ColumnType.INT: InputKind.INT,
    ColumnType.BOOL: InputKind.BOOL,
    ColumnType.STRING: InputKind.CATEGORY,
    ColumnType.TIMESTAMP: InputKind.TIMESTAMP,
}
"""Type of a column -> how a reader of tables reads it."""


class ArrayType(Frozen):
    """Type of a column of arrays: each value has so many numbers."""

    type: Literal["array"]
    size: Annotated[int, Field(ge=1, le=MOST_NUMBERS)]


class ViewTimes(Frozen):
    """Columns of times of a view."""

    event: str = Field(description="when the values of a row began to hold")
    created: str | None = Field(description="when they became known; null: at once")


class FileOrigin(Frozen):
    """A file or folder as in `data.source` of a model."""

    kind: Literal["table"]
    path: str
    missing: tuple[str, ...]
    csv: CsvForm = Field(
        CsvForm(),
        description="form of a CSV file, where it is not UTF-8 with 1234.5",
        exclude_if=lambda form: form == CsvForm(),  # the meaning of views without the key stays
    )


class SqlOrigin(Frozen):
    """A query or table of a database as in `data.source` of a model."""

    kind: Literal["sql"]
    connection: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    query: str | None
    table: str | None
    high_water: str | None

    @model_validator(mode="after")
    def names_one_origin(self) -> Self:
        if (self.query is None) == (self.table is None):
            raise ValueError("name either `query` or `table`, and null for the other")
        return self


class Aggregate(StrEnum):
    """Function of the events of an entity in a window that ends before a moment."""

    MEAN = "mean"
    """Mean of the known values; of a bool the share of true."""
    COUNT = "count"
    """Number of the events; with a column, of the known values."""
    RATE = "rate"
    """The same per day of the window."""
    LAST = "last"
    """The newest known value."""
    TIME_SINCE = "time_since"
    """Hours since the newest event."""


class WindowSpec(Frozen):
    """Functions of a column over windows of time."""

    column: ColumnName | None = Field(description="column of the events; null: the events themselves")
    functions: tuple[Aggregate, ...] = Field(min_length=1)
    over: tuple[timedelta, ...] = Field(min_length=1, description="lengths of the windows")

    @model_validator(mode="after")
    def can_be_computed(self) -> Self:
        of_values = {Aggregate.MEAN, Aggregate.LAST} & set(self.functions)
        if self.column is None and of_values:
            raise ValueError(f"{', '.join(sorted(of_values))} need a `column`")
        if self.column is not None and Aggregate.TIME_SINCE in self.functions:
            raise ValueError("time_since is of the events: give it a window with `column: null`")
        if min(self.over) < timedelta(seconds=1):
            raise ValueError("a window has at least a second")
        return self


class WindowFeature(Frozen):
    """A feature of a window."""

    name: str
    column: str | None
    function: Aggregate
    over: timedelta


class ViewSpec(Frozen):
    """A feature view: values of an entity over time, or functions of its past events."""

    name: ColumnName
    description: str
    entity: ColumnName = Field(description="join key, a text")
    times: ViewTimes
    ttl: timedelta | None = Field(
        description="age from which a value is not known any more; null: it stays known"
    )
    columns: dict[ColumnName, ColumnType | ArrayType] = Field(
        description="the features; with `windows`, the columns of the events"
    )
    source: Annotated[FileOrigin | SqlOrigin, Field(discriminator="kind")] | None = Field(
        description="where the rows are; null: the function in `data.source.prepare` of a model makes them"
    )
    windows: tuple[WindowSpec, ...] = ()

    @model_validator(mode="after")
    def names_what_is_there(self) -> Self:
        unknown = sorted({window.column for window in self.windows if window.column} - set(self.columns))
        if unknown:
            raise ValueError(f"windows: there is no column {', '.join(unknown)} in `columns`")
        numbers = {ColumnType.FLOAT, ColumnType.INT, ColumnType.BOOL}
        for window in self.windows:
            if window.column and self.columns[window.column] not in numbers:
                raise ValueError(f"windows: {window.column} is no number and no bool")
        if self.windows and self.ttl is not None:
            raise ValueError("windows end by themselves: ttl: null")
        if not self.windows and not self.columns:
            raise ValueError("a view needs columns or windows")
        names = [feature.name for feature in self.window_features]
        if len(set(names)) != len(names):
            raise ValueError("windows: a feature is named twice")
        return self

    @property
    def window_features(self) -> tuple[WindowFeature, ...]:
        """Return the features of the windows, in the order of the file."""
        return tuple(
            WindowFeature(
                name="_".join(filter(None, (window.column, function.value, _shown(over)))),
                column=window.column,
                function=function,
                over=over,
            )
            for window in self.windows
            for function in window.functions
            for over in window.over
        )

    @property
    def features(self) -> dict[str, ColumnType | ArrayType]:
        """Return feature -> type."""
        if self.windows:
            return dict.fromkeys((feature.name for feature in self.window_features), ColumnType.FLOAT)
        return dict(self.columns)

    @property
    def meaning(self) -> str:
        """Return everything that changes the values of the view, as canonical JSON."""
        return canonical(self.model_dump(mode="json", exclude={"description"}))

    @property
    def read_types(self) -> dict[str, InputKind]:
        """Return the columns that are read from `source`, with their types."""
        times = [name for name in (self.times.event, self.times.created) if name is not None]
        return {
            self.entity: InputKind.CATEGORY,
            **dict.fromkeys(times, InputKind.TIMESTAMP),
            **{
                name: InputKind.ARRAY if isinstance(kind, ArrayType) else KINDS[kind]
                for name, kind in self.columns.items()
            },
        }


def _shown(over: timedelta) -> str:
    seconds = int(over.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
