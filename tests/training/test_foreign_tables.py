"""Tables of other people: what `init` takes them for, in every form in which such files come."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import statsmodels
from vega_datasets import local_data

from perennial.core.input_spec import InputKind
from perennial.core.training.drafts.column_roles import Role
from perennial.core.training.drafts.table_profile import Given
from perennial.errors import DataError, MalformedInput
from perennial.flows.training.new_model import inspect
from perennial.wiring.new_model import csv_form, table_ports
from perennial.wiring.tables import MISSING

STATSMODELS = Path(statsmodels.__file__).parent
ROWS = 400
RANDOM = np.random.default_rng(1)
SIZE = RANDOM.normal(50, 20, ROWS).round(2)
COLOUR = RANDOM.choice(["vert", "vérité", "bleu"], ROWS)
PLAIN = pd.DataFrame(
    {
        "size": SIZE,
        "weight": RANDOM.normal(0, 1, ROWS).round(3),
        "colour": COLOUR,
        "y": np.where(SIZE + RANDOM.normal(0, 20, ROWS) > 50, "yes", "no"),
    }
)
DAYS = pd.Series(pd.date_range("2023-01-01", periods=ROWS, freq="D"))
SWAPPED = str.maketrans(",.", ".,")
TYPES = {"size": "float", "weight": "float", "colour": "category"}


def looked_at(path: Path, target: str = "y", **given):
    """Return the form of a file, the signs for a missing value, and the conclusions about it."""
    form, signs = csv_form(path, MISSING)
    ports = table_ports(path, (*MISSING, *signs), form)
    return form, signs, inspect(Given(target, **given), (), ports, 7, "units", None).profile, ports


def kinds(profile):
    return {name: conclusion.kind.value for name, conclusion in profile.inputs.items()}


def mixed_with(column: np.ndarray, sign: str) -> np.ndarray:
    return np.where(np.arange(ROWS) % 7 == 0, sign, column.astype(str))


@pytest.mark.parametrize(
    ("ending", "options", "stated"),
    [
        ("csv", {"sep": ";"}, {}),
        ("tsv", {"sep": "\t"}, {}),
        ("txt", {"sep": "|"}, {}),
        ("csv.gz", {}, {}),
        ("tsv.gz", {"sep": "\t"}, {}),
        ("csv", {"encoding": "utf-8-sig"}, {}),
        ("csv", {"encoding": "utf-16"}, {"encoding": "utf-16"}),
        ("csv", {"encoding": "latin-1"}, {"encoding": "latin-1"}),
        ("csv", {"sep": ";", "decimal": ","}, {"decimal": ","}),
        ("csv", {"sep": ";", "decimal": ",", "encoding": "latin-1"}, {"decimal": ",", "encoding": "latin-1"}),
    ],
)
def test_every_form_of_a_file_is_the_same_table(tmp_path, ending, options, stated):
    path = tmp_path / f"t.{ending}"
    PLAIN.to_csv(path, index=False, **options)
    form, signs, profile, ports = looked_at(path)
    assert (form.model_dump(exclude_defaults=True), signs, kinds(profile)) == (stated, {}, TYPES)
    assert profile.labels == ("no", "yes")
    table = ports.read({"size": InputKind.FLOAT, "colour": InputKind.CATEGORY, "y": InputKind.CATEGORY})
    pd.testing.assert_frame_equal(table, PLAIN[["size", "colour", "y"]], check_dtype=False)


@pytest.mark.parametrize(
    ("make", "thousands", "decimal"),
    [
        (lambda v: f"{v * 1000:,.2f}", ",", "."),
        (lambda v: f"{v * 1000:,.2f}".translate(SWAPPED), ".", ","),
    ],
)
def test_thousands_are_read_where_no_column_speaks_against_it(tmp_path, make, thousands, decimal):
    path = tmp_path / "t.csv"
    small = [f"{value / 1e6:e}".replace(".", decimal) for value in SIZE]
    PLAIN.drop(columns="weight").assign(size=[make(value) for value in SIZE], small=small).to_csv(
        path, index=False, sep=";"
    )
    form, _, profile, ports = looked_at(path)
    assert (form.thousands, form.decimal, kinds(profile)["size"]) == (thousands, decimal, "float")
    assert kinds(profile)["small"] == "float"
    np.testing.assert_allclose(ports.read({"size": InputKind.FLOAT})["size"], SIZE * 1000, atol=0.01)


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (lambda v: f"{v * 1000:,.1f}", lambda n: f"1,2,{n % 9}"),
        (lambda v: f"{v * 1000:,.1f}".translate(SWAPPED), lambda n: f"192.168.{n % 3}.1{n % 2}"),
    ],
)
def test_thousands_are_read_and_codes_beside_them_become_no_numbers(tmp_path, amount, code):
    path = tmp_path / "t.csv"
    codes = [code(number) for number in range(ROWS)]
    table = PLAIN.drop(columns="weight").assign(size=[amount(value) for value in SIZE], code=codes)
    table.to_csv(path, index=False, sep=";")
    _, _, profile, ports = looked_at(path)
    code_column = next(conclusion for conclusion in profile.columns if conclusion.column.name == "code")
    np.testing.assert_allclose(ports.read({"size": InputKind.FLOAT})["size"], SIZE * 1000, atol=0.1)
    assert code_column.column.type.value in ("text", "timestamp")
    assert ports.read({"code": InputKind.CATEGORY})["code"].tolist() == codes


@pytest.mark.parametrize("sign", ["?", "-", ".", "None", "#N/A", "n/a", "NA", ""])
def test_a_sign_among_numbers_is_a_missing_value(tmp_path, sign):
    path = tmp_path / "t.csv"
    PLAIN.assign(size=mixed_with(SIZE, sign), colour=mixed_with(COLOUR, sign)).to_csv(path, index=False)
    _, signs, profile, _ = looked_at(path)
    assert kinds(profile) == TYPES
    assert signs == ({} if sign in MISSING else {sign: "size"})
    assert profile.inputs["size"].column.missing == profile.inputs["colour"].column.missing == 58


@pytest.mark.parametrize(
    ("column", "role", "said"),
    [
        (DAYS.dt.strftime("%Y-%m-%d"), Role.TIME, ""),
        (DAYS.dt.strftime("%d/%m/%Y"), Role.TIME, ""),
        (DAYS.dt.strftime("%d.%m.%Y %H:%M"), Role.TIME, "read as 31.12.2024 14:05"),
        (DAYS.dt.strftime("%m/%d/%Y %I:%M %p"), Role.TIME, "read as 12/31/2024 02:05 PM"),
        (DAYS.dt.strftime("%d-%b-%Y"), Role.TIME, "read as 31-Dec-2024"),
        (DAYS.dt.strftime("%Y-%m-%dT%H:%M:%S+02:00"), Role.TIME, ""),
        (DAYS.dt.strftime("%Y%m%d").astype(int), Role.TIME, "day as 20240131"),
        ((DAYS - pd.Timestamp(0)).dt.total_seconds().astype(int), Role.TIME, "second since 1970"),
        ((DAYS - pd.Timestamp(0)).dt.total_seconds().astype(int) * 1000, Role.TIME, "millisecond since 1970"),
        (DAYS.dt.strftime("05/%m/%Y"), Role.LEFT_OUT, "day/month or month/day"),
        (DAYS.dt.strftime("%d-%b-%y"), Role.LEFT_OUT, "names the row"),
        (DAYS.dt.strftime("%d.%m.%y %H:%M"), Role.LEFT_OUT, "names the row"),
        (DAYS.dt.strftime("%d/%m/%y"), Role.LEFT_OUT, "names the row"),
        ([f"1.{number % 3 + 1}.{number % 2 + 1}" for number in range(ROWS)], Role.INPUT, "6 values"),
        ([f"1.2.{number % 2}" for number in range(ROWS)], Role.INPUT, "2 values"),
        ([f"{number % 28 + 1} May {2000 + number % 20}" for number in range(ROWS)], Role.TIME, "read as 31 Dec"),
        (SIZE.round().astype(str) + np.array("%"), Role.INPUT, ""),
        (mixed_with(SIZE.round().astype(str) + np.array("%"), "12 $"), Role.LEFT_OUT, "look like numbers"),
        (np.where(RANDOM.random(ROWS) < 0.2, -999, SIZE), Role.INPUT, "--missing -999"),
        (np.arange(ROWS) + 1000, Role.LEFT_OUT, "names the row"),
        (RANDOM.integers(0, 10**6, ROWS) + 2**60, Role.LEFT_OUT, "cannot tell them apart"),
        ([f"{number:05}" for number in range(501, 501 + ROWS)], Role.LEFT_OUT, "names the row"),
        ([f"{number % 9:03}" for number in range(ROWS)], Role.INPUT, "9 values"),
        ([f"place {number // 1.5:.0f}" for number in range(ROWS)], Role.LEFT_OUT, "texts"),
    ],
)  # fmt: skip
def test_a_further_column_has_a_role_and_a_reason(tmp_path, column, role, said):
    path = tmp_path / "t.csv"
    PLAIN.assign(when=np.asarray(column)).to_csv(path, index=False)
    _, _, profile, ports = looked_at(path)
    conclusion = next(conclusion for conclusion in profile.columns if conclusion.column.name == "when")
    assert conclusion.role is role, conclusion.reason
    assert said in conclusion.reason
    if role is Role.TIME and "May" not in str(column[0]):
        hours = (
            ports.read({"when": InputKind.TIMESTAMP})["when"].dt.tz_localize(None) - DAYS
        ).dt.total_seconds() / 3600
        assert hours.unique().tolist() == [-2.0 if "+02:00" in str(column[0]) else 0.0]


@pytest.mark.parametrize(
    ("target", "task", "said"),
    [
        (np.arange(ROWS) % 10, "multiclass", "10 whole numbers"),
        (np.arange(ROWS) % 20, "multiclass", "20 whole numbers"),
        (np.arange(ROWS) % 11 + 7, "regression", "if each is a class: --task multiclass"),
        (np.where(np.arange(ROWS) == 3, 9, np.arange(ROWS) % 3), "regression", "if each is a class"),
        (np.where(np.arange(ROWS) == 3, "odd", COLOUR), "multiclass", "'odd' has only 1 row"),
        (np.arange(ROWS) % 2 + 1.5, "binary", "2.5 is positive"),
        (
            np.where(np.arange(ROWS) % 9 == 0, " vert", "bleu"),
            "binary",
            "' vert' begins or ends with a blank",
        ),
    ],
)
def test_the_task_follows_from_the_target(tmp_path, target, task, said):
    path = tmp_path / "t.csv"
    PLAIN.drop(columns=["y", "colour"]).assign(y=target).to_csv(path, index=False)
    _, _, profile, _ = looked_at(path)
    assert profile.task == task
    assert said in profile.task_reason


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("", MalformedInput, "is empty"),
        ("a,b,y\n", DataError, "has 0 rows"),
        ("a,b,y\n" + "1,2,x\n" * 60 + "1,2\n" + "1,3,z\n" * 60, MalformedInput, "line 62 has 2 fields"),
        ("a,b,y\n" + "1,2,x,4\n" + "1,3,z\n" * 60, MalformedInput, "line 2 has 4 fields"),
        ("a b y\n" + "1 2 3\n" * 60, MalformedInput, "separated by blanks"),
        ("a,b\n" + "1,2\n" * 60, DataError, "first line of a CSV file names its columns"),
        ("a,y\n" + "".join(f'{row},"${row},000.50"\n' for row in range(60)), DataError, "look like numbers"),
        ("id,y\n" + "".join(f"{row},{row % 2}\n" for row in range(60)), DataError, "id: another value in every row"),
        ("a,y\n1,caf\x8e\n", MalformedInput, "neither UTF-8 nor Latin-1"),
        ("a,y\n1,v\xc3\xa9rit\xc3", MalformedInput, "ends within a character of UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_refused_with_its_place(tmp_path, content, error, said):
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(error) as refused:
        looked_at(path)
    assert said in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("times", "keys", "said"),
    [
        (pd.date_range("2024-01-01", periods=60, freq="min").astype(str), ["a", "b"], "less than an hour apart"),
        (np.arange(60) + 1, ["a", "b"], "needs a time in every row"),
    ],
)  # fmt: skip
def test_series_that_cannot_be_forecast_are_learnt_from_as_rows(tmp_path, times, keys, said):
    path, size = tmp_path / "t.csv", len(times) * len(keys)
    table = pd.DataFrame(
        {"week": np.repeat(times, len(keys)), "shop": keys * len(times), "sales": SIZE[:size]}
    )
    table.to_csv(path, index=False)
    _, _, profile, _ = looked_at(path, "sales", time="week")
    assert (profile.task, list(profile.inputs), profile.named(Role.TIME)) == ("regression", ["shop"], "week")
    assert said in profile.task_reason
    for named in ({"task": "forecast"}, {"group": "shop"}):
        with pytest.raises(DataError, match=said):
            looked_at(path, "sales", time="week", **named)


def test_every_type_of_parquet_is_an_input_or_says_why_not(tmp_path):
    table = pa.table(
        {
            "size": SIZE,
            "price": pa.array([decimal.Decimal(f"{v:.2f}") for v in SIZE[::-1]], pa.decimal128(12, 2)),
            "small": pa.array(RANDOM.integers(0, 200, ROWS), pa.uint8()),
            "half": pa.array(RANDOM.normal(size=ROWS).astype(np.float16)),
            "colour": pa.array(COLOUR).dictionary_encode(),
            "at": pa.array(DAYS.to_numpy("datetime64[ns]")),
            "day": pa.array([datetime.date(2020, 1, 1) + datetime.timedelta(days=int(v) % 90) for v in SIZE]),
            "tags": pa.array([[1, row] for row in range(ROWS)]),
            "nested": pa.array([{"a": row} for row in range(ROWS)]),
            "clock": pa.array([datetime.time(row % 24) for row in range(ROWS)]),
            "none": pa.nulls(ROWS),
            "y": PLAIN["y"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    _, _, profile, _ = looked_at(tmp_path / "t.parquet")
    found = {
        "size": "float",
        "price": "float",
        "small": "int",
        "half": "float",
        "colour": "category",
        "day": "timestamp",
        "tags": "array",
    }
    assert kinds(profile) == found
    assert profile.named(Role.TIME) == "at"


@pytest.mark.parametrize(
    ("name", "target", "task", "split"),
    [
        ("datasets/anes96/anes96.csv", "vote", "binary", "random"),
        ("datasets/fair/fair.csv", "affairs", "regression", "random"),
        ("datasets/grunfeld/grunfeld.csv", "invest", "regression", "time"),
        ("datasets/sunspots/sunspots.csv", "SUNACTIVITY", "forecast", "time"),
        ("genmod/tests/results/epil.csv", "y", "regression", "group"),
        ("miscmodels/tests/results/ologit_ucla.csv", "apply", "multiclass", "random"),
        ("duration/tests/results/bmt.csv", "Group", "multiclass", "random"),
        ("iris", "species", "multiclass", "random"),
        ("barley", "yield", "regression", "random"),
        ("seattle_weather", "weather", "multiclass", "time"),
        ("stocks", "price", "forecast", "time"),
        ("sf_temps", "temp", "forecast", "time"),
        ("driving", "gas", "regression", "time"),
    ],
)
def test_tables_that_packages_ship(tmp_path, name, target, task, split):
    path = STATSMODELS / name
    if not name.endswith(".csv"):
        path = tmp_path / "t.csv"
        getattr(local_data, name)().to_csv(path, index=False)
    _, _, profile, _ = looked_at(path, target)
    assert (profile.task, profile.split) == (task, split)
