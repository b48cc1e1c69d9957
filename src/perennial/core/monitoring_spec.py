"""The parts of the model spec that monitoring and retraining apply (`monitoring`, `retraining` in the YAML)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, model_validator

from perennial.core.frozen import Frozen, Share


class Levels(Frozen):
    """Values from which a figure calls for a watch, a warning, a retraining."""

    watch: float = Field(gt=0)
    warn: float = Field(gt=0)
    retrain: float = Field(gt=0)

    @model_validator(mode="after")
    def rising(self) -> Self:
        if not self.watch < self.warn < self.retrain:
            raise ValueError("watch < warn < retrain must hold")
        return self


class ShareLevels(Frozen):
    """Shares of the traffic at which a watch or a warning begins; never a retraining."""

    watch: Share
    warn: Share


class BusinessSpec(Frozen):
    """Metric of the business: a query over the answers of a period."""

    sql: Annotated[str, Field(min_length=1)] = Field(
        description="DuckDB query over the table `answers` of a period; gives a row with a number"
    )
    unit: str


class UpstreamSpec(Frozen):
    """Faults of what sends the data, from which a look or the daily check speaks of them."""

    newly_missing: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="growth of a feature's share of missing values, if proven"
    )
    repeated: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="growth of the share of rows that repeat another one exactly"
    )
    silence: Annotated[float, Field(gt=1)] = Field(
        10.0, description="time without a prediction, as a multiple of the longest pause before"
    )
    broken_rows: ShareLevels = Field(
        ShareLevels(watch=0.01, warn=0.1), description="rows of a day that break a rule of the training data"
    )
    volume: Annotated[float, Field(gt=1)] = Field(
        2.0,
        description="factor by which requests are fewer or more than in the same hours before, if unusual",
    )


class MonitoringSpec(Frozen):
    """Windows, watched features and levels of the monitor."""

    window: PositiveInt = Field(description="predictions in a window")
    min_window: PositiveInt = Field(description="fewer predictions: no verdict")
    min_requests: PositiveInt = Field(20, description="fewer requests in the window: no verdict")
    request_rows: PositiveInt = Field(50, description="most predictions of a request in the window")
    client_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="most predictions of a client, as a share of the window"
    )
    unknown_share: ShareLevels = Field(
        ShareLevels(watch=0.2, warn=0.5), description="predictions without any known feature"
    )
    refused_share: ShareLevels = Field(
        ShareLevels(watch=0.2, warn=0.5), description="requests that were refused (4xx)"
    )
    every: timedelta
    bins: Annotated[int, Field(ge=3, le=50)]
    columns: tuple[str, ...] = Field(min_length=1, description="features watched for drift")
    psi: Levels
    accuracy_drop_percent: Levels
    features_needed: PositiveInt = Field(description="features that must reach a level together")
    min_labels: PositiveInt
    label_delay: timedelta | None = Field(
        None,
        gt=timedelta(0),
        description="longest time until the label of a prediction comes; null: not known",
        exclude_if=lambda delay: delay is None,  # the digest of specs without the key stays
    )
    business: dict[str, BusinessSpec] = Field(
        default_factory=dict,
        description="metrics of the performance report by name",
        exclude_if=lambda business: not business,  # the digest of specs without the key stays
    )
    upstream: UpstreamSpec = Field(
        UpstreamSpec(),
        description="faults of what sends the data",
        exclude_if=lambda upstream: upstream == UpstreamSpec(),
    )


CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Lowest and highest number of minute, hour, day of month, month and day of week."""
CRON_NAMES: tuple[dict[str, int], ...] = (
    {},
    {},
    {},
    {
        name: number
        for number, name in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
        )
    },
    {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])},
)


def check_cron(text: str) -> str:
    """Return the cron expression unchanged; raises ValueError for a field that is wrong or missing."""
    fields = text.lower().split()
    if len(fields) != len(CRON):
        raise ValueError(f"{text!r} has {len(fields)} fields, a cron expression has five")
    for field, (low, high), names in zip(fields, CRON, CRON_NAMES, strict=True):
        for part in field.split(","):
            span, _, step = part.partition("/")
            bounds = [] if span == "*" else [str(names.get(bound, bound)) for bound in span.split("-")]
            numbers = [int(bound) for bound in bounds if bound.isdecimal()]
            fits = len(numbers) == len(bounds) <= 2 and all(low <= number <= high for number in numbers)
            step_fits = "/" not in part or (step.isdecimal() and int(step) > 0)
            if not (fits and step_fits and numbers == sorted(numbers)):
                raise ValueError(f"{part!r} of {text!r} is no cron field from {low} to {high}")
    return text


class EffectSpec(Frozen):
    """Measurement of what a release has brought."""

    duration: timedelta = Field(
        timedelta(days=7), gt=timedelta(0), description="time after the promotion whose requests are compared"
    )


class ReluctanceSpec(Frozen):
    """Growth of the cooldown with each retraining in a row that brought nothing."""

    factor: Annotated[float, Field(ge=1, le=10)] = Field(2.0, description="1: the cooldown stays")
    longest: timedelta = Field(timedelta(days=30), description="bound of the grown cooldown")


class ProspectsSpec(Frozen):
    """Conditions under which an alarm starts a training; else it asks a person."""

    fewest_labels: NonNegativeInt = Field(
        0, description="labels needed since the champion's training; 0: none"
    )
    backtest_rows: NonNegativeInt = Field(
        3000, description="newest labelled answers of the back-test; 0: no back-test"
    )
    least_gain: float | None = Field(
        None, description="gain that the back-test must not exclude; null: it only informs"
    )
    labels_need_gain: bool = Field(
        False,
        exclude_if=lambda needed: not needed,
        description="new labels alone start a training only where the back-test proves a gain",
    )

    @model_validator(mode="after")
    def _gain_needs_a_back_test(self) -> Self:
        if self.labels_need_gain and not self.backtest_rows:
            raise ValueError("labels_need_gain needs a back-test: set backtest_rows above 0")
        return self


class RetrainingSpec(Frozen):
    """Schedule and limits of retraining."""

    schedule: Annotated[str, AfterValidator(check_cron)] = Field(description="cron expression of five fields")
    cooldown: timedelta
    max_alarms_per_week: PositiveInt
    priority: int = Field(
        10,
        ge=1,
        le=100,
        exclude_if=lambda priority: priority == 10,  # the digest of specs without the key stays
        description="of the trainings that wait for a place, those of the model with the higher one go first",
    )
    effect: EffectSpec = Field(
        EffectSpec(),
        exclude_if=lambda effect: effect == EffectSpec(),
        description="how the effect of a release is measured",
    )
    reluctance: ReluctanceSpec = Field(
        ReluctanceSpec(),
        exclude_if=lambda reluctance: reluctance == ReluctanceSpec(),
        description="how retrainings that brought nothing make the next one wait longer",
    )
    prospects: ProspectsSpec = Field(
        ProspectsSpec(),
        exclude_if=lambda prospects: prospects == ProspectsSpec(),
        description="when a retraining would not help",
    )
    enough_labels: PositiveInt | None = Field(
        None,
        exclude_if=lambda enough: enough is None,
        description="labels since the champion's training that start a retraining; null: labels alone start none",
    )
