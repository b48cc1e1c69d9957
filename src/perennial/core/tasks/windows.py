"""Windows over time series: what a forecast is made from, for training and serving.

A window is the last `past` values of a series at its origin. Each step ahead is a row of its own: the past values
(`lag_1` is the newest), the number of the step, the place of the forecast period in its season (`phase`), and the
series where there are several. So each step has its own answer, prediction id and label: labels arrive at different
times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import numpy as np

from perennial.errors import DataError, MalformedInput

STEP, PHASE, SERIES = "step", "phase", "series"
TIME, PAST = "time", "past"
"""Keys of a request: the time of the newest past value, and the past values, the oldest first."""


class Frequency(StrEnum):
    """Length of a period; each series has one value per period."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


UNITS = {
    Frequency.HOUR: "h",
    Frequency.DAY: "D",
    Frequency.WEEK: "W",
    Frequency.MONTH: "M",
    Frequency.YEAR: "Y",
}


@dataclass(frozen=True)
class Windows:
    """The windows of a forecast; `season` counts periods."""

    frequency: Frequency
    past: int
    horizon: int
    season: int

    def names(self, several: bool) -> tuple[str, ...]:
        """Return the inputs of a model in order; `several` adds the series."""
        lags = tuple(f"lag_{number}" for number in range(1, self.past + 1))
        return (*lags, STEP, PHASE, *((SERIES,) if several else ()))

    def periods(self, times: np.ndarray) -> np.ndarray:
        """Return the number of the period of each time since 1970, int64 [n], of datetime64 [n] in UTC."""
        return np.asarray(times.astype(f"datetime64[{UNITS[self.frequency]}]").astype(np.int64))

    def phases(self, period: np.ndarray) -> np.ndarray:
        """Return the place of each period in its season, from 0."""
        return np.asarray(np.mod(period, self.season))

    def rows(self, series: np.ndarray, period: np.ndarray, value: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows of all windows: inputs, `target`, and `period` of the target, each [m].

        A window that a missing period would be part of is left out.

        Args:
            series: [n], equal for the values of one series.
            period: int [n]; value: float [n].

        Raises:
            MalformedInput: a series has two values in a period; names both rows.
            DataError: no series is long enough.
        """
        parts = [self._of_one(name, *self._grid(name, series, period, value)) for name in np.unique(series)]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if not len(rows[STEP]):
            longest = max(np.unique(series, return_counts=True)[1])
            raise DataError(
                f"no series has {self.past + 1} values in a row: the longest has {longest}",
                hint=f"lower task.past, or fill its gaps: one value per {self.frequency.value}",
            )
        return rows

    def _grid(
        self, name: Any, series: np.ndarray, period: np.ndarray, value: np.ndarray
    ) -> tuple[int, np.ndarray]:
        """Return the first period of a series and its values from there on, NaN in a gap."""
        places = np.flatnonzero(series == name)
        places = places[np.argsort(period[places], kind="stable")]
        twice = np.flatnonzero(np.diff(period[places]) == 0)
        if len(twice):
            first, second = places[twice[0]], places[twice[0] + 1]
            raise MalformedInput(
                f"rows {first} and {second}: series {name!s} has two values in the same {self.frequency.value}",
                hint="keep one, or name a finer task.frequency",
            )
        start = int(period[places[0]])
        grid = np.full(int(period[places[-1]]) - start + 1, np.nan)
        grid[period[places] - start] = value[places]
        return start, grid

    def _of_one(self, name: Any, start: int, grid: np.ndarray) -> dict[str, np.ndarray]:
        origins = np.arange(self.past - 1, len(grid) - 1)
        origin, step = np.repeat(origins, self.horizon), np.tile(np.arange(1, self.horizon + 1), len(origins))
        known = origin + step < len(grid)
        origin, step = origin[known], step[known]
        lags = {f"lag_{number}": grid[origin - number + 1] for number in range(1, self.past + 1)}
        target, period = grid[origin + step], start + origin + step
        whole = ~np.isnan(target) & ~np.isnan(np.array([*lags.values()])).any(axis=0)
        rows = {
            **lags,
            STEP: step,
            PHASE: self.phases(period),
            SERIES: np.full(len(step), name, dtype=object),
        }
        rows |= {"target": target, "period": period}
        return {key: column[whole] for key, column in rows.items()}

    def expand(
        self, requests: Sequence[Mapping[str, Any]], several: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return, for each request and each step ahead, what names the forecast, and the inputs of the model.

        Args:
            requests: objects with `time`, `past`, and `series` if there are several.

        Raises:
            MalformedInput: a key is missing or unknown, or a value is of another form; names the row.
        """
        keys = {TIME, PAST, *((SERIES,) if several else ())}
        names, rows = [], []
        for number, request in enumerate(requests):
            if set(request) != keys:
                raise MalformedInput(
                    f"row {number} has {', '.join(sorted(map(str, request)))[:200]}",
                    hint=f"a row of a forecast has {', '.join(sorted(keys))}",
                )
            past, origin = request[PAST], self._period(number, request[TIME])
            if not isinstance(past, list) or len(past) != self.past:
                raise MalformedInput(
                    f"row {number}: past has {len(past) if isinstance(past, list) else 'no'} values",
                    hint=f"send the last {self.past} values, one per {self.frequency.value}, the oldest first",
                )
            lags = {f"lag_{place + 1}": value for place, value in enumerate(reversed(past))}
            named = {key: request[key] for key in keys - {PAST}}
            for step in range(1, self.horizon + 1):
                names.append({**named, STEP: step})
                phase = int(self.phases(np.array(origin + step)))
                own = {SERIES: request[SERIES]} if several else {}
                rows.append({**lags, STEP: step, PHASE: phase, **own})
        return names, rows

    def _period(self, number: int, time: Any) -> int:
        try:
            moment = datetime.fromisoformat(time) if isinstance(time, str) else None
        except ValueError:
            moment = None
        if moment is None:
            raise MalformedInput(
                f"row {number}: time is {str(time)[:60]!r}",
                hint="the time of the newest past value, as ISO 8601, such as 2026-01-31; without a zone it is UTC",
            )
        offset = moment.utcoffset()
        plain = moment.replace(tzinfo=None) - offset if offset else moment.replace(tzinfo=None)
        return int(self.periods(np.array([plain], dtype="datetime64[s]"))[0])


def frequency_of(times: Sequence[date] | np.ndarray) -> Frequency:
    """Return the longest period in which no two distinct times of a series fall together.

    Raises:
        DataError: some lie less than an hour apart.
    """
    moments = np.unique(np.asarray(times, dtype="datetime64[s]"))
    for frequency in reversed(Frequency):
        if len(np.unique(moments.astype(f"datetime64[{UNITS[frequency]}]"))) == len(moments):
            return frequency
    raise DataError("times of a series lie less than an hour apart", hint="aggregate them to hours before")
