"""Read histories from files: Parquet or CSV of the schema, or the IOF/ROL CSV, recognised by content."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from perennial.errors import DatasetMissing, MalformedInput
from perennial.history import iofrol, schema


def read(path: Path, now: datetime | None = None) -> pd.DataFrame:
    """Read a file of any of these formats into the schema.

    Args:
        now: no test starts after it; None: not checked.

    Raises:
        DatasetMissing: the file does not exist.
        MalformedInput: the format is unknown, or the content does not fit the schema.
    """
    if not path.is_file():
        raise DatasetMissing(
            f"there is no file {path}", hint="give a Parquet or CSV file of the history schema"
        )
    with path.open("rb") as file:
        start = file.read(200)
    if start.startswith(b"PAR1"):
        return schema.conform(_parquet(path), str(path), now)
    if start.startswith(";".join(iofrol.HEADER).encode()):
        return iofrol.read(path, now)
    return schema.conform(_csv(path), str(path), now)


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise MalformedInput(f"{path} is not Parquet: {error}", hint="write it again") from error


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise MalformedInput(
            f"{path} is neither Parquet nor CSV: {error}",
            hint=f"the columns of a history are {', '.join(schema.COLUMNS)}",
        ) from error
