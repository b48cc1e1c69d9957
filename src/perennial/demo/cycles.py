"""Requests of the demo over a CI history: about each test of a cycle, and about a sample while an effect is counted.

The tests of a cycle pass or fail together, so many requests of a few cycles prove little. Once a new champion is to be
compared with the one before it, the demo therefore asks about a fixed number of tests, spread evenly over all cycles
that are left. The number is set beforehand, so that no look at the result decides when to stop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from perennial.demo.replay import Batch

SAMPLE = 2200
"""Requests that count an effect: the labels that ask for the next retraining, and a tenth more.

`docs/guide/operations.md` has how often they prove the effect, by simulation.
"""
REPEATED = 60
"""Last cycles that are asked about again where a machine is so slow that all but the kept ones have gone by: many,
because single cycles are unusual."""


class CycleRequests:
    """Requests about the tests of the cycles of a history, in order.

    Args:
        examples: a row per test and cycle, by cycle (`perennial.history.features.examples`).
        kept_from: first cycle that is kept for the sample.
        published: returns once the features of all finished cycles are published. Cycles of a sample are too short to
            go on without them.
    """

    def __init__(self, examples: pd.DataFrame, kept_from: int, published: Callable[[], None]) -> None:
        self._rows = list(examples.itertuples(index=False))
        starts = examples.reset_index(drop=True).groupby("cycle", sort=True).groups
        self._cycles = [(int(number), int(rows[0]), int(rows[-1]) + 1) for number, rows in starts.items()]
        self._kept_from = kept_from
        self._published = published
        self._asked = 0
        """Rows that had their turn."""
        self._sampled_from: int | None = None
        """First row of the sample; None: each row is asked about."""

    def batches(self) -> Iterator[Batch]:
        """Return a batch per cycle: without end until `sample` was called, then up to the last cycle."""
        kept = sum(number < self._kept_from for number, _, _ in self._cycles)
        for number, start, end in self._cycles[:kept]:
            yield Batch(number, self._fresh(start, end))
        for number, start, end in itertools.cycle(self._cycles[max(0, kept - REPEATED) : kept]):
            if self._sampled_from is not None:
                break
            yield Batch(number, self._again(start, end), fresh=False)
        for number, start, end in self._cycles[kept:]:
            yield Batch(number, self._fresh(start, end))

    def sample(self) -> str:
        """Ask from here on about `SAMPLE` of the tests that are left; returns that in words."""
        self._sampled_from = begin = self._asked
        left = len(self._rows) - begin
        cycles = sum(end > begin for _, _, end in self._cycles)
        return f"{min(SAMPLE, left)} of the {left} tests of the {cycles} cycles that are left"

    def _fresh(self, start: int, end: int) -> Iterator[tuple[dict[str, Any], int]]:
        waited = False
        for place in range(start, end):
            begin = self._sampled_from
            self._asked = place + 1
            if begin is None:
                yield _request(self._rows[place])
            elif _is_sampled(place - begin, len(self._rows) - begin):
                if not waited:
                    self._published()
                waited = True
                yield _request(self._rows[place])

    def _again(self, start: int, end: int) -> Iterator[tuple[dict[str, Any], int]]:
        for place in range(start, end):
            if self._sampled_from is not None:
                return
            yield _request(self._rows[place])


def _is_sampled(place: int, left: int) -> bool:
    """Return whether a row is one of `SAMPLE` out of `left`, at equal distances."""
    wanted = min(SAMPLE, left)
    return (place + 1) * wanted // left > place * wanted // left


def _request(row: Any) -> tuple[dict[str, Any], int]:
    return body(row), int(row.failed)


def body(row: Any) -> dict[str, Any]:
    """Return the request body for a test: will it fail in this cycle? A new test has unknown features."""
    return {
        "entities": [{"test_id": row.test_id, "suite": row.suite}],
        "context": {"cycle_size": int(row.cycle_size), "requested_at": row.requested_at.isoformat()},
        "allow_unknown": True,
    }
