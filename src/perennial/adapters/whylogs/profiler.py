"""The Profiler port over whylogs: sketches of each column, which can be merged over days."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("WHYLOGS_NO_ANALYTICS", "true")  # read at import: else the library reports its use

import whylogs
from google.protobuf.message import DecodeError
from whylogs.core import DatasetProfileView
from whylogs.core.errors import DeserializationError

from perennial.core.monitoring.day_check import ColumnProfile
from perennial.errors import MalformedInput
from perennial.files import replacing


class WhylogsProfiler:
    """The Profiler port."""

    def profile(self, table: pd.DataFrame, path: Path) -> None:
        """Write the profile of a table; NaN is a missing value."""
        known = table.astype(object).where(table.notna(), None)  # whylogs counts NaN as a number of its own
        view = whylogs.log(pandas=known).profile().view()
        with replacing(path) as temporary:
            view.write(str(temporary))

    def merged(self, paths: Sequence[Path]) -> tuple[ColumnProfile, ...]:
        """Return the columns of all profiles together."""
        if not paths:
            return ()
        whole = reduce(lambda one, other: one.merge(other), map(_read, paths)).to_pandas()
        return tuple(_column(str(name), row) for name, row in whole.sort_index().iterrows())


def _read(path: Path) -> DatasetProfileView:
    try:
        return DatasetProfileView.read(str(path))
    except (DeserializationError, DecodeError, ValueError, IndexError) as error:
        raise MalformedInput(
            f"{path} is no profile: {error}", hint="delete it; the next check makes its own"
        ) from error


def _column(name: str, row: pd.Series) -> ColumnProfile:
    rows, missing = int(row["counts/n"]), int(row["counts/null"])
    names = {"mean": "mean", "least": "min", "median": "median", "most": "max"}
    figures = {key: float(row.get(f"distribution/{of}", np.nan)) for key, of in names.items()}
    numbers = int(row.get("distribution/n", 0)) > 0
    return ColumnProfile(
        column=name,
        rows=rows,
        missing=missing / rows if rows else 0.0,
        distinct=float(row["cardinality/est"]),
        **({key: value for key, value in figures.items() if np.isfinite(value)} if numbers else {}),
    )
