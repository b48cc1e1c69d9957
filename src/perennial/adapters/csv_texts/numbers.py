"""Numbers in other forms than 1234.5: with a decimal comma, thousands apart, or a unit such as $12 or 5 %.

DuckDB has options for some of these forms, but skips the sign between thousands wherever it stands, and finds no such
number in files of more than 2,048 rows. A text must match its form as a whole here; else it is no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import duckdb

from perennial.adapters.csv_texts.times import NUMBERS
from perennial.core.data_spec import UNITS, CsvForm

BLANK = r"[\s\x{00A0}\x{2009}\x{202F}]"
"""Blanks, also those that keep a number on one line."""
UNIT = f"[{''.join(UNITS)}]"


def literal(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def matches(column: str, decimal: str, thousands: str | None, unit: str | None = None) -> str:
    """Return the SQL of whether a text is a number of a form.

    Thousands are groups of three digits, of which the first does not begin with 0. A unit stands on either side.

    Args:
        column: SQL of the text.
        unit: a sign of `UNITS`; None: there is none.
    """
    whole, point = "[0-9]+", re.escape(decimal)
    if thousands is not None:
        between = BLANK if thousands == " " else re.escape(thousands)
        whole = f"(?:[1-9][0-9]{{0,2}}(?:{between}[0-9]{{3}})+|{whole})"
    number = f"(?:(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][-+]?[0-9]+)?|(?i:nan|inf|infinity))"
    form = f"[-+]?{number}"
    if unit is not None:
        sign = re.escape(unit)
        before = f"(?:[-+]?{BLANK}*{sign}{BLANK}*{number}|{sign}{BLANK}*[-+]{number})"
        form = f"(?:{before}|{form}{BLANK}*{sign})"
    return f"regexp_full_match({column}, {literal(f'{BLANK}*{form}{BLANK}*')})"


def as_plain(column: str, decimal: str, thousands: str | None, unit: str | None = None) -> str:
    """Return the SQL of a text that `matches`, as 1234.5."""
    plain = column if unit is None else f"replace({column}, {literal(unit)}, '')"
    plain = f"regexp_replace({plain}, {literal(BLANK)}, '', 'g')"
    if thousands not in (None, " "):
        plain = f"replace({plain}, {literal(str(thousands))}, '')"
    return plain if decimal == "." else f"replace({plain}, {literal(decimal)}, '.')"


def number_types(
    database: duckdb.DuckDBPyConnection, texts: str, types: Mapping[str, str], form: CsvForm
) -> dict[str, str]:
    """Return the types of the columns that DuckDB takes for something else than the form says.

    Args:
        texts: SQL after FROM, with each column as text.
        types: column -> type that DuckDB finds.
    """
    # 1.234 is a number to DuckDB, and may be a thousand to the form.
    seen = [
        name for name, kind in types.items() if kind == "VARCHAR" or (form.decimal == "," and kind in NUMBERS)
    ]
    if form.is_plain_number or not seen:
        return {}
    asked = []
    for name in seen:
        column, unit = quoted(name), form.units.get(name)
        plain = as_plain(column, form.decimal, form.thousands, unit)
        whole = f"regexp_full_match({plain}, '[-+]?[0-9]+') AND TRY_CAST({plain} AS BIGINT) IS NOT NULL"
        asked.append(
            f"coalesce(bool_and({matches(column, form.decimal, form.thousands, unit)}), false), bool_and({whole})"
        )
    row = database.execute(f"SELECT {', '.join(asked)} FROM {texts}").fetchall()[0]  # noqa: S608 quoted
    return {
        name: ("BIGINT" if is_whole else "DOUBLE") if is_number else "VARCHAR"
        for name, is_number, is_whole in zip(seen, row[::2], row[1::2], strict=True)
    }


def quoted(name: str) -> str:
    """Return an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
