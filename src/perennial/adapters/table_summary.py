"""Summaries of the columns of a file, computed by DuckDB."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from perennial.adapters.arrays import LIST, array_size
from perennial.adapters.csv_texts.encodings import in_utf8
from perennial.adapters.csv_texts.numbers import quoted
from perennial.adapters.csv_texts.times import EARLIEST, NUMBERS, WHOLE, time_formats, time_unit, without_year
from perennial.adapters.file_scan import (
    PLAIN,
    Location,
    check_there,
    connect,
    described,
    is_csv,
    malformed,
    scan,
)
from perennial.core.data_spec import CsvForm
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType

LISTED = 200
"""Most distinct values that are listed."""
LIKE_NUMBER = r"^\s*[-+]?[$€£¥]?\s*[0-9][0-9., ]*([eE][-+]?[0-9]+)?\s*([%‰€$£¥]|°[CF]?)?\s*$"
"""Texts that a person takes for a number."""
ISO = "ISO 8601"
SENTINELS = {-9.0, -99.0, -999.0, -9999.0, -1.0, 99.0, 999.0, 9999.0, 99999.0}
"""Numbers that stand for a missing value in some files."""
FREQUENT = 0.005
"""Share of the rows from which a number is looked at as a sign for a missing value."""


def summarise(
    path: Location, missing: tuple[str, ...], form: CsvForm = PLAIN, only_iso: bool = False
) -> list[ColumnSummary]:
    """Return a summary of each column of a table, in the order of the file.

    Args:
        missing: texts of a CSV file that stand for a missing value.
        form: of a CSV file.
        only_iso: further texts such as `Jan 2024` are no times, since a finished model takes them for categories.

    Raises:
        DatasetMissing: there is no such file. MalformedInput: it is no table.
    """
    check_there(path)
    with in_utf8(path, form) as (file, read_form), connect(file) as database:
        types = described(database, file, missing, read_form)
        try:
            texts = (
                _texts(database, scan(file, missing, text=True, form=read_form), types)
                if is_csv(file)
                else []
            )
            types |= dict.fromkeys(texts, "VARCHAR")
            numbers = (
                {} if form.is_plain_number else {n: kind for n, kind in types.items() if kind in NUMBERS}
            )
            rows = scan(file, missing, texts=texts, form=read_form, numbers=numbers)
            database.execute(f"CREATE TEMP TABLE given AS SELECT * FROM {rows}")  # noqa: S608
            formats = {
                name: _time_formats(database, name, only_iso)
                for name, kind in types.items()
                if kind == "VARCHAR"
            }
            for name, fitting in formats.items():
                if len(fitting) == 1:
                    column = quoted(name)
                    time = column if fitting == [ISO] else f"strptime({column}, '{fitting[0]}')"
                    database.execute(
                        f"ALTER TABLE given ALTER {column} TYPE TIMESTAMPTZ USING CAST({time} AS TIMESTAMPTZ)"
                    )
                    types[name] = "TIMESTAMPTZ"
            return [
                _array(database, name, kind)
                if LIST.fullmatch(kind)
                else _summary(database, name, _type(kind), tuple(formats.get(name, ())))
                for name, kind in types.items()
            ]
        except duckdb.Error as error:
            raise malformed(path, error) from error


def repeated_rows(path: Location, missing: tuple[str, ...], columns: list[str], form: CsvForm = PLAIN) -> int:
    """Return how many rows have the same values in `columns` as an earlier row."""
    names = ", ".join(map(quoted, columns))
    with in_utf8(path, form) as (file, read_form), connect(file) as database:
        rows = scan(file, missing, form=read_form)
        query = f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM {rows})"  # noqa: S608
        try:
            return _one(database, f"SELECT count(*) FROM {rows}")[0] - _one(database, query)[0]  # noqa: S608
        except duckdb.Error as error:
            raise malformed(path, error) from error


def _texts(database: duckdb.DuckDBPyConnection, file: str, types: dict[str, str]) -> list[str]:
    """Return the columns of a CSV file to read as text: words for true and false, days that may be months or years."""
    seen = {name: kind for name, kind in types.items() if kind in ("BOOLEAN", "DATE", "TIMESTAMP")}
    if not seen:
        return []
    names = ", ".join(map(quoted, seen))
    database.execute(f"CREATE TEMP TABLE texts AS SELECT {names} FROM {file}")  # noqa: S608
    return [
        name
        for name, kind in seen.items()
        # `yes` is the label that clients know; of 03/04/2024 and 31/01/24 DuckDB would choose a reading.
        if (
            _worded(database, name)
            if kind == "BOOLEAN"
            else without_year(database, "texts", quoted(name)) is not None
            or len(time_formats(database, "texts", quoted(name))) > 1
        )
    ]


def _worded(database: duckdb.DuckDBPyConnection, name: str) -> bool:
    query = f"SELECT count(*) FROM texts WHERE lower({quoted(name)}) NOT IN ('true', 'false')"  # noqa: S608
    return bool(_one(database, query)[0])


def _time_formats(database: duckdb.DuckDBPyConnection, name: str, only_iso: bool) -> list[str]:
    """Return the formats in which every text is a date or a time: some databases have no type for them."""
    column = f"CAST({quoted(name)} AS VARCHAR)"
    query = (
        f"SELECT coalesce(bool_and(regexp_matches({column}, '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}')"  # noqa: S608 quoted
        f" AND TRY_CAST({column} AS TIMESTAMPTZ) IS NOT NULL), false) FROM given"
        f" WHERE {column} IS NOT NULL"
    )
    if _one(database, query)[0]:
        return [ISO]
    return [] if only_iso else time_formats(database, "given", quoted(name))


def _type(kind: str) -> ColumnType:
    if kind in WHOLE:
        return ColumnType.INT
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return ColumnType.FLOAT
    if kind == "BOOLEAN":
        return ColumnType.BOOL
    if kind in ("VARCHAR", "UUID") or kind.startswith("ENUM"):
        return ColumnType.TEXT
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return ColumnType.TIMESTAMP
    return ColumnType.OTHER


def _summary(
    database: duckdb.DuckDBPyConnection, name: str, kind: ColumnType, formats: tuple[str, ...]
) -> ColumnSummary:
    column = quoted(name)
    if kind is ColumnType.FLOAT:
        column = f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"
    number = f"CAST({column} AS DOUBLE)" if kind in (ColumnType.INT, ColumnType.FLOAT) else "NULL::DOUBLE"
    finite = f"FILTER (isfinite({number}))"
    # Each query over thousands of columns costs milliseconds before it begins: one for all of these.
    rows, known, distinct, low, high, mean, deviation, whole = _one(
        database,
        f"SELECT count(*), count({column}), count(DISTINCT {column}), min({number}) {finite}, "  # noqa: S608
        f"max({number}) {finite}, avg({number}) {finite}, coalesce(stddev_pop({number}) {finite}, 0), "
        f"bool_and({number} = floor({number})) {finite} FROM given",
    )
    more: dict[str, Any] = {"time_formats": formats}
    if kind in (ColumnType.INT, ColumnType.FLOAT) and known:
        more |= {"minimum": low, "maximum": high, "mean": mean, "deviation": deviation, "whole": bool(whole)}
        more["sentinels"] = tuple(
            (value, share)
            for value in sorted({low, high} & SENTINELS)
            if (share := _far_share(database, number, value)) is not None
        )
        if low is not None and low >= EARLIEST:
            more["time_unit"] = time_unit(database, "given", column)
    elif kind is ColumnType.TIMESTAMP and known:
        time = f"epoch(CAST({column} AS TIMESTAMPTZ))"
        low, high = _one(database, f"SELECT min({time}), max({time}) FROM given")  # noqa: S608
        more |= {"minimum": datetime.fromtimestamp(low, UTC), "maximum": datetime.fromtimestamp(high, UTC)}
    elif kind is ColumnType.TEXT and known:
        column = f"CAST({column} AS VARCHAR)"
        is_number = f"TRY_CAST({column} AS DOUBLE) IS NOT NULL"
        looks = f"regexp_matches({column}, '{LIKE_NUMBER}')"
        length, words, share, odd = _one(
            database,
            f"SELECT avg(length({column})), avg(len(string_split(trim({column}), ' '))), avg(CAST({looks} AS INT)), "  # noqa: S608
            f"min(CASE WHEN {is_number} THEN NULL ELSE {column} END) FROM given WHERE {column} IS NOT NULL",
        )
        more |= {"mean_length": float(length), "mean_words": float(words)}
        more |= {"number_share": float(share), "odd_text": odd}
    if kind not in (ColumnType.OTHER, ColumnType.TIMESTAMP) and distinct <= LISTED:
        pairs = database.execute(
            f"SELECT {column} AS value, count(*) FROM given WHERE {column} IS NOT NULL "  # noqa: S608
            "GROUP BY ALL ORDER BY value"
        ).fetchall()
        more |= {"values": tuple(pair[0] for pair in pairs), "counts": tuple(pair[1] for pair in pairs)}
    return ColumnSummary(name=name, type=kind, rows=rows, missing=rows - known, distinct=distinct, **more)


def _array(database: duckdb.DuckDBPyConnection, name: str, kind: str) -> ColumnSummary:
    column = quoted(name)
    size, problem = array_size(database, "given", name, kind)
    rows, known, distinct = _one(
        database,
        f"SELECT count(*), count({column}), count(DISTINCT {column}) FROM given",  # noqa: S608
    )
    low = high = None
    if size:
        numbers = f"CAST({column} AS DOUBLE[])"
        low, high = _one(
            database,
            f"SELECT min(list_min({numbers})), max(list_max({numbers})) FROM given",  # noqa: S608
        )
    return ColumnSummary(
        name, ColumnType.ARRAY if size else ColumnType.OTHER, rows, rows - known, distinct, low, high,
        size=size, problem=problem,
    )  # fmt: skip


def _far_share(database: duckdb.DuckDBPyConnection, number: str, value: float) -> float | None:
    """Return the share of a number of which there are many, further from the others than these reach; else None."""
    equal, low, high = _one(
        database,
        f"SELECT avg(CAST({number} = {value} AS INT)), min({number}) FILTER ({number} <> {value}), "  # noqa: S608
        f"max({number}) FILTER ({number} <> {value}) FROM given WHERE isfinite({number})",
    )
    if low is None or equal < FREQUENT or min(abs(value - low), abs(value - high)) < high - low:
        return None
    return float(equal)


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    # All rows: with a result that is not read to its end, DuckDB alters no table.
    return tuple(next(iter(database.execute(query).fetchall()), ()))
