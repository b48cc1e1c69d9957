"""Times in other forms than ISO 8601: texts such as 31/01/2024 14:00, and numbers such as seconds since 1970."""

from __future__ import annotations

import itertools

import duckdb

from perennial.errors import MalformedInput

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
NUMBERS = (*WHOLE, "FLOAT", "DOUBLE")
DAYS = (
    "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y", "%b %d %Y",
    "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d %m %Y", "%m %d %Y",
)  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", "T%H:%M:%S")
FORMATS = (
    *map("".join, itertools.product(DAYS, CLOCKS)),
    "%Y-%m",
    "%Y/%m",
    "%m/%Y",
    "%b %Y",
    "%B %Y",
    "%b-%Y",
)
SAMPLE = 200
YEAR = "(^|[^0-9])([1-9][0-9]{3}|000[1-9])([^0-9]|$)"
"""A year of four digits in a text: DuckDB takes 17-Jan-24 for a time in the year 24, and so the version 1.3.1."""
UNITS = {
    "year": (1500, 2200, "make_timestamp(CAST({0} AS BIGINT), 1, 1, 0, 0, 0)"),
    "day as 20240131": (19000101, 22001231, "strptime(CAST(CAST({0} AS BIGINT) AS VARCHAR), '%Y%m%d')"),
    "second since 1970": (4e8, 5e9, "to_timestamp({0})"),
    "millisecond since 1970": (4e11, 5e12, "to_timestamp({0} / 1000)"),
}
"""Unit of a time that is a number -> lowest and highest value, and SQL that makes a time of it."""

EARLIEST = min(low for low, _, _ in UNITS.values())


def time_formats(database: duckdb.DuckDBPyConnection, table: str, column: str) -> list[str]:
    """Return the formats in which every known text of a column is a time; two, where day and month may be swapped.

    A year has four digits, and formats that read each text alike count as one.

    Args:
        table: SQL after FROM.
        column: a quoted name.
    """
    known = f"SELECT CAST({column} AS VARCHAR) AS text FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608 quoted
    # Most texts are no times: a hundred formats are only tried where a year is in each.
    has_years = f"coalesce(bool_and(regexp_matches(text, '{YEAR}')), false)"
    query = f"SELECT {has_years} FROM ({known} LIMIT {SAMPLE})"  # noqa: S608
    formats = [*FORMATS] if database.execute(query).fetchall() == [(True,)] else []
    for rows in (f"{known} LIMIT {SAMPLE}", known):
        if not formats:
            return []
        fits = ", ".join(
            f"coalesce(bool_and(try_strptime(text, '{form}') IS NOT NULL), false)" for form in formats
        )
        dated, *row = database.execute(f"SELECT {has_years}, {fits} FROM ({rows})").fetchall()[0]  # noqa: S608
        formats = [form for form, right in zip(formats, row, strict=True) if right and dated]
    if len(formats) < 2:
        return formats
    first, *others = formats
    # %b and %B both read 17 May 2024.
    differs = ", ".join(f"bool_or(strptime(text, '{first}') <> strptime(text, '{form}'))" for form in others)
    row = database.execute(f"SELECT {differs} FROM ({known})").fetchall()[0]  # noqa: S608
    return [first, *(form for form, other in zip(others, row, strict=True) if other)]


def without_year(database: duckdb.DuckDBPyConnection, table: str, column: str) -> str | None:
    """Return a text of a column that has no year of four digits; None if each has one."""
    query = f"SELECT min({column}) FROM {table} WHERE NOT regexp_matches({column}, '{YEAR}')"  # noqa: S608 quoted
    return database.execute(query).fetchall()[0][0]  # type: ignore[no-any-return]


def time_format(database: duckdb.DuckDBPyConnection, table: str, column: str) -> str | None:
    """Return the format of the times of a text column; None where there is none, or several."""
    formats = time_formats(database, table, column)
    return formats[0] if len(formats) == 1 else None


def has_one_reading(
    database: duckdb.DuckDBPyConnection, texts: str, name: str, column: str, read_as: str, path: str
) -> None:
    """Refuse times of which DuckDB would choose a reading: 03/04/2024, 31/01/24.

    Args:
        texts: SQL after FROM, with each column as text.
        column: the quoted name.
        read_as: type that DuckDB finds for the column.

    Raises:
        MalformedInput: day and month may be swapped in every row, or a year has two digits.
    """
    if read_as in NUMBERS:
        return
    hint = "write times as 2024-01-31"
    if read_as != "VARCHAR" and (text := without_year(database, texts, column)) is not None:
        raise MalformedInput(f"{path}: {name} has {text!r}, no time with a year of four digits", hint=hint)
    if len(time_formats(database, texts, column)) > 1:
        raise MalformedInput(
            f"{path}: every {name} may be day/month or month/day, also where other files had later days",
            hint=hint,
        )


def time_sql(database: duckdb.DuckDBPyConnection, table: str, column: str, read_as: str) -> str:
    """Return the SQL of a column of times, in a type that DuckDB casts to a time.

    Args:
        table: SQL after FROM.
        column: a quoted name.
        read_as: type that DuckDB finds for the column.
    """
    if read_as in NUMBERS and (unit := time_unit(database, table, column)):
        return as_time(column, unit)
    if read_as == "VARCHAR" and (form := time_format(database, table, column)):
        return f"strptime({column}, '{form}')"
    if read_as in ("DATE", "TIMESTAMP"):
        # A bare cast reaches the CSV reader, which then forgets the form that it has read.
        return f"{column} + INTERVAL 0 SECOND"
    return column


def time_unit(database: duckdb.DuckDBPyConnection, table: str, column: str) -> str | None:
    """Return the unit of `UNITS` in which every number of a column is a time; None if there is none."""
    number = f"CAST({column} AS DOUBLE)"
    row = database.execute(
        f"SELECT min({number}), max({number}), bool_and({number} % 1 = 0) FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
    ).fetchall()
    low, high, whole = row[0]
    for unit, (lowest, highest, _) in UNITS.items():
        if low is not None and lowest <= low and high <= highest and (whole or "second" in unit):
            text = f"CAST(CAST({column} AS BIGINT) AS VARCHAR)"
            wrong = f"{column} IS NOT NULL AND try_strptime({text}, '%Y%m%d') IS NULL"
            query = f"SELECT count(*) FROM {table} WHERE {wrong}"  # noqa: S608
            days = not unit.startswith("day") or database.execute(query).fetchall() == [(0,)]
            return unit if days else None
    return None


def as_time(column: str, unit: str) -> str:
    """Return the SQL of a time from a number in a unit of `UNITS`."""
    return UNITS[unit][2].format(column)
