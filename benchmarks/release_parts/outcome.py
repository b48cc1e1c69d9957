"""A row of the table: the ends of many releases of one candidate under one kind of traffic."""

from __future__ import annotations

from typing import NamedTuple

from scipy.stats import binomtest

HEADER = f"{'traffic':44} {'candidate':>20} | {'aborted':>22} {'a person is asked':>18} {'promoted':>22}"


class Outcome(NamedTuple):
    """Numbers of releases, by their end."""

    traffic: str
    candidate: str
    aborted: int
    asked: int
    promoted: int

    def __str__(self) -> str:
        releases = self.aborted + self.asked + self.promoted
        return (
            f"{self.traffic:44} {self.candidate:>20} | {_share(self.aborted, releases):>22} "
            f"{self.asked / releases:18.1%} {_share(self.promoted, releases):>22}"
        )


def _share(count: int, releases: int) -> str:
    """Return the share with its 95 % interval (Clopper and Pearson)."""
    interval = binomtest(count, releases).proportion_ci(0.95)
    return f"{count / releases:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
