"""A table is read with the types of the spec; what does not fit is named."""

from __future__ import annotations

import pandas as pd
import pytest

from perennial.adapters.table_files import TableFile
from perennial.core.input_spec import InputKind
from perennial.errors import DatasetMissing, MalformedInput

TYPES = {
    "a size": InputKind.FLOAT,
    "count": InputKind.INT,
    "open": InputKind.BOOL,
    "kind": InputKind.CATEGORY,
    "at": InputKind.TIMESTAMP,
}
CSV = """a size,count,open,kind,at,other
1.5,7,true,01,2024-01-01 10:00:00,x
NA,,false,"b,c",2024-01-01T10:00:00+02:00,y
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "it's.csv"
    file.write_text(CSV)
    return file


def test_types_are_those_of_the_spec(path):
    table = TableFile(path, TYPES, ("", "NA"), "t").read()
    assert list(table) == list(TYPES)
    assert table["a size"].isna().tolist() == [False, True]
    assert table["count"].isna().tolist() == [False, True]
    assert table["count"].iloc[0] == 7
    assert table["open"].tolist() == [True, False]
    assert table["kind"].tolist() == ["01", "b,c"]
    assert table["at"].tolist() == [pd.Timestamp("2024-01-01T10:00Z"), pd.Timestamp("2024-01-01T08:00Z")]


def test_csv_and_parquet_give_the_same_table(path, tmp_path):
    table = TableFile(path, TYPES, ("", "NA"), "t").read()
    table.to_parquet(tmp_path / "t.parquet")
    again = TableFile(tmp_path / "t.parquet", TYPES, (), "t").read()
    pd.testing.assert_frame_equal(table, again, check_dtype=False)


def test_a_value_of_another_type_names_its_line(path):
    with pytest.raises(MalformedInput, match=r"Line: 3.*b,c.*INT"):
        TableFile(path, {"kind": InputKind.INT}, ("", "NA"), "t").read()


def test_a_missing_column_or_file_is_named(path, tmp_path):
    with pytest.raises(MalformedInput, match="has no column colour"):
        TableFile(path, {"colour": InputKind.FLOAT}, (), "t").read()
    with pytest.raises(DatasetMissing, match="there is no table"):
        TableFile(tmp_path / "none.csv", TYPES, (), "t").read()


def test_a_whole_number_with_missing_ones_beside_it_keeps_its_digits(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("n\n9007199254740993\n\n3\n")
    table = TableFile(path, {"n": InputKind.INT}, ("",), "t").read()
    assert table["n"].tolist()[0] == 9007199254740993
    assert table["n"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("at\n01/05/2024\n01/06/2024\n", "day/month or month/day"),
        ("at\n01-05-2024 10:00\n01-06-2024 10:00\n", "day/month or month/day"),
        ("at\n31/01/24\n30/01/24\n", "30/01/24.*four digits"),
        ("at\n1-2-3\n", "four digits"),
    ],
)
def test_a_time_with_several_readings_is_refused(tmp_path, content, said):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(MalformedInput, match=said) as refused:
        TableFile(path, {"at": InputKind.TIMESTAMP}, ("",), "t").read()
    assert "2024-01-31" in refused.value.hint


@pytest.mark.parametrize(
    "text", ["01/28/2024", "28/01/2024", "28.01.2024", "2024-01-28", "2024-01-28T00:00:00Z"]
)
def test_a_time_with_a_single_reading_is_read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(f"at,n\n{text},1\n,2\n")
    at = TableFile(path, {"at": InputKind.TIMESTAMP}, ("",), "t").read()["at"]
    assert at[0] == pd.Timestamp("2024-01-28", tz="UTC")
    assert at.isna().tolist() == [False, True]
