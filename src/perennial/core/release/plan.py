"""Steps of each release strategy. The release machine walks them and knows no strategy by name.

canary        [shadow]  share 1, share 2, ...            then promoted
blue_green    [shadow]  everything at once, held         then promoted
ab            [shadow]  a fixed share, until the sample  then promoted
rolling       [shadow]  1/n, 2/n, ... of the requests    then promoted (n: servers of the stable pool)
immediate                                                promoted
shadow_only    shadow                                    then taken away again
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pydantic import Field, PositiveInt

from perennial.core.frozen import Frozen, Percent
from perennial.core.release.phase import Phase
from perennial.core.release_spec import ReleaseSpec, Strategy

ALL = 100.0


class Step(Frozen):
    """Part of a release in which the candidate's share of the traffic stays the same and is judged."""

    phase: Phase = Field(description="SHADOW or CANARY")
    number: int = Field(0, ge=0, description="counts the steps of CANARY from 0; 0 in SHADOW")
    weight: Percent = Field(0.0, description="percent of the requests; a mirror answers none")
    duration: timedelta
    sample: PositiveInt | None = Field(None, description="answers of each version that end it early")
    mismatch: float | None = Field(
        None, description="false-alarm chance of the sample ratio test of an A/B test; None: no test"
    )

    @property
    def takes_all(self) -> bool:
        """True when the champion gets nothing, so that it is known only by its earlier answers."""
        return self.weight == ALL

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the requests that candidate and champion answer; a mirror has both answer each."""
        candidate = self.weight / ALL
        return (1.0, 1.0) if self.phase is Phase.SHADOW else (candidate, 1.0 - candidate)


def plan(policy: ReleaseSpec, servers: int) -> tuple[Step, ...]:
    """Return the steps between loading and the end, in order; without steps the end follows at once.

    Args:
        servers: size of the stable pool; `rolling` takes as many shares.
    """
    mirrored = () if policy.shadow is None else (Step(phase=Phase.SHADOW, duration=policy.shadow),)
    match policy.strategy:
        case Strategy.IMMEDIATE:
            return ()
        case Strategy.SHADOW_ONLY:
            return mirrored
    return (*mirrored, *SHARES[policy.strategy](policy, servers))


def promotes(policy: ReleaseSpec) -> bool:
    """Return whether a candidate that passed every step becomes champion."""
    return policy.strategy is not Strategy.SHADOW_ONLY


def by_server(policy: ReleaseSpec) -> bool:
    """Return whether the plan depends on the size of the stable pool."""
    return policy.strategy is Strategy.ROLLING


def _canary(policy: ReleaseSpec, servers: int) -> tuple[Step, ...]:
    return tuple(_share(number, step.weight, step.duration) for number, step in enumerate(policy.steps))


def _blue_green(policy: ReleaseSpec, servers: int) -> tuple[Step, ...]:
    return (_share(0, ALL, policy.hold),)


def _ab(policy: ReleaseSpec, servers: int) -> tuple[Step, ...]:
    step = _share(0, policy.ab.weight, policy.ab.duration)
    return (step.model_copy(update={"sample": policy.ab.sample, "mismatch": policy.ab.mismatch}),)


def _rolling(policy: ReleaseSpec, servers: int) -> tuple[Step, ...]:
    """Return a step per server but the last: that is the promotion, as 100 % is the promotion of a canary."""
    return tuple(_share(taken - 1, ALL * taken / servers, policy.hold) for taken in range(1, servers))


def _share(number: int, weight: float, duration: timedelta) -> Step:
    return Step(phase=Phase.CANARY, number=number, weight=weight, duration=duration)


SHARES: dict[Strategy, Callable[[ReleaseSpec, int], tuple[Step, ...]]] = {
    Strategy.CANARY: _canary,
    Strategy.BLUE_GREEN: _blue_green,
    Strategy.AB: _ab,
    Strategy.ROLLING: _rolling,
}
