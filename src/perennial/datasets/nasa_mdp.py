"""Modules of NASA's Metrics Data Program (MDP): code metrics, and whether a defect was found.

The files are those of M. Shepperd, Q. Song, Z. Sun and C. Mair, "Data Quality: Some Comments on the NASA Software
Defect Datasets", IEEE TSE 39(9), 2013, in the cleaning D'': without rows that are implausible, inconsistent or
repeated. D' keeps the repeated rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from scipy.io import arff

from perennial.errors import MalformedInput

LABEL, PROJECT, DEFECTIVE = "Defective", "project", "defective"


def read(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per module: the metrics that all projects have, `project` and `defective` (Y or N).

    Args:
        files: entry such as nasa_mdp_jm1 -> ARFF file.

    Raises:
        MalformedInput: a file is no ARFF file, or has no label.
    """
    projects = [_project(name, path) for name, path in files.items()]
    common = [name for name in projects[0] if all(name in rows for rows in projects)]
    return pd.concat([rows[common] for rows in projects], ignore_index=True)


def _project(name: str, path: Path) -> pd.DataFrame:
    try:
        values, _ = arff.loadarff(path)
    except (arff.ArffError, NotImplementedError, UnicodeDecodeError, ValueError) as error:
        raise MalformedInput(
            f"{path} is no ARFF file: {error}", hint="fetch it again: perennial data fetch"
        ) from error
    rows = pd.DataFrame(values)
    # Some projects write `label` for the same column.
    rows = rows.rename(columns={column: LABEL for column in rows if column.lower() in ("defective", "label")})
    if LABEL not in rows:
        raise MalformedInput(f"{path} has no column {LABEL}", hint=f"it has {', '.join(rows)}")
    defective = rows.pop(LABEL).str.decode("ascii")
    return rows.assign(**{PROJECT: name.rpartition("_")[2].upper(), DEFECTIVE: defective})
