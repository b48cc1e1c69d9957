"""A clinic that measures tumours: the table of its newest cases, requests for new ones, and their diagnoses.

The first cases are the breast cancer data of scikit-learn (Wisconsin, 1995). Later ones are made of them: a row drawn
with replacement, each number changed by about 1 %, cut at the range of its column. A clock of its own goes on by an
hour per case, so that cases have an order and none lies in the future.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.demo.replay import Batch
from perennial.files import write_text

TARGET, TIME = "malignant", "measured_at"
FIRST = pd.Timestamp("2020-01-01", tz="UTC")
NEWEST = 500
"""Cases in the table: old ones leave it, so that a retraining learns what holds now."""
BATCH = 25
"""Cases whose diagnoses become known together."""
SHIFTED_FROM = 20
"""First batch diagnosed by the new rule."""
COARSE_COLUMN, COARSE = "mean texture", 18.5
"""Texture from which the new rule calls a tumour malignant too: another label for 23 % of the cases."""
NOISE = 0.01


class Clinic:
    """Attributes: cases: all inputs of the data set, in a random order; malignant: their diagnoses, 0 or 1."""

    def __init__(self, table: Path, seed: int = 7) -> None:
        from sklearn.datasets import load_breast_cancer

        frame = load_breast_cancer(as_frame=True).frame.sample(frac=1, random_state=seed, ignore_index=True)
        self.cases = frame.drop(columns="target")
        self.malignant = 1 - frame["target"]
        self._path = table
        self._random = np.random.default_rng(seed)
        self._rows = self._timed(self.cases.assign(**{TARGET: self.malignant}), 0)
        self._seen = len(self._rows)
        self._pending: dict[int, pd.DataFrame] = {}

    def write(self) -> None:
        """Write the table in one step, so that no reader sees a part of it."""
        write_text(self._path, self._rows.to_csv(index=False))

    def batches(self) -> Iterator[Batch]:
        """Return requests with their later diagnoses, without end."""
        number = 0
        while True:
            cases = self._draw(shifted=number >= SHIFTED_FROM)
            self._pending[number] = cases
            labels = cases[TARGET].tolist()
            bodies = [{"rows": [row]} for row in cases.drop(columns=TARGET).to_dict("records")]
            yield Batch(number, list(zip(bodies, labels, strict=True)))
            number += 1

    def finish(self, number: int) -> None:
        """Take the diagnosed cases of a batch into the table."""
        new = self._timed(self._pending.pop(number), self._seen)
        self._seen += len(new)
        self._rows = pd.concat([self._rows, new], ignore_index=True).tail(NEWEST)
        self.write()

    def _draw(self, shifted: bool) -> pd.DataFrame:
        places = self._random.integers(0, len(self.cases), BATCH)
        noise = 1 + NOISE * self._random.standard_normal((BATCH, self.cases.shape[1]))
        drawn = self.cases.iloc[places].reset_index(drop=True) * noise
        drawn = drawn.clip(self.cases.min(), self.cases.max(), axis="columns")
        malignant = self.malignant.iloc[places].to_numpy() == 1
        if shifted:
            malignant |= drawn[COARSE_COLUMN].to_numpy() > COARSE
        return drawn.assign(**{TARGET: malignant.astype(int)})

    @staticmethod
    def _timed(cases: pd.DataFrame, first: int) -> pd.DataFrame:
        hours = pd.to_timedelta(np.arange(first, first + len(cases)), unit="h")
        times = (FIRST + hours).strftime("%Y-%m-%dT%H:%M:%SZ")
        timed = cases.copy()
        timed.insert(0, TIME, times)
        return timed
