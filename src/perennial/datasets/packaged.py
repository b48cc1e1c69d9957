"""Data sets that installed packages ship."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_digits


def digits(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return a row per image of scikit-learn's digits: `image` (its name), `pixel_0_0` to `pixel_7_7`, `digit`.

    The data is the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Args:
        files: none.
    """
    images = load_digits()
    names = [name.lower() for name in images.feature_names]
    rows = pd.DataFrame(images.data, columns=names)
    rows.insert(0, "image", [f"digit-{number:04}" for number in range(len(rows))])
    return rows.assign(digit=images.target)
