"""Summaries of the columns of a file, computed by DuckDB."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from perennial.adapters.table_files import Location, connect, described, malformed, quoted, scan
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType

LISTED = 200
"""Most distinct values that are listed."""
LIKE_NUMBER = r"^\s*[-+]?[$€£]?\s*[0-9][0-9., ]*([eE][-+]?[0-9]+)?\s*[%€$£]?\s*$"
"""Texts that a person takes for a number."""
WHOLE = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)


def summarise(path: Location, missing: tuple[str, ...]) -> list[ColumnSummary]:
    """Return a summary of each column of a table, in the order of the file.

    Args:
        missing: texts of a CSV file that stand for a missing value.

    Raises:
        DatasetMissing: there is no such file. MalformedInput: it is no table.
    """
    with connect(path) as database:
        types = described(database, path, missing)
        try:
            texts = [
                name
                for name, kind in types.items()
                if kind == "BOOLEAN" and _worded(database, path, missing, name)
            ]
            types |= dict.fromkeys(texts, "VARCHAR")
            times = [
                name
                for name, kind in types.items()
                if kind == "VARCHAR" and _times(database, path, missing, name)
            ]
            types |= dict.fromkeys(times, "TIMESTAMPTZ")
            file = scan(path, missing, texts=texts)
            database.execute(f"CREATE TEMP TABLE given AS SELECT * FROM {file}")  # noqa: S608
            return [_summary(database, name, _type(kind)) for name, kind in types.items()]
        except duckdb.Error as error:
            raise malformed(path, error) from error


def repeated_rows(path: Location, missing: tuple[str, ...], columns: list[str]) -> int:
    """Return how many rows have the same values in `columns` as an earlier row."""
    names = ", ".join(map(quoted, columns))
    query = f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM {scan(path, missing)})"  # noqa: S608
    total = f"SELECT count(*) FROM {scan(path, missing)}"  # noqa: S608
    with connect(path) as database:
        try:
            return _one(database, total)[0] - _one(database, query)[0]
        except duckdb.Error as error:
            raise malformed(path, error) from error


def _worded(database: duckdb.DuckDBPyConnection, path: Location, missing: tuple[str, ...], name: str) -> bool:
    """Return whether a CSV file has words for true and false: `yes` is the label that clients know."""
    file, column = scan(path, missing, text=True), quoted(name)
    query = f"SELECT count(*) FROM {file} WHERE lower(CAST({column} AS VARCHAR)) NOT IN ('true', 'false')"  # noqa: S608
    return bool(_one(database, query)[0])


def _times(database: duckdb.DuckDBPyConnection, path: Location, missing: tuple[str, ...], name: str) -> bool:
    """Return whether every text is a date or a time: some databases have no type for them."""
    column = f"CAST({quoted(name)} AS VARCHAR)"
    query = (
        f"SELECT coalesce(bool_and(regexp_matches({column}, '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}')"  # noqa: S608 quoted
        f" AND TRY_CAST({column} AS TIMESTAMPTZ) IS NOT NULL), false) FROM {scan(path, missing)}"
        f" WHERE {column} IS NOT NULL"
    )
    return bool(_one(database, query)[0])


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


def _summary(database: duckdb.DuckDBPyConnection, name: str, kind: ColumnType) -> ColumnSummary:
    column = quoted(name)
    if kind is ColumnType.FLOAT:
        column = f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"
    rows, known, distinct = _one(
        database,
        f"SELECT count(*), count({column}), count(DISTINCT {column}) FROM given",  # noqa: S608
    )
    more: dict[str, Any] = {}
    if kind in (ColumnType.INT, ColumnType.FLOAT) and known:
        number = f"CAST({column} AS DOUBLE)"
        low, high, mean, deviation, whole = _one(
            database,
            f"SELECT min({number}), max({number}), avg({number}), coalesce(stddev_pop({number}), 0), "  # noqa: S608
            f"bool_and({number} = floor({number})) FROM given WHERE isfinite({number})",
        )
        more = {"minimum": low, "maximum": high, "mean": mean, "deviation": deviation, "whole": bool(whole)}
    elif kind is ColumnType.TIMESTAMP and known:
        time = f"epoch(CAST({column} AS TIMESTAMPTZ))"
        low, high = _one(database, f"SELECT min({time}), max({time}) FROM given")  # noqa: S608
        more = {"minimum": datetime.fromtimestamp(low, UTC), "maximum": datetime.fromtimestamp(high, UTC)}
    elif kind is ColumnType.TEXT and known:
        column = f"CAST({column} AS VARCHAR)"
        is_number = f"TRY_CAST({column} AS DOUBLE) IS NOT NULL"
        looks = f"regexp_matches({column}, '{LIKE_NUMBER}')"
        length, share, odd = _one(
            database,
            f"SELECT avg(length({column})), avg(CAST({looks} AS INT)), "  # noqa: S608
            f"min(CASE WHEN {is_number} THEN NULL ELSE {column} END) FROM given WHERE {column} IS NOT NULL",
        )
        more = {"mean_length": float(length), "number_share": float(share), "odd_text": odd}
    if kind not in (ColumnType.OTHER, ColumnType.TIMESTAMP) and distinct <= LISTED:
        pairs = database.execute(
            f"SELECT {column} AS value, count(*) FROM given WHERE {column} IS NOT NULL "  # noqa: S608
            "GROUP BY ALL ORDER BY value"
        ).fetchall()
        more |= {"values": tuple(pair[0] for pair in pairs), "counts": tuple(pair[1] for pair in pairs)}
    return ColumnSummary(name=name, type=kind, rows=rows, missing=rows - known, distinct=distinct, **more)


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = database.execute(query).fetchone()
    return tuple(row or ())
