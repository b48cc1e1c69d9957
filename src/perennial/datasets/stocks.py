"""Monthly prices of five stocks from 2000 to March 2010, which the package vega-datasets ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from perennial.errors import PackageMissing


def read(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per month and stock: `symbol`, `date` (UTC) and `price` in USD.

    Args:
        files: not used.

    Raises:
        PackageMissing: vega-datasets is not installed.
    """
    try:
        from vega_datasets import data
    except ImportError as error:
        raise PackageMissing(
            "the prices are in the package vega-datasets, not installed here",
            hint="pip install vega-datasets",
        ) from error
    prices = data.stocks()
    return prices.assign(date=prices["date"].dt.tz_localize("UTC"))
