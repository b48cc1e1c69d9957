"""Shape of a champion's traffic, how far its requests depend on each other, and the harm of a simulated candidate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from perennial.core.frozen import Frozen, Share
from perennial.core.release.analysis.simulated_labels import TruthProfile, TwoTruths

NotNegative = Annotated[float, Field(ge=0)]


class Dependence(Frozen):
    """How far a champion's requests depend on each other; the defaults are those of independent requests."""

    error_burst: float = Field(1.0, ge=1, description="errors that come together, on average")
    users: int | None = Field(
        None, gt=0, description="users that are assigned to a version; None: each request is drawn anew"
    )
    user_spread: NotNegative = Field(
        0.0, description="standard deviation of the users' error rates divided by their mean"
    )
    latency_time_sd: NotNegative = Field(
        0.0, description="standard deviation of log latency between ten minutes of a pool"
    )
    latency_user_sd: NotNegative = Field(0.0, description="the same between users")
    measured: bool = Field(False, description="errors are known by cluster from an earlier release")

    def __str__(self) -> str:
        source = (
            "as an earlier release counted them" if self.measured else "assumed: no release counted them yet"
        )
        users = "each drawn anew" if self.users is None else f"of {self.users} users"
        return (
            f"errors come in bursts of {self.error_burst:.3g} on average, users' error rates differ by "
            f"{self.user_spread:.3g} times their mean ({source}); requests {users}; log latency differs by "
            f"{self.latency_time_sd:.2g} between ten minutes and {self.latency_user_sd:.2g} between users"
        )


class TrafficProfile(Frozen):
    """Shape of the champion's traffic."""

    requests_per_hour: float = Field(gt=0)
    error_rate: Share = Field(description="share of requests that fail")
    latency_p95_ms: float = Field(gt=0)
    latency_log_sd: float = Field(gt=0, description="standard deviation of the logarithm of latency")
    accuracy: Share = Field(description="share of right answers, of requests whose labels come")
    labelled: Share = Field(description="share of requests whose labels come within the step")
    labels_per_request: float = Field(1.0, gt=0)
    label_delay_hours: float = Field(0.0, ge=0, description="age from which a request has its label")
    truths: TwoTruths | None = Field(
        None, description="the most common truth and all others; None: not known, two alike"
    )
    dependence: Dependence = Field(default_factory=Dependence)

    @property
    def two_truths(self) -> TwoTruths:
        alike = TruthProfile(share=0.5, wrong=1.0 - self.accuracy, labelled=self.labelled)
        return self.truths or (alike, alike)


class CandidateHarm(Frozen):
    """Degree by which a candidate is worse than the champion."""

    name: str
    error_factor: float = 1.0
    latency_factor: float = 1.0
    accuracy_drop: float = 0.0

    @property
    def is_none(self) -> bool:
        return (self.error_factor, self.latency_factor, self.accuracy_drop) == (1.0, 1.0, 0.0)
