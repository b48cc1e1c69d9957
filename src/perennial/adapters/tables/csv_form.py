"""The form of a CSV file: its encoding, its number format, and its signs for a missing value."""

from __future__ import annotations

import codecs
import gzip
import os
import re
from pathlib import Path
from typing import Literal

import duckdb

from perennial.adapters.csv_texts.times import NUMBERS
from perennial.adapters.table_files import PLAIN, Location, connect, described, scan
from perennial.adapters.typed_columns import quoted
from perennial.core.data_spec import CsvForm
from perennial.errors import MalformedInput

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
COMMA = r"^\s*[-+]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)(,[0-9]+)?([eE][-+]?[0-9]+)?\s*$"
POINT = r"^\s*[-+]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?([eE][-+]?[0-9]+)?\s*$"
CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
CONTROLS = re.compile(rb"[\x80-\x9f]")
BLOCK = 1 << 20


def csv_form(path: Location, missing: tuple[str, ...]) -> tuple[CsvForm, dict[str, str]]:
    """Return the form of a CSV file, and further signs for a missing value: sign -> a column that has it.

    Numbers have a decimal comma, or thousands apart, where some column can only be read so, and no column speaks
    against it. Parquet files have the plain form.

    Args:
        missing: texts that are known to stand for a missing value.

    Raises:
        DatasetMissing: there is no such file. MalformedInput: it is empty, or no table.
    """
    if not os.fspath(path).lower().endswith(CSV):
        return PLAIN, {}
    form = PLAIN.model_copy(update={"encoding": _encoding(Path(path))}) if Path(path).is_file() else PLAIN
    with connect(path) as database:
        types = described(database, path, missing, form)
        texts = [column for column, kind in types.items() if kind == "VARCHAR"]
        file = scan(path, missing, text=True, form=form)
        signs: dict[str, str] = {}
        commas: list[str] = []
        points: list[str] = []
        for column in texts:
            odd = _odd_texts(database, file, column)
            if odd is None or len(odd) > 1 or (odd and odd[0].strip() not in SIGNS):
                continue
            signs |= dict.fromkeys(odd, column)
            can_be = [_reads(database, file, column, pattern) for pattern in (COMMA, POINT)]
            commas += [column] if can_be == [True, False] else []
            points += [column] if can_be == [False, True] else []
        if commas and not points and not {"DOUBLE", "FLOAT"} & set(types.values()):
            whole = [column for column in commas if _reads(database, file, column, r"^[^.]*$")]
            pattern, plain = COMMA, form.model_copy(update={"decimal": ","}) if whole else form
            apart = len(whole) < len(commas)
            form = form.model_copy(update={"decimal": ",", "thousands": "." if apart else None})
        elif points and not commas:
            pattern, plain = POINT, form
            form = form.model_copy(update={"thousands": ","})
        if form.thousands is not None:
            read_as = described(database, path, (*missing, *signs), form)
            new = [name for name, kind in read_as.items() if kind in NUMBERS and types[name] not in NUMBERS]
            # DuckDB skips the sign wherever it stands: 192.168.1.11 would be the number 192168111.
            if not all(_reads(database, file, name, pattern, r".") for name in new):
                form = plain
    return form, signs


def _odd_texts(database: duckdb.DuckDBPyConnection, file: str, column: str) -> list[str] | None:
    """Return at most two texts that are no numbers; None if most are none."""
    name = quoted(column)
    number = f"(TRY_CAST({name} AS DOUBLE) IS NOT NULL OR regexp_matches({name}, '{COMMA}|{POINT}'))"
    row = database.execute(
        f"SELECT count(*) FILTER ({number}) >= count(*) / 2, list(DISTINCT {name}) FILTER (NOT {number}) "  # noqa: S608
        f"FROM {file} WHERE {name} IS NOT NULL"
    ).fetchone()
    mostly, odd = row or (False, None)
    return sorted(odd or [])[:2] if mostly else None


def _reads(
    database: duckdb.DuckDBPyConnection, file: str, column: str, pattern: str, some: str = ","
) -> bool:
    """Return whether all numbers of a column match a pattern, and some match another, such as a comma."""
    name, signs = quoted(column), ", ".join(f"'{sign}'" for sign in SIGNS)
    row = database.execute(
        f"SELECT bool_and(regexp_matches({name}, '{pattern}')) AND bool_or(regexp_matches({name}, '{some}')) "  # noqa: S608
        f"FROM {file} WHERE trim({name}) NOT IN ({signs})"
    ).fetchone()
    return bool(row and row[0])


def _encoding(path: Path) -> Literal["utf-8", "utf-16", "latin-1"]:
    opens = gzip.open if path.name.lower().endswith(".gz") else open
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, is_ascii, has_text, before = True, True, False, 0
    with opens(path, "rb") as file:
        while True:
            block = file.read(BLOCK)
            if not before and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            has_text = has_text or bool(block.strip())
            try:
                # Without `final`, a last byte that begins a character of UTF-8 would be let through.
                is_ascii = decoder.decode(block, final=not block).isascii() and is_ascii
            except UnicodeDecodeError as error:
                if not is_ascii and is_utf8 and not block:
                    raise MalformedInput(
                        f"{path} ends within a character of UTF-8", hint="the file was cut: copy it again"
                    ) from error
                is_utf8 = False
            if not is_utf8 and (wrong := CONTROLS.search(block)):
                raise MalformedInput(
                    f"{path}: byte {before + wrong.start()} is {wrong.group()!r}: neither UTF-8 nor Latin-1",
                    hint="save it as UTF-8",
                )
            if not block:
                break
            before += len(block)
    if not has_text:
        raise MalformedInput(
            f"{path} is empty", hint="the first line names the columns, each further line is a row"
        )
    return "utf-8" if is_utf8 else "latin-1"
