"""The one encoding of typed inputs, for training and serving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from perennial.core.input_spec import InputKind, InputSpec, columns_of
from perennial.core.text_hashing import hashed
from perennial.core.unknown_category import listing, refusal_hint
from perennial.errors import MalformedInput

LARGEST = float(np.finfo(np.float32).max)
DAY_SECONDS = 86_400.0
SHOWN = 60


@dataclass(frozen=True)
class Distinct:
    """A column as its distinct values, and the place of each row's value among them."""

    values: Sequence[Any]
    """May hold values that no row has."""
    places: np.ndarray
    """Integers [rows]."""

    def __len__(self) -> int:
        return len(self.places)

    def used(self) -> list[int]:
        """Return the places of the values that a row has."""
        return np.flatnonzero(np.bincount(self.places, minlength=len(self.values))).tolist()


Column = Sequence[Any] | np.ndarray | Distinct


@dataclass(frozen=True)
class Fault:
    """A value of a row that is refused."""

    row: int
    column: str
    value: str
    """As text, cut to 60 characters; empty where it is missing."""
    reason: str


def encode(inputs: Mapping[str, InputSpec], columns: Mapping[str, Column], rows: int) -> np.ndarray:
    """Encode typed columns as the input of a model, float32 [rows, columns] in the order of `columns_of(inputs)`.

    A number stays (the nearest float32), false and true are 0 and 1, a category is its place in the list, a
    timestamp is its days since 1970 (UTC), a text is its length and hashed counts, an array is its numbers, and a
    missing value is NaN.

    Args:
        columns: name -> [rows]; None, NaN or NaT is a missing value. A datetime64 is in UTC.

    Raises:
        MalformedInput: a column or a value is missing, unknown or of another type; names row and column.
    """
    encoded = np.full((rows, len(columns_of(inputs))), np.nan, dtype=np.float32)
    place = 0
    for name, spec in inputs.items():
        if name not in columns:
            raise MalformedInput(f"the input {name!r} is missing", hint=f"inputs: {', '.join(inputs)}")
        width = len(spec.columns(name))
        if spec.size is not None:
            encoded[:, place : place + width] = _arrays(name, spec, spec.size, columns[name])
        elif spec.buckets is not None:
            encoded[:, place : place + width] = _texts(name, spec, spec.buckets, columns[name])
        else:
            encoded[:, place] = _column(name, spec, columns[name])
        place += width
    return encoded


def faults(inputs: Mapping[str, InputSpec], columns: Mapping[str, Column], rows: int) -> list[Fault]:
    """Return the first value of each row that `encode` refuses, in the order of the rows.

    Raises:
        MalformedInput: a column is missing.
    """
    first: dict[int, Fault] = {}
    for name, spec in inputs.items():
        try:
            encode({name: spec}, columns, rows)
            continue
        except MalformedInput:
            if name not in columns:
                raise
        known = _codes(spec)
        column = columns[name]
        pairs: Iterator[tuple[Any, float | str | None]]
        if spec.size is not None:
            pairs = ((value, _array_fault(name, spec, value)) for value in _listed(column))
        elif isinstance(column, Distinct):
            results = [_code(spec, known, value) for value in column.values]
            pairs = ((column.values[place], results[place]) for place in column.places.tolist())
        else:
            pairs = ((value, _code(spec, known, value)) for value in _listed(column))
        for row, (value, result) in enumerate(pairs):
            if isinstance(result, str):
                first.setdefault(row, Fault(row, name, _text(value), result))
    return [first[row] for row in sorted(first)]


def where(column: Column, rows: np.ndarray) -> Column:
    """Return the rows of a column at the places `rows`."""
    if isinstance(column, Distinct):
        return Distinct(column.values, column.places[rows])
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows.tolist()]


def _texts(name: str, spec: InputSpec, buckets: int, values: Column) -> np.ndarray:
    if isinstance(values, Distinct):
        counts = np.full((len(values.values), 1 + buckets), np.nan, dtype=np.float32)
        _distinct(name, spec, values)  # refuses
        used = values.used()
        counts[used] = _texts(name, spec, buckets, [values.values[place] for place in used])
        return np.asarray(counts[values.places])
    present = [row for row, value in enumerate(values) if not math.isnan(_value(name, spec, {}, row, value))]
    counts = np.full((len(values), 1 + buckets), np.nan, dtype=np.float32)
    if present:
        counts[present] = hashed([values[row] for row in present], buckets)
    return counts


def _arrays(name: str, spec: InputSpec, size: int, values: Column) -> np.ndarray:
    if isinstance(values, Distinct):
        values = _listed(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.shape[1:] == (size,):
        whole = values.astype(np.float64)
        if bool((np.abs(whole) <= LARGEST).all()):
            return whole
    numbers = np.full((len(values), size), np.nan)
    for row, value in enumerate(values):
        if isinstance(value, list | np.ndarray):
            numbers[row] = _array(name, size, row, value)
        else:
            _value(name, spec, {}, row, value)  # missing, or refused
    return numbers


def _array_fault(name: str, spec: InputSpec, value: Any) -> str | None:
    try:
        encode({name: spec}, {name: [value]}, 1)
    except MalformedInput as error:
        return error.hint
    return None


def _array(name: str, size: int, row: int, value: list[Any] | np.ndarray) -> np.ndarray | list[Any]:
    """Return the numbers of an array, [size].

    Raises:
        MalformedInput: there are more or fewer, or one is missing, infinite or no number.
    """
    hint = f"it must be a list of {size} finite numbers"
    if len(value) != size:
        raise MalformedInput(f"row {row}, {name} is a list of {len(value)}", hint=hint)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and bool((np.abs(value) <= LARGEST).all()):
        return value
    plain: list[Any] = value.tolist() if isinstance(value, np.ndarray) else value
    for place, number in enumerate(plain):
        if type(number) not in (int, float) or not abs(number) <= LARGEST:
            raise _wrong(f"{name}[{place}]", row, number, hint)
    return plain


def _column(name: str, spec: InputSpec, values: Column) -> np.ndarray:
    if isinstance(values, Distinct):
        return np.asarray(_distinct(name, spec, values)[values.places])
    array = _numbers(spec.type, values) if isinstance(values, np.ndarray) else None
    if array is not None:
        whole = spec.type is not InputKind.INT or not np.any(array[~np.isnan(array)] % 1)
        sound = whole and not np.any(np.abs(array) > LARGEST)
        if sound and (spec.missing == "allow" or not np.isnan(array).any()):
            return array
    codes = _codes(spec)
    return np.array(
        [_value(name, spec, codes, row, value) for row, value in enumerate(_listed(values))], dtype=np.float64
    )


def _numbers(kind: InputKind, values: np.ndarray) -> np.ndarray | None:
    """Return an array of a type that `kind` takes as float64, NaN for a missing value; None for any other."""
    types = {InputKind.FLOAT: "fiu", InputKind.INT: "fiu", InputKind.BOOL: "b", InputKind.TIMESTAMP: "M"}
    if values.dtype.kind not in types.get(kind, ""):
        return None
    if kind is InputKind.TIMESTAMP:
        microseconds = values.astype("datetime64[us]")
        # In the steps of datetime.timestamp(), so that the last digit is the same.
        days = microseconds.astype(np.int64) / 1e6 / DAY_SECONDS
        return np.where(np.isnat(microseconds), np.nan, days)
    return values.astype(np.float64)


def _listed(values: Column) -> Sequence[Any] | np.ndarray:
    """Return the values one by one as `_code` takes them: a datetime64 becomes a time with a zone."""
    if isinstance(values, Distinct):
        return [values.values[place] for place in values.places.tolist()]
    if not isinstance(values, np.ndarray) or values.dtype.kind != "M":
        return values
    moments = values.astype("datetime64[us]").tolist()
    return [each.replace(tzinfo=UTC) if isinstance(each, datetime) else each for each in moments]


def _distinct(name: str, spec: InputSpec, column: Distinct) -> np.ndarray:
    """Return the number of each distinct value, float64; NaN for those that no row has."""
    known = _codes(spec)
    numbers = np.full(len(column.values), np.nan)
    for place in column.used():
        result = _code(spec, known, column.values[place])
        if isinstance(result, str):
            row = int((column.places == place).argmax())
            raise _wrong(name, row, column.values[place], refusal_hint(spec, column.values[place], result))
        numbers[place] = result
    return numbers


def _codes(spec: InputSpec) -> dict[str, float]:
    return {category: float(code) for code, category in enumerate(spec.categories)}


def _value(name: str, spec: InputSpec, codes: Mapping[str, float], row: int, value: Any) -> float:
    result = _code(spec, codes, value)
    if isinstance(result, str):
        raise _wrong(name, row, value, refusal_hint(spec, value, result))
    return result


def _code(spec: InputSpec, codes: Mapping[str, float], value: Any) -> float | str:
    """Return the number of a value, or why it is refused; of a text its length."""
    if _is_missing(value):
        if spec.missing == "refuse":
            return "a value is needed: the training data had no missing one"
        return math.nan
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    kind = spec.type
    if kind is InputKind.CATEGORY and isinstance(value, str):
        if value not in codes and spec.unknown == "refuse":
            return f"known: {listing(spec.categories)}"
        return codes.get(value, math.nan)
    if kind is InputKind.TEXT and isinstance(value, str):
        return float(len(value))
    if kind is InputKind.BOOL and isinstance(value, bool | np.bool_):
        return float(value)
    if kind is InputKind.FLOAT and number and abs(value) <= LARGEST:
        return float(value)
    if kind is InputKind.INT and number and abs(value) <= LARGEST and float(value).is_integer():
        return float(value)
    if kind is InputKind.TIMESTAMP and (days := _days(value)) is not None:
        return days
    wanted = {
        InputKind.TIMESTAMP: "a time as ISO 8601 with a zone, such as 2026-01-31T10:00:00Z",
        InputKind.INT: "a whole number",
        InputKind.FLOAT: "a number that is finite",
        InputKind.BOOL: "true or false",
        InputKind.CATEGORY: "a text",
        InputKind.TEXT: "a text",
        InputKind.ARRAY: f"a list of {spec.size} finite numbers",
    }
    return f"it must be {wanted[kind]}"


def _is_missing(value: Any) -> bool:
    is_nan = isinstance(value, float | np.floating) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ == "NaTType"


def _days(value: Any) -> float | None:
    """Return a time with a zone as days since 1970; None for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        return None if moment.tzinfo is None else moment.timestamp() / DAY_SECONDS
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def _wrong(name: str, row: int, value: Any, hint: str) -> MalformedInput:
    return MalformedInput(f"row {row}, {name} is {_shown(value)}", hint=hint)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    return "" if _is_missing(value) else _shown(value)


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
