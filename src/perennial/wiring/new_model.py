"""Readers of a file from which a new model is made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.input_spec import InputKind

if TYPE_CHECKING:
    import pandas as pd

    from perennial.flows.training.new_model import TablePorts


def table_ports(path: Path, missing: tuple[str, ...]) -> TablePorts:
    """Return the readers of a CSV or Parquet file."""
    from perennial.adapters.table_files import TableFile
    from perennial.adapters.table_summary import repeated_rows, summarise
    from perennial.flows.training.new_model import TablePorts

    def read(types: Mapping[str, InputKind]) -> pd.DataFrame:
        return TableFile(path, types, missing, path.stem).read()

    return TablePorts(partial(summarise, path, missing), read, partial(repeated_rows, path, missing))
