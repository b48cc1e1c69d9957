"""The form of a CSV file: its encoding, its number format, and its signs for a missing value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from perennial.adapters.csv_texts.encodings import encoding_of, in_utf8
from perennial.adapters.csv_texts.numbers import BLANK, UNIT, as_plain, literal, matches, quoted
from perennial.adapters.file_scan import PLAIN, Location, check_there, connect, described, is_csv, scan
from perennial.core.data_spec import UNITS, CsvForm

SIGNS = (
    "?",
    "-",
    "--",
    ".",
    "*",
    "#N/A",
    "None",
    "none",
    "<NA>",
    "n/a",
    "na",
    "n.a.",
    "missing",
    "unknown",
    "NIL",
)
"""Texts that stand for a missing value where everything else in a column is a number."""
SHAPES: tuple[tuple[str, str | None], ...] = (
    (".", None), (",", None), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"),
)  # fmt: skip
"""Decimal sign and sign between thousands of numbers, the plain one first."""


@dataclass(frozen=True)
class NumberTexts:
    """A column of texts that are numbers."""

    name: str
    unit: str | None
    readings: dict[tuple[str, str | None], int]
    """Shape that all texts have -> hash of the numbers that they are then."""

    @property
    def decides(self) -> bool:
        """Return whether the numbers have another shape than the plain one, and only one reading."""
        return SHAPES[0] not in self.readings and len(set(self.readings.values())) == 1


def csv_form(path: Location, missing: tuple[str, ...]) -> tuple[CsvForm, dict[str, str]]:
    """Return the form of a CSV file, and further signs for a missing value: sign -> a column that has it.

    Numbers have a decimal comma, or thousands apart, where some column can only be read so, no column speaks against
    it, and every column then has one reading. Each number of a column has the same unit, or none has one. Parquet
    files have the plain form.

    Args:
        missing: texts that are known to stand for a missing value.

    Raises:
        DatasetMissing: there is no such file. MalformedInput: it is empty, or no table.
    """
    check_there(path)
    if not is_csv(path):
        return PLAIN, {}
    form = PLAIN.model_copy(update={"encoding": encoding_of(Path(path))}) if Path(path).is_file() else PLAIN
    with in_utf8(path, form) as (file, read_form), connect(file) as database:
        types = described(database, file, missing, read_form)
        texts = [column for column, kind in types.items() if kind == "VARCHAR"]
        if not texts:
            return form, {}
        rows = scan(file, missing, text=True, form=read_form)
        _keep(database, texts, rows)
        signs: dict[str, str] = {}
        columns: list[NumberTexts] = []
        for name in texts:
            odd = _odd_texts(database, name)
            if odd is None or len(odd) > 1 or (odd and odd[0].strip() not in SIGNS):
                continue
            signs |= dict.fromkeys(odd, name)
            columns.append(_readings(database, name))
        pointed = [column for column, kind in types.items() if kind in ("DOUBLE", "FLOAT")]
        if pointed and _shape(columns)[0] == ",":
            # Beside 1,5 the point in 12.345 is one between thousands, or speaks against the comma.
            _keep(database, pointed, rows)
            columns += [_readings(database, name) for name in pointed]
    decimal, thousands = _shape(columns)
    units = {
        column.name: column.unit
        for column in columns
        if column.unit is not None and (decimal, thousands) in column.readings
    }
    return form.model_copy(update={"decimal": decimal, "thousands": thousands, "units": units}), signs


def _keep(database: duckdb.DuckDBPyConnection, names: list[str], rows: str) -> None:
    """Make the table `texts` of columns of a table of texts."""
    listed = ", ".join(map(quoted, names))
    database.execute(f"CREATE OR REPLACE TEMP TABLE texts AS SELECT {listed} FROM {rows}")  # noqa: S608


def _shape(columns: list[NumberTexts]) -> tuple[str, str | None]:
    """Return decimal sign and sign between thousands of a file."""
    columns = [column for column in columns if column.readings]
    shapes = [shape for shape in SHAPES if all(shape in column.readings for column in columns)]
    several = any(len({column.readings[shape] for shape in shapes}) > 1 for column in columns)
    if not shapes or several or not any(column.decides for column in columns):
        return SHAPES[0]
    return shapes[0]


def _odd_texts(database: duckdb.DuckDBPyConnection, name: str) -> list[str] | None:
    """Return at most two texts that are no numbers of any form; None if most are none."""
    column = quoted(name)
    plain = f"regexp_replace({column}, {literal(f'{BLANK}*{UNIT}{BLANK}*')}, '')"
    number = " OR ".join(
        [f"TRY_CAST({column} AS DOUBLE) IS NOT NULL", *(matches(plain, *shape) for shape in SHAPES)]
    )
    row = database.execute(
        f"SELECT count(*) FILTER ({number}) >= count(*) / 2, min({column}) FILTER (NOT ({number})), "  # noqa: S608
        f"max({column}) FILTER (NOT ({number})) FROM texts WHERE {column} IS NOT NULL"
    ).fetchone()
    mostly, *odd = row or (False,)
    return sorted({text for text in odd if text is not None}) if mostly else None


def _readings(database: duckdb.DuckDBPyConnection, name: str) -> NumberTexts:
    column, signs = quoted(name), ", ".join(map(literal, SIGNS))
    known = f"FROM texts WHERE trim({column}) NOT IN ({signs})"
    sign = f"regexp_extract({column}, {literal(UNIT)})"
    first, last = (database.execute(f"SELECT min({sign}), max({sign}) {known}").fetchone()) or ("", "")
    unit = first if first == last and first in UNITS else None
    asked = ", ".join(
        f"bool_and({matches(column, *shape, unit)}), sum(hash(TRY_CAST({as_plain(column, *shape, unit)} AS DOUBLE)))"
        for shape in SHAPES
    )
    row = (
        database.execute(f"SELECT {asked}, min(length({column})) < max(length({column})) {known}").fetchone()
        or ()
    )
    readings = {
        shape: row[2 * place + 1]
        for place, shape in enumerate(SHAPES)
        # 555 123 in every row may be a telephone number or a code.
        if row[2 * place] and (row[-1] or shape[1] != " ")
    }
    return NumberTexts(name, unit, readings)
