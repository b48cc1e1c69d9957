"""The part of the model spec that names the source of the examples (`data` in the YAML)."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.frozen import Frozen, Share
from perennial.errors import SpecError

SourceName = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]


class HistorySpec(Frozen):
    """A CI history (`perennial data`), from which features are computed."""

    kind: Literal["history"]
    name: SourceName = Field(description="name of the CI history")
    prepare: str = Field(description="module:function that makes feature tables and examples")


class Split(StrEnum):
    """Way of a table's rows into the groups that are split and resampled as a whole."""

    TIME = "time"
    """Groups are periods of the time column: the holdout is the latest."""
    GROUP = "group"
    """Groups are drawn by a hash of the group column."""
    ROLLING = "rolling"
    """The same; the search judges parameters at several origins, and old rows may be forgotten."""
    RANDOM = "random"
    """Groups are drawn by a hash of the key, else of all inputs, so that equal rows stay together."""


class RollingSpec(Frozen):
    """Origins of a rolling split: places in time of which each splits what is learnt from what is judged."""

    origins: Annotated[int, Field(ge=2)] = Field(
        description="the validation rows are cut into so many blocks; each is judged by a model of what came before"
    )
    window: PositiveInt | None = Field(
        description="groups before an origin that train; null: all, as far back as the data go"
    )


class RowsSpec(Frozen):
    """Common part of the sources of rows, a row per example: how rows are named, ordered, grouped and split."""

    name: SourceName = Field(description="name of the data, by which configs/sources.yaml states its terms")
    key: str | None = Field(description="column that names a row; null: rows have no name")
    time: str | None = Field(description="column of the time of a row; null: rows have no order in time")
    period: timedelta | None = Field(
        None, description="length of a group in time; null where the time is a whole number"
    )
    group: str | None = Field(description="column whose equal values must not be split; null: none")
    split: Split
    rolling: RollingSpec | None = Field(None, description="of `split: rolling`")
    seed: int = Field(description="salt of the hash that draws the groups")
    leakage_accepted: tuple[str, ...] = Field(
        description="inputs that predict the target alone, and that a person has judged to be right"
    )
    leaking: dict[str, str] = Field(
        default_factory=dict,
        description="columns that are known to hold the target -> why; as inputs they are refused. For "
        "what `validate` cannot see, such as a share of the target over other rows",
    )
    copies: Share = Field(
        0.01,
        description="largest share of the held-back rows that are copies of a row that trains",
    )

    unlabelled: Literal["refuse", "drop"] = Field(
        "refuse",
        description="rows without a target: they stop the training, or are left out of the examples",
        exclude_if=lambda unlabelled: unlabelled == "refuse",  # the digest of specs without the key stays
    )

    @property
    def in_time(self) -> bool:
        """Return whether groups are periods, so that the holdout is the latest."""
        return self.split in (Split.TIME, Split.ROLLING)

    @model_validator(mode="after")
    def names_what_it_splits_by(self) -> Self:
        if self.split is Split.RANDOM and self.time is not None:
            raise ValueError(
                f"split: random mixes past and future, and time names {self.time!r}: use split: time"
            )
        if self.in_time and self.time is None:
            raise ValueError(f"split: {self.split} needs a column in `time`")
        if (self.split is Split.ROLLING) != (self.rolling is not None):
            raise ValueError("split: rolling needs `rolling: {origins, window}`, and no other split has it")
        if self.split is Split.GROUP and self.group is None:
            raise ValueError("split: group needs a column in `group`")
        return self


UNITS = ("%", "‰", "$", "€", "£", "¥")
"""Signs of a unit beside a number."""


class CsvForm(Frozen):
    """Encoding and number format of a CSV file; the separator of fields is found on reading."""

    encoding: Literal["utf-8", "utf-16", "latin-1", "windows-1252"] = "utf-8"
    decimal: Literal[".", ","] = Field(".", description="sign before the fraction of a number")
    thousands: Literal[",", ".", " ", "'"] | None = Field(
        None, description="sign between thousands, a blank of any kind for ' '; null: none"
    )
    units: dict[str, str] = Field(
        default_factory=dict,
        description="column -> sign such as $ or % beside each of its numbers; requests send the numbers alone",
        exclude_if=lambda units: not units,  # the digest of specs without the key stays
    )

    @property
    def is_plain_number(self) -> bool:
        """Return whether all numbers are as 1234.5."""
        return self.decimal == "." and self.thousands is None and not self.units

    @model_validator(mode="after")
    def signs_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands are the same sign")
        if odd := [f"{name}: {unit!r}" for name, unit in self.units.items() if unit not in UNITS]:
            raise ValueError(f"units knows {', '.join(UNITS)}, not {', '.join(odd)}")
        return self


class TableSpec(RowsSpec):
    """A file of rows, or a folder of Parquet files, here or in S3."""

    kind: Literal["table"]
    path: str = Field(
        description="CSV or Parquet file, or a folder of Parquet files; relative to the project, or s3://..."
    )
    missing: tuple[str, ...] = Field(description="texts of a CSV file that stand for a missing value")
    csv: CsvForm = Field(
        CsvForm(),
        description="form of a CSV file, where it is not UTF-8 with 1234.5",
        exclude_if=lambda form: form == CsvForm(),  # as of `unlabelled`
    )


class SqlSpec(RowsSpec):
    """Rows of a database."""

    kind: Literal["sql"]
    connection: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = Field(
        description="environment variable with the address of the database, as SQLAlchemy has it"
    )
    query: str | None = Field(description="SELECT statement; null: all columns of `table`")
    table: str | None = Field(description="[schema.]table; null: `query`")
    high_water: str | None = Field(
        description="column that only rises, in NULL never: a later run reads only the rows above the highest "
        "value so far and appends them; null: each run reads all rows"
    )

    @model_validator(mode="after")
    def names_one_origin(self) -> Self:
        if (self.query is None) == (self.table is None):
            raise ValueError("name either `query` or `table`, and null for the other")
        return self


class DatasetSpec(RowsSpec):
    """Rows that a function makes of verified files of the catalogue, or of data that needs no file."""

    kind: Literal["dataset"]
    files: tuple[str, ...] = Field(
        description="entries of configs/datasets.yaml; their terms hold. Empty: a package ships the data, or it is made"
    )
    read: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = Field(
        description="module:function from {entry: path of its file} to the rows"
    )


class DataSpec(Frozen):
    """Source of the training examples."""

    source: Annotated[HistorySpec | TableSpec | SqlSpec | DatasetSpec, Field(discriminator="kind")]
    expectations: dict[str, str] = Field(
        min_length=1,
        description="table (history, table, or a feature view) -> suite file under configs/expectations",
    )
    sensitive: tuple[str, ...] = ()

    @property
    def rows_name(self) -> str:
        """Return the name of the rows among the tables of `expectations`."""
        return "history" if isinstance(self.source, HistorySpec) else "table"

    @property
    def in_time(self) -> bool:
        """Return whether the groups are in the order of time, so that the holdout is later than the training."""
        return isinstance(self.source, HistorySpec) or self.source.in_time

    @property
    def history(self) -> str:
        """Return the name of the CI history; raises SpecError where the data is something else."""
        return self._history.name

    @property
    def prepare(self) -> str:
        """Return the address of the function that makes features and examples; raises as `history`."""
        return self._history.prepare

    @property
    def _history(self) -> HistorySpec:
        if not isinstance(self.source, HistorySpec):
            raise SpecError(
                f"data.source is a {self.source.kind}, no CI history",
                hint="this command is for models over a CI history",
            )
        return self.source
