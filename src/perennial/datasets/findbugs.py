"""FindBugs warnings of open-source projects: metrics of the warning and its code, and whether developers acted on it.

Source: H. J. Kang, K. L. Aw and D. Lo, "Detecting False Alarms from Automatic Static Analysis Tools: How Far are We?",
ICSE 2022. Per project there is an earlier revision, and a later one without the warnings of the earlier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from perennial.errors import MalformedInput

LABEL, FILE, AUTHORS = "label_close_is_accepted", "F55", "F71"
NAMES = ("F54", FILE)
"""Columns of texts: the paths of package and file."""
PARTS = 100
"""Groups of a revision: its files are drawn into them, so that the warnings of a file stay together."""


def read(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per warning: the numbers that all files have, `project`, `accepted` and `moment`.

    `moment` is 0 to 99 in the earlier revision and 100 to 199 in the later one. Columns that name authors are left
    out, and so are repeated rows.

    Args:
        files: entry such as warnings_flink_train or warnings_flink_test -> Parquet file.

    Raises:
        MalformedInput: a file is no Parquet file, or lacks a column.
    """
    projects = [_revision(name, path) for name, path in files.items()]
    common = [name for name in projects[0] if all(name in rows for rows in projects)]
    rows = pd.concat([rows[common] for rows in projects], ignore_index=True)
    return rows.drop_duplicates(ignore_index=True)


def _revision(name: str, path: Path) -> pd.DataFrame:
    _, project, part = name.split("_")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise MalformedInput(f"{path} is no Parquet file: {error}", hint="fetch it again") from error
    if missing := [column for column in (LABEL, FILE) if column not in table]:
        raise MalformedInput(f"{path} has no column {', '.join(missing)}", hint="is it the data set at all?")
    metrics = [column for column in table if column not in (LABEL, *NAMES) and not column.startswith(AUTHORS)]
    numbers = {column.replace("-", "_"): _number(table[column]) for column in metrics}
    later = PARTS if part == "test" else 0
    moments = [later + _part(f"{project}/{file}") for file in table[FILE]]
    return pd.DataFrame(numbers).assign(project=project, moment=moments, accepted=table[LABEL].to_numpy())


def _number(column: pd.Series) -> pd.Series:
    """Return a column of texts as numbers: true and false are 1 and 0, other words are missing."""
    return pd.to_numeric(column.replace({"true": "1", "false": "0"}), errors="coerce").astype("float64")


def _part(file: str) -> int:
    return int.from_bytes(hashlib.blake2b(file.encode(), digest_size=8).digest(), "big") % PARTS
