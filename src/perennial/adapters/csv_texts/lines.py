"""Separators of CSV files, and why a file has a single column: the first line that differs from the others."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
from collections import Counter
from pathlib import Path

SEPARATORS = ",;\t|"
LOOKED_AT = 100_000
"""Most lines that are read."""


def separator(path: Path | str, encoding: str) -> str | None:
    """Return the only sign that separates the names of the header, and parts the next line alike; None if none does.

    DuckDB would rather take the comma in 1,234,567;2.
    """
    if os.fspath(path).startswith("s3://"):
        return None
    with _opened(path, encoding) as lines:
        first = list(itertools.islice((line for line in lines if line.strip()), 2))
    if len(first) < 2:
        return None
    try:
        parts = {sign: [len(row) for row in csv.reader(first, delimiter=sign)] for sign in SEPARATORS}
    except csv.Error:  # a field of more than 128 kB
        return None
    separating = [sign for sign, sizes in parts.items() if sizes[0] > 1]
    return separating[0] if len(separating) == 1 and len(set(parts[separating[0]])) == 1 else None


def odd_line(path: Path | str, header: str, encoding: str) -> tuple[str, str] | None:
    """Return what is wrong with a file whose header was read as a single column, and what to do; None if nothing is.

    Args:
        header: name of that column.
    """
    sign = max(SEPARATORS, key=header.count)
    if sign in header:
        return different_line(path, sign, encoding) or (
            f"its lines have different numbers of fields, so that {header!r} is a single column",
            "complete or remove the lines that lack fields",
        )
    if len(header.split()) > 1 and not os.fspath(path).startswith("s3://"):
        with _opened(path, encoding) as lines:
            words = {len(line.split()) for line in itertools.islice(lines, 100) if line.strip()}
        if words == {len(header.split())}:
            return (
                f"its fields are separated by blanks, so that {header!r} is a single column",
                "save it with commas",
            )
    return None


def different_line(path: Path | str, sign: str, encoding: str) -> tuple[str, str] | None:
    """Return as `odd_line` what is wrong with the first line that has more or fewer fields than the header."""
    if os.fspath(path).startswith("s3://"):
        return None
    with _opened(path, encoding) as lines:
        rows = csv.reader(lines, delimiter=sign)
        wanted = len(next(rows, []))
        for row in itertools.islice(rows, LOOKED_AT):
            if row and len(row) != wanted:
                return (
                    f"line {rows.line_num} has {len(row)} fields, and the first line names {wanted} columns",
                    "complete the line, put a field that has a separator in quotes, or remove the line",
                )
    return None


def repeated_names(path: Path | str, encoding: str) -> list[str]:
    """Return the names that the header has twice, whatever their case: DuckDB would rename the later ones.

    Nothing is returned for a file without a plain separator, or in S3.
    """
    sign = separator(path, encoding)
    if sign is None:
        return []
    with _opened(path, encoding) as lines:
        header = next(csv.reader((line for line in lines if line.strip()), delimiter=sign))
    names = [name.strip("\ufeff \t") for name in header]
    counts = Counter(name.casefold() for name in names if name)
    return list(dict.fromkeys(name for name in names if counts[name.casefold()] > 1))


def _opened(path: Path | str, encoding: str):  # type: ignore[no-untyped-def]
    opens = gzip.open if os.fspath(path).lower().endswith(".gz") else open
    return opens(path, "rt", encoding=encoding, errors="replace", newline="")
