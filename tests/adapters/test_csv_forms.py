"""The form of a CSV file is found in all of its rows, and read as the spec says; what has no one form is no number."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from perennial.adapters.table_files import TableFile
from perennial.adapters.table_summary import summarise
from perennial.adapters.tables.csv_form import csv_form
from perennial.core.data_spec import CsvForm
from perennial.core.input_spec import InputKind
from perennial.errors import MalformedInput

ROWS = 2500
"""More than the 2,048 rows that DuckDB looks at in one piece."""
COUNTS = np.random.default_rng(3).integers(1_000_000, 90_000_000, ROWS)
SIGNS = {",": ",", ".": ".", " ": " ", "\u00a0": " ", "\u202f": " ", "'": "'"}
"""Sign in a file -> sign in its form."""


def apart(number: int, sign: str) -> str:
    return f"{number:,}".replace(",", sign)


def written(path, texts, name="n"):
    pd.DataFrame({name: texts, "other": np.arange(len(texts)) % 3}).to_csv(path, index=False, sep=";")


def kinds(path, form, signs=()):
    return {column.name: column.type.value for column in summarise(path, ("", *signs), form)}


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("late", [False, True])
def test_thousands_apart_are_numbers_in_a_file_of_any_length(tmp_path, sign, late):
    path = tmp_path / "t.csv"
    texts = [apart(n, sign) if not late or row >= ROWS - 3 else str(n) for row, n in enumerate(COUNTS)]
    written(path, texts)
    form, _ = csv_form(path, ("",))
    assert form.thousands == SIGNS[sign]
    assert kinds(path, form) == {"n": "int", "other": "int"}
    for kind in (InputKind.INT, InputKind.FLOAT):
        assert TableFile(path, {"n": kind}, ("",), "t", form).read()["n"].tolist() == COUNTS.tolist()


@pytest.mark.parametrize(
    "odd", ["1,234,5", "12,34", "1.234.567", "1 234 567", "1,234.5.6", "$1,234,567", "0,123,456"]
)
def test_a_column_of_mixed_forms_is_no_number_and_later_rows_of_another_form_are_named(tmp_path, odd):
    path = tmp_path / "t.csv"
    texts = [apart(n, ",") for n in COUNTS]
    written(path, texts)
    form, _ = csv_form(path, ("",))
    written(path, [*texts[:-1], odd])
    mixed, _ = csv_form(path, ("",))
    summary = {column.name: column for column in summarise(path, ("",), mixed)}
    assert (mixed.thousands, summary["n"].type.value) == (None, "text")
    with pytest.raises(MalformedInput) as refused:
        TableFile(path, {"n": InputKind.FLOAT}, ("",), "t", form).read()
    assert f"row {ROWS}, n is {odd!r}" in refused.value.message


@pytest.mark.parametrize("sign", [",", " "])
def test_a_number_with_two_readings_decides_nothing(tmp_path, sign):
    """1,234 may have a fraction; 555 123 in every row may be a telephone number."""
    path = tmp_path / "t.csv"
    written(path, [apart(n % 900_000 + 100_000, sign) for n in COUNTS])
    assert csv_form(path, ("",))[0] == CsvForm()


@pytest.mark.parametrize(
    ("make", "stated"),
    [
        (lambda n: f"${n}", {"units": {"n": "$"}}),
        (lambda n: f"-$ {n}.5", {"units": {"n": "$"}}),
        (lambda n: f"{n} €", {"units": {"n": "€"}}),
        (lambda n: f"{n}\u00a0%", {"units": {"n": "%"}}),
        (lambda n: f"{n},5 €", {"decimal": ",", "units": {"n": "€"}}),
        (lambda n: f"£{n:,}.50", {"thousands": ",", "units": {"n": "£"}}),
    ],
)
def test_numbers_with_one_unit_are_numbers_without_it(tmp_path, make, stated):
    path = tmp_path / "t.csv"
    texts = [make(n) if row % 7 else "-" for row, n in enumerate(COUNTS)]
    written(path, texts)
    form, signs = csv_form(path, ("",))
    assert (form.model_dump(exclude_defaults=True), signs) == (stated, {"-": "n"})
    numbers = TableFile(path, {"n": InputKind.FLOAT}, ("", "-"), "t", form).read()["n"]
    half = 0.5 if "5" in make(0) else 0
    sign = -1 if make(0).startswith("-") else 1
    assert numbers.isna().tolist() == [row % 7 == 0 for row in range(ROWS)]
    assert numbers.dropna().tolist() == [sign * (n + half) for row, n in enumerate(COUNTS) if row % 7]
    for other in ("7", "7 ¥"):
        written(path, [*texts[:-1], other])
        assert not csv_form(path, ("",))[0].units
        with pytest.raises(MalformedInput, match=f"n is '{other}', no number of the form"):
            TableFile(path, {"n": InputKind.FLOAT}, ("", "-"), "t", form).read()


@pytest.mark.parametrize(
    ("beside", "decimal", "inhabitants"),
    [("1.234,5", ",", 12345), ("1,5", ",", 12345), ("0,5 %", ",", 12345), ("$1.5", ".", 12.345)],
)
def test_a_point_between_thousands_is_known_by_the_other_columns(tmp_path, beside, decimal, inhabitants):
    """12.345 alone is a number with a fraction."""
    path = tmp_path / "t.csv"
    pd.DataFrame({"inhabitants": ["12.345", "1.000"], "n": [beside, beside]}).to_csv(
        path, sep=";", index=False
    )
    form, _ = csv_form(path, ("",))
    assert form.decimal == decimal
    types = {"inhabitants": InputKind.FLOAT, "n": InputKind.FLOAT}
    assert TableFile(path, types, ("",), "t", form).read()["inhabitants"].iloc[0] == inhabitants


@pytest.mark.parametrize("fraction", ["12.5", "0.123", "1234.567"])
def test_a_point_that_is_none_between_thousands_speaks_against_a_comma(tmp_path, fraction):
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": ["12.345", fraction], "b": ["1,5", "2,5"]}).to_csv(path, sep=";", index=False)
    form, _ = csv_form(path, ("",))
    assert form == CsvForm()
    assert kinds(path, form) == {"a": "float", "b": "text"}


def test_a_unit_that_is_none_is_no_form():
    with pytest.raises(ValueError, match="not n: 'km'"):
        CsvForm(units={"n": "km"})


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_windows_1252_is_read_and_named(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    texts = ["5 €", "6 €", "7 €"], ["don’t", "café – noir", "“vert”"]
    content = "n;kind\n" + "".join(f"{n};{kind}\n" for n, kind in zip(*texts, strict=True))
    data = content.encode("windows-1252")
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    form, _ = csv_form(path, ("",))
    assert form.model_dump(exclude_defaults=True) == {"encoding": "windows-1252", "units": {"n": "€"}}
    types = {"n": InputKind.INT, "kind": InputKind.CATEGORY}
    table = TableFile(path, types, ("",), "t", form).read()
    assert (table["n"].tolist(), table["kind"].tolist()) == ([5, 6, 7], texts[1])
    assert kinds(path, form) == {"n": "int", "kind": "text"}
    with pytest.raises(MalformedInput) as refused:
        TableFile(path, {"kind": InputKind.FLOAT}, ("",), "t", form).read()
    assert str(path) in refused.value.message


@pytest.mark.parametrize("letter", [b"\x8e", b"\x81", b"\x9f"])
def test_a_letter_of_several_encodings_is_refused_with_the_command_to_convert(tmp_path, letter):
    path = tmp_path / "t.csv"
    path.write_bytes(b"y\nthe\ncaf" + letter)
    with pytest.raises(MalformedInput, match="byte 9") as refused:
        csv_form(path, ())
    assert "iconv -f WINDOWS-1252 -t UTF-8" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "start"),
    [("t.xlsx", b""), ("t.ods", b""), ("t.csv", b"PK\x03\x04"), ("t.csv", b"\xd0\xcf\x11\xe0")],
)
def test_a_workbook_is_refused_with_the_way_to_save_it(tmp_path, name, start):
    path = tmp_path / name
    path.write_bytes(start + b"a,b\n1,2\n")
    with pytest.raises(MalformedInput, match="is a workbook") as refused:
        csv_form(path, ())
    assert "CSV UTF-8" in refused.value.hint
