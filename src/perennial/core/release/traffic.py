"""Routes, the counters of their traffic, and the readiness of pools."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum, StrEnum
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from perennial.core.frozen import Frozen, Percent
from perennial.errors import RouteMoved


class PoolName(StrEnum):
    """Pool of model servers: `stable` holds the champion, `canary` the candidate or the backup."""

    STABLE = "stable"
    CANARY = "canary"


BACKUP = "backup"
"""Name, beside those of the pools, of the counters of answers in place of the champion."""


class Target(Frozen):
    """Version that a route names; the model server serves exactly this version or nothing."""

    version: str
    digest: str
    release_id: str


class Assignment(Frozen):
    """Assignment of users to the variants of a split, by a hash of the user salted with the experiment.

    The user is the value of `header`, else of `cookie`, else the request's own id, which becomes the cookie.
    """

    experiment: str = Field(pattern=r"^[\w.-]{1,64}$")
    header: str | None = None
    cookie: str | None = None
    cookie_age: timedelta = timedelta(days=30)


class Route(Frozen):
    """Live traffic of one model, as Envoy gets it. Shares are percent of requests."""

    model: str
    stable: Target
    canary: Target | None = None
    canary_weight: Percent = 0.0
    assignment: Assignment | None = Field(None, description="None: each request is drawn by chance")
    mirror: bool = Field(False, description="copy every request to the canary pool, drop its answers")
    backup: Target | None = Field(
        None, description="previous champion: answers when no stable server can; goal of a rollback"
    )

    @model_validator(mode="after")
    def canary_named(self) -> Self:
        if self.canary is None and (self.canary_weight > 0 or self.mirror):
            raise ValueError("a share or a mirror needs a canary target")
        return self

    @property
    def split(self) -> str | None:
        """Name of the split, another for every share; None where users are not split."""
        if self.canary is None or self.assignment is None or not 0 < self.canary_weight < 100:
            return None
        return f"{self.model}/{self.canary.release_id}/{self.canary_weight:.2f}"

    def without_canary(self) -> Route:
        """Return the route with champion and backup alone."""
        return Route(model=self.model, stable=self.stable, backup=self.backup)


class AnyRoute(Enum):
    """Marker for a change that does not depend on the live route."""

    ANY = "any"


Expected = Route | None | AnyRoute
"""Live route that a change was decided on; None: there was no route."""


def refuse_if_moved(live: Route | None, wanted: Route, expected: Expected) -> None:
    """Check the live route before a change (compare and swap); a change that is live already is no conflict.

    Raises:
        RouteMoved: the live route is not the route that the change was decided on.
    """
    if isinstance(expected, AnyRoute) or live in (expected, wanted):
        return
    raise RouteMoved(
        f"the traffic of {wanted.model} was moved by somebody else meanwhile",
        hint=f"nothing has changed; perennial release status {wanted.model}",
    )


class Counters(Frozen):
    """Envoy's counters of one model in one pool, since its start or between two looks."""

    # The last bucket may have no upper bound; JSON's null, pydantic's default, would not come back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    requests: int = Field(0, ge=0, description="answered requests")
    errors: int = Field(0, ge=0, description="of these, 5xx or a broken connection")
    refused: int = Field(0, ge=0, description="of the requests, 4xx: an error of the request")
    excused: int = Field(0, ge=0, description="of the errors, attempts of requests that both sides failed")
    lost: int = Field(0, ge=0, description="requests of its share that nobody could answer, after every try")
    buckets: tuple[tuple[float, int], ...] = Field(
        (), description="latency: (upper bound in ms, cumulative count), ascending; last bound may be inf"
    )
    parts: dict[str, Counters] = Field(
        {},
        exclude_if=lambda parts: not parts,  # as stored before machines were told apart
        description="serving machine -> what it has counted of these; empty where there is one router",
    )

    def restarted(self, earlier: Counters) -> bool:
        """Return whether the router was restarted between the two looks.

        Successes and buckets never go down while it runs. Errors may: an attempt that met no server
        listening counts as an error for a moment. So a pool that answered only errors reveals no restart.
        """
        counts = dict(self.buckets)
        fell = any(counts.get(bound, 0) < count for bound, count in earlier.buckets)
        return fell or self.requests - self.errors < earlier.requests - earlier.errors

    def since(self, earlier: Counters) -> Counters:
        """Return what was counted since an earlier look; after a restart all of it is new."""
        return self if self.restarted(earlier) else self._minus(earlier)

    def _minus(self, earlier: Counters) -> Counters:
        return Counters(
            requests=max(0, self.requests - earlier.requests),
            errors=max(0, self.errors - earlier.errors),
            refused=max(0, self.refused - earlier.refused),
            excused=max(0, self.excused - earlier.excused),
            lost=max(0, self.lost - earlier.lost),
            buckets=tuple((bound, max(0, count - earlier._up_to(bound))) for bound, count in self.buckets),
        )

    def plus(self, other: Counters) -> Counters:
        """Return the sum of both."""
        bounds = sorted({bound for counters in (self, other) for bound, _ in counters.buckets})
        return Counters(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            refused=self.refused + other.refused,
            excused=self.excused + other.excused,
            lost=self.lost + other.lost,
            buckets=tuple((bound, self._up_to(bound) + other._up_to(bound)) for bound in bounds),
            parts={
                name: self.parts.get(name, Counters()).plus(other.parts.get(name, Counters()))
                for name in sorted({*self.parts, *other.parts})
            },
        )

    def without(self, machine: str) -> Counters:
        """Return what all others have counted; also what was counted before machines were told apart."""
        return self._minus(self.parts.get(machine, Counters()))

    def sparse(self) -> Counters:
        """Return the same with both bounds of those latency buckets alone in which a request lies."""
        kept: dict[float, int] = {}
        lower: tuple[float, int] | None = None
        for bound, count in self.buckets:
            if count != (lower[1] if lower is not None else 0):
                kept.update([lower] if lower is not None else [])
                kept[bound] = count
            lower = (bound, count)
        parts = {name: part.sparse() for name, part in self.parts.items()}
        return self.model_copy(update={"buckets": tuple(kept.items()), "parts": parts})

    def scaled(self, requests: int) -> Counters:
        """Return as many requests, with the same shares of errors and latencies."""
        share = requests / self.requests
        return Counters(
            requests=requests,
            errors=round(self.errors * share),
            buckets=tuple((bound, round(count * share)) for bound, count in self.buckets),
        )

    def excused_as(self, original: Counters) -> Counters:
        """Return the counters of copies with as many errors excused as requests of the original were lost."""
        excused = {
            "excused": min(self.errors, self.excused + original.lost),
            "parts": {
                name: part.excused_as(original.parts.get(name, Counters()))
                for name, part in self.parts.items()
            },
        }
        return self.model_copy(update=excused)

    def evidence(self) -> Counters:
        """Return what counts for or against a version: 2xx and 5xx without the requests' own faults.

        The router has no latency by status. A refusal is the fastest answer and a lost request the slowest: so
        many requests are left out at each end.
        """
        answered = max(0, self.buckets[-1][1] - self.refused - self.lost) if self.buckets else 0
        excused = min(self.excused, self.errors)
        return Counters(
            requests=max(0, self.requests - self.refused - excused),
            errors=self.errors - excused,
            buckets=tuple(
                (bound, min(max(0, count - self.refused), answered)) for bound, count in self.buckets
            ),
            parts={name: part.evidence() for name, part in self.parts.items()},
        )

    def _up_to(self, bound: float) -> int:
        return max((count for known, count in self.buckets if known <= bound), default=0)

    def latency_ms(self, quantile: float) -> float | None:
        """Return a quantile in ms, linear inside its bucket (as Prometheus' histogram_quantile); None if empty."""
        if not self.buckets or self.buckets[-1][1] == 0:
            return None
        rank = quantile * self.buckets[-1][1]
        low, below = 0.0, 0
        for bound, cumulative in self.buckets:
            if cumulative >= rank and cumulative > below:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * (rank - below) / (cumulative - below)
            low, below = bound, cumulative
        return low


class UserCounts(Frozen):
    """Users of a split; a request without a user counts as a user of its own."""

    by_variant: dict[str, int] = Field(description="version -> users whose first request was for it")
    crossed: int = Field(0, ge=0, description="of these, users that got both variants")


class LikeRequests(Frozen):
    """Latency of a candidate on requests like the champion's (`analysis.like_requests`)."""

    slow_in_log: bool = Field(description="harm is proven on all requests, whatever their size")
    slow_alike: bool = Field(description="harm is proven on like requests")
    fine_alike: bool = Field(description="on like requests it is not above what is tolerated")
    slower: int = Field(ge=0, description="like requests of the candidate above the limit")
    compared: int = Field(ge=0, description="like requests of the candidate")
    requests: int = Field(ge=0, description="all its requests in the log")
    limit: float | None = Field(
        description="limit as a multiple of the champion's median for the same work; None: too few requests"
    )
    decided_by: tuple[str, ...] = Field((), description="clients without whose requests it is not so")


class Readiness(Frozen):
    """Progress of a pool in loading one version, with the errors of its servers."""

    ready: int = Field(ge=0)
    total: int = Field(ge=0, description="servers that the pool should have")
    reachable: int = Field(ge=0)
    errors: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True when every server of the pool holds the version."""
        return self.total > 0 and self.ready == self.total
