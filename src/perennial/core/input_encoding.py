"""The one encoding of typed inputs, for training and serving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from perennial.core.input_spec import InputKind, InputSpec, columns_of
from perennial.core.text_hashing import hashed
from perennial.errors import MalformedInput

LARGEST = float(np.finfo(np.float32).max)
DAY_SECONDS = 86_400.0
SHOWN = 60


def encode(
    inputs: Mapping[str, InputSpec], columns: Mapping[str, Sequence[Any] | np.ndarray], rows: int
) -> np.ndarray:
    """Encode typed columns as the input of a model, float32 [rows, columns] in the order of `columns_of(inputs)`.

    A number stays (the nearest float32), false and true are 0 and 1, a category is its place in the list, a
    timestamp is its days since 1970 (UTC), a text is its length and hashed counts, an array is its numbers, and a
    missing value is NaN.

    Args:
        columns: name -> [rows]; None or NaN is a missing value.

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


def _texts(name: str, spec: InputSpec, buckets: int, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    present = [
        row
        for row, value in enumerate(values)
        if isinstance(value, str) or not math.isnan(_value(name, spec, {}, row, value))
    ]
    counts = np.full((len(values), 1 + buckets), np.nan, dtype=np.float32)
    if present:
        counts[present] = hashed([values[row] for row in present], buckets)
    return counts


def _arrays(name: str, spec: InputSpec, size: int, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    numbers = np.full((len(values), size), np.nan)
    for row, value in enumerate(values):
        if isinstance(value, list | np.ndarray):
            numbers[row] = _numbers(name, size, row, value)
        else:
            _value(name, spec, {}, row, value)  # missing, or refused
    return numbers


def _numbers(name: str, size: int, row: int, value: list[Any] | np.ndarray) -> np.ndarray | list[Any]:
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


def _column(name: str, spec: InputSpec, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    codes = {category: float(code) for code, category in enumerate(spec.categories)}
    numeric = isinstance(values, np.ndarray) and values.dtype.kind in "fiu"
    if numeric and spec.type in (InputKind.FLOAT, InputKind.INT):
        array = np.asarray(values, dtype=np.float64)
        whole = spec.type is InputKind.FLOAT or not np.any(array[~np.isnan(array)] % 1)
        sound = whole and not np.any(np.abs(array) > LARGEST)
        if sound and (spec.missing == "allow" or not np.isnan(array).any()):
            return array
    return np.array(
        [_value(name, spec, codes, row, value) for row, value in enumerate(values)], dtype=np.float64
    )


def _value(name: str, spec: InputSpec, codes: Mapping[str, float], row: int, value: Any) -> float:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)) or _is_nat(value):
        if spec.missing == "refuse":
            raise _wrong(name, row, value, "a value is needed: the training data had no missing one")
        return math.nan
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    kind = spec.type
    if kind is InputKind.CATEGORY and isinstance(value, str):
        if value not in codes and spec.unknown == "refuse":
            raise _wrong(name, row, value, f"known: {', '.join(spec.categories)[:200]}")
        return codes.get(value, math.nan)
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
    raise _wrong(name, row, value, f"it must be {wanted[kind]}")


def _is_nat(value: Any) -> bool:
    return type(value).__name__ == "NaTType"


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
    text = repr(value.item() if isinstance(value, np.generic) else value)
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return MalformedInput(f"row {row}, {name} is {shown}", hint=hint)
