"""CSV files are read in one pass where that gives the same rows as the longer way; the longer way is the reference."""

from __future__ import annotations

import pytest

from perennial.adapters.batch import rows as reading
from perennial.adapters.batch.plain_csv import LOOKED_AT
from perennial.adapters.batch.rows import FileRows
from perennial.core.data_spec import CsvForm
from perennial.core.input_spec import InputKind
from perennial.errors import MalformedInput, PerennialError

TYPES = {
    "size": InputKind.FLOAT,
    "count": InputKind.INT,
    "open": InputKind.BOOL,
    "colour": InputKind.CATEGORY,
    "since": InputKind.TIMESTAMP,
}
HEAD = "id,size,count,open,colour,since,note\n"
ROW = "{0:04},{0}.5,{0},true,red,2024-01-31T10:00:00Z,a\n"
MANY = LOOKED_AT + 500
"""Rows before the odd one: it is not seen at first."""


def read(path, form, monkeypatch, long):
    """Return rows and numbers of the chunks, or the error; `long` forbids the one pass."""
    with monkeypatch.context() as patch:
        if long:
            patch.setattr(reading, "plain_scan", lambda *given: None)
        try:
            file = FileRows(path, TYPES, ("note",), ("id",), ("", "NA"), form)
            return [
                (chunk.number, chunk.first_row, chunk.columns(), chunk.copies())
                for chunk in file.chunks(1000, ())
            ]
        except PerennialError as error:
            return type(error), error.message


def listed(result):
    """Return chunks in a form that compares."""
    if isinstance(result, tuple):
        return result
    return [
        (number, first, {name: [str(value) for value in plain(column)] for name, column in columns.items()},
         {name: copy.to_pylist() for name, copy in copies.items()})
        for number, first, columns, copies in result
    ]  # fmt: skip


def plain(column):
    return [column.values[place] for place in column.places] if hasattr(column, "places") else list(column)


LAST = {
    "nothing odd": "",
    "quotes": '0009,1,1,true,"red, ""dark""",2024-01-31,"a\nb"\n',
    "missing values": "0009,NA,,,,,\n",
    "values of other types": "0009,much,1.5,perhaps,blue,soon,a\n",
    "a time without a zone": "0009,1,1,true,red,2024-01-31 10:00:00,a\n",
    "a time with an offset": "0009,1,1,true,red,2024-01-31 10:00:00.25+02:00,a\n",
    "a time of another form": "0009,1,1,true,red,31/01/2024,a\n",
    "a year of two digits": "0009,1,1,true,red,24-01-31,a\n",
    "a year of two digits beside a word": "0009,1,1,true,red,24-01-31,a\n0009,1,1,true,red,soon,a\n",
    "a year of five digits": "0009,1,1,true,red,12024-01-31,a\n",
    "a line with fewer fields": "0009,1\n",
    "a line with more fields": "0009,1,1,true,red,2024-01-31,a,b\n",
    "blanks": "0009, 1 , 2 , true , red ,2024-01-31,a\n",
    "signs of floats": "0009,nan,inf,1,red,2024-01-31,a\n",
}


@pytest.mark.parametrize("last", LAST)
def test_a_late_line_is_read_as_the_longer_way_reads_it(tmp_path, monkeypatch, last):
    path = tmp_path / "in.csv"
    path.write_text(HEAD + "".join(ROW.format(number) for number in range(MANY)) + LAST[last])
    both = [read(path, CsvForm(), monkeypatch, long) for long in (False, True)]
    assert listed(both[0]) == listed(both[1])


FORMS = {
    "day and month may be swapped": (HEAD + "1,1,1,true,red,03/04/2024,a\n", {}),
    "days first": (HEAD + "1,1,1,true,red,31/04/2024,a\n2,1,1,true,red,30/04/2024,a\n", {}),
    "seconds since 1970": (HEAD + "1,1,1,true,red,1704067200,a\n", {}),
    "no time at all": (HEAD + "1,1,1,true,red,,a\n", {}),
    "no row": (HEAD, {}),
    "semicolons and commas": ((HEAD + ROW.format(3)).replace(",", ";").replace(".5", ",5"), {"decimal": ","}),
    "Latin-1": (HEAD + ROW.format(3) + "1,1,1,true,grün,2024-01-31,é\n", {"encoding": "latin-1"}),
    "single quotes": (HEAD + "1,1,1,true,'a, b',2024-01-31,a\n" * 3, {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_are_left_to_the_longer_way(tmp_path, monkeypatch, form):
    path, (text, given) = tmp_path / "in.csv", FORMS[form]
    path.write_text(text, encoding=given.get("encoding", "utf-8"))
    both = [read(path, CsvForm(**given), monkeypatch, long) for long in (False, True)]
    assert listed(both[0]) == listed(both[1])


def test_a_plain_file_is_read_in_one_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(FileRows, "_query", None)
    path = tmp_path / "in.csv"
    path.write_text(
        HEAD + "".join(ROW.format(number) for number in range(MANY)) + LAST["values of other types"]
    )
    chunks = read(path, CsvForm(), monkeypatch, long=False)
    assert [(number, first) for number, first, _, _ in chunks] == [(0, 1), (1, 1001), (2, 2001)]
    assert plain(chunks[-1][2]["size"])[-1] == "much"


@pytest.mark.parametrize(
    "change", [("note", "size"), ("note", '"Size"'), ("id", "note"), ("id,size", "\ufeffsize,size")]
)
def test_a_column_that_is_there_twice_is_refused(tmp_path, change):
    path = tmp_path / "rows.csv"
    path.write_text(HEAD.replace(*change) + ROW.format(1), encoding="utf-8")
    with pytest.raises(MalformedInput, match="more than once") as caught:
        FileRows(path, TYPES, (), (), ("", "NA"), CsvForm())
    assert change[1].strip('"')[-4:] in caught.value.message


def test_columns_without_a_name_are_not_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(HEAD.replace("id,", ",").replace(",note", ",") + ROW.format(1))
    FileRows(path, TYPES, (), (), ("", "NA"), CsvForm())
