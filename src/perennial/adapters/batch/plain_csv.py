"""CSV files that need a single pass: fields in double quotes or none, and times as ISO 8601.

DuckDB reads a file once more for each question about the whole of it: the types of its columns, the form of its times.
Here no type is looked for, every value is cast by itself, and what a cast cannot decide is left to the longer way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import duckdb

from perennial.adapters.csv_texts.lines import separator
from perennial.adapters.csv_texts.numbers import literal, quoted
from perennial.adapters.csv_texts.times import SAMPLE, YEAR
from perennial.adapters.file_scan import Location, check_there
from perennial.core.data_spec import CsvForm

LOOKED_AT = 2048
"""Rows from which separator and quotes are found."""
DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
EARLIEST, LATEST = "1000-01-01", "9999-12-31 23:59:59.999999"


def plain_scan(
    database: duckdb.DuckDBPyConnection, path: Location, missing: tuple[str, ...], form: CsvForm
) -> tuple[str, list[str]] | None:
    """Return a table function over a CSV file with every column as text, and the columns; None where its first rows
    have another form, or nothing is found in them.

    Raises:
        As `file_scan.check_there`.
    """
    check_there(path)
    given = literal(os.fspath(path)) + f", encoding = '{form.encoding}', header = true"
    sign = separator(path, form.encoding)
    known = f", delim = {literal(sign)}" if sign is not None else ""
    try:
        row = database.execute(
            "SELECT Delimiter, Quote, Escape, Comment, SkipRows, [each.name FOR each IN Columns] "  # noqa: S608
            f"FROM sniff_csv({given}{known}, sample_size = {LOOKED_AT})"
        ).fetchone()
    except duckdb.InvalidInputException:
        return None
    if row is None:
        return None
    delimiter, quote, escape, comment, skipped, names = row
    if {quote, escape, comment} - {'"', "", "\0", "(empty)"} or skipped or len(names) < 2:
        return None
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    nulls = ", ".join(map(literal, missing)) or "''"
    return (
        f"read_csv({given}, auto_detect = false, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
        f"nullstr = [{nulls}], columns = {{{columns}}})",
        names,
    )


def has_plain_times(database: duckdb.DuckDBPyConnection, rows: str, names: Sequence[str]) -> bool:
    """Return whether the first known texts of each column are times as ISO 8601.

    Where they are, no other form can hold for the column: what follows is a time by itself or none.
    """
    for name in names:
        column = quoted(name)
        is_plain = (
            f"regexp_full_match(text, '{DAY}') AND {time_of('text')} IS NOT NULL AND NOT ({odd_year('text')})"
        )
        first = f"SELECT {column} AS text FROM {rows} WHERE {column} IS NOT NULL LIMIT {SAMPLE}"  # noqa: S608
        query = f"SELECT coalesce(bool_and({is_plain}), true) FROM ({first})"  # noqa: S608
        if database.execute(query).fetchall() != [(True,)]:
            return False
    return True


def time_of(column: str) -> str:
    """Return the SQL of a time from a text."""
    return f"TRY_CAST({column} AS TIMESTAMPTZ)"


def odd_year(column: str) -> str:
    """Return the SQL of whether a text is a time with a year of other than four digits."""
    time = time_of(column)
    return f"({time} < '{EARLIEST}' OR {time} > '{LATEST}') AND NOT regexp_matches({column}, '{YEAR}')"
