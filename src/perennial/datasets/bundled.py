"""Tables that scikit-learn ships: wines by cultivar, and patients with diabetes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from sklearn import datasets


def wines(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per wine: 13 chemical analyses, and the `cultivar` of its grapes (178 rows).

    Args:
        files: not used.
    """
    table = datasets.load_wine(as_frame=True).frame
    return table.assign(cultivar=[f"cultivar {number + 1}" for number in table.pop("target")])


def diabetes(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per patient: ten measurements in their units, and the `progression` after a year (442 rows).

    Args:
        files: not used.
    """
    table = datasets.load_diabetes(as_frame=True, scaled=False).frame
    return table.rename(columns={"target": "progression"})
