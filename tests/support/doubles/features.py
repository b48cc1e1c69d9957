"""A fake of Features: tables in a dictionary, joined by pandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from perennial.core.feature_spec import FeatureSpec
from perennial.errors import FeaturesUnavailable, MalformedInput, SpecError

TIME = "event_timestamp"
CREATED = "created_timestamp"


@dataclass(frozen=True)
class OnDemand:
    """A view computed from stored features and request values, all given as lists by name."""

    sources: Mapping[str, Sequence[str]]
    """Stored view -> its features that go in."""
    request: Sequence[str]
    compute: Callable[[dict[str, list[Any]]], dict[str, list[Any]]]


class MemoryFeatures:
    """Port `Features`.

    Args:
        keys: stored view -> its join keys.
        on_demand: on-demand views by name.
    """

    def __init__(
        self, keys: Mapping[str, Sequence[str]], on_demand: Mapping[str, OnDemand] | None = None
    ) -> None:
        self._keys = keys
        self._on_demand = on_demand or {}
        self._newest: dict[str, dict[tuple, dict[str, Any]]] = {}

    def publish(self, views: Mapping[str, pd.DataFrame]) -> None:
        self._check(views)
        for name in views:
            self._newest[name] = {}
        self._write(views)

    def push(self, views: Mapping[str, pd.DataFrame]) -> None:
        self._check(views)
        if not self._newest:
            raise FeaturesUnavailable("no features are published", hint="publish first")
        self._write(views)

    def join(
        self, features: FeatureSpec, rows: pd.DataFrame, views: Mapping[str, pd.DataFrame]
    ) -> pd.DataFrame:
        joined = rows.copy()
        wanted = [column.split(":", 1) for column in features.columns]
        states = {name: self._as_of(name, rows, views) for name in self._stored({view for view, _ in wanted})}
        computed = {
            name: self._compute(self._on_demand[name], states, rows)
            for name in {view for view, _ in wanted} & set(self._on_demand)
        }
        for view, feature in wanted:
            source = computed.get(view, states.get(view))
            if source is None or feature not in source:
                raise _undefined(f"{view}:{feature}")
            joined[feature] = np.array(source[feature], dtype="float64")
        return joined

    def online(self, features: FeatureSpec, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        if not self._newest:
            raise FeaturesUnavailable("no features are published", hint="publish first")
        return [self._values(features, row) for row in rows]

    def _values(self, features: FeatureSpec, row: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = [column.split(":", 1) for column in features.columns]
        found: dict[str, Mapping[str, Any]] = {}
        for name in self._stored({view for view, _ in wanted}):
            missing = [key for key in self._keys[name] if key not in row]
            if missing:
                raise MalformedInput(f"a row lacks {', '.join(missing)}", hint="give every entity key")
            state = self._newest.get(name, {}).get(tuple(str(row[key]) for key in self._keys[name]))
            if state is None:
                return None
            found[name] = state
        for name in {view for view, _ in wanted} & set(self._on_demand):
            one = self._on_demand[name]
            missing = [key for key in one.request if key not in row]
            if missing:
                raise MalformedInput(f"a row lacks {', '.join(missing)}", hint="give every request value")
            inputs = {feature: [found[s][feature]] for s, names in one.sources.items() for feature in names}
            answer = one.compute(inputs | {key: [row[key]] for key in one.request})
            found[name] = {feature: values[0] for feature, values in answer.items()}
        return {feature: found[view][feature] for view, feature in wanted}

    def _as_of(self, name: str, rows: pd.DataFrame, views: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        if name not in views:
            raise MalformedInput(f"no table of the feature view {name!r}", hint="prepare the data again")
        keys = list(self._keys[name])
        state = views[name].sort_values([TIME, CREATED], kind="stable").astype({TIME: "datetime64[ns, UTC]"})
        if (state[CREATED] > state[TIME]).any():
            raise MalformedInput(f"{name}: the fake takes no state that came in late", hint="use Feast")
        asked = rows[[*keys, TIME]].astype({TIME: "datetime64[ns, UTC]"}).assign(row=np.arange(len(rows)))
        asked = asked.sort_values(TIME, kind="stable")
        extra = [key for key in rows if key in state and key not in (*keys, TIME)]
        merged = pd.merge_asof(asked, state.drop(columns=extra), on=TIME, by=keys)
        return merged.sort_values("row", ignore_index=True)

    def _compute(self, one: OnDemand, states: Mapping[str, pd.DataFrame], rows: pd.DataFrame):
        stored = {
            feature: [None if pd.isna(value) else value for value in states[name][feature]]
            for name, names in one.sources.items()
            for feature in names
        }
        return one.compute(stored | {name: rows[name].tolist() for name in one.request})

    def _stored(self, wanted: set[str]) -> list[str]:
        """The stored views that the wanted ones need."""
        needed: dict[str, None] = {}
        for name in sorted(wanted):
            if name in self._on_demand:
                needed |= dict.fromkeys(self._on_demand[name].sources)
            elif name in self._keys:
                needed[name] = None
            else:
                raise _undefined(name)
        return list(needed)

    def _write(self, views: Mapping[str, pd.DataFrame]) -> None:
        for name, view in views.items():
            kept = self._newest.setdefault(name, {})
            for row in view.sort_values([TIME, CREATED], kind="stable").to_dict("records"):
                kept[tuple(str(row[key]) for key in self._keys[name])] = row

    def _check(self, views: Mapping[str, pd.DataFrame]) -> None:
        for name, view in views.items():
            if name not in self._keys:
                raise MalformedInput(f"there is no feature view {name!r}", hint="define it")
            missing = [key for key in (*self._keys[name], TIME, CREATED) if key not in view]
            if missing:
                raise MalformedInput(f"the table of {name} lacks {', '.join(missing)}", hint="add them")


def _undefined(name: str) -> SpecError:
    return SpecError(f"no feature {name!r} is defined", hint="define it or correct the spec")
