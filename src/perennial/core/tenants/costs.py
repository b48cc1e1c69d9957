"""What a model uses, and what that costs at the prices of `configs/prices.yaml`. Without a price there is no amount."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from perennial.core.frozen import Frozen

GIB = 2**30
PRICE = Field(None, ge=0, allow_inf_nan=False)


class Prices(Frozen):
    """Prices in one currency; one that is missing is not known, and not 0."""

    currency: str = Field(min_length=1, max_length=8)
    thousand_requests: float | None = PRICE
    training_hour: float | None = PRICE
    gib_month: float | None = PRICE


class Use(NamedTuple):
    """The use of a model in a period; bytes are those of its end."""

    model: str
    requests: int
    """Requests of clients that were answered; those of a shadow are in `shadow_requests`."""
    shadow_requests: int
    training_hours: float
    """From the begin to the end of each run of MLflow; trials within a run are not counted again."""
    log_bytes: int
    artifact_bytes: int


class Cost(NamedTuple):
    """Amounts of a use; None where a price is missing."""

    requests: float | None
    training: float | None
    total: float | None
    """Of the period: requests and training."""
    storage_month: float | None
    """Of the bytes of the end, if they stay for a month."""


def cost(use: Use, prices: Prices | None) -> Cost:
    """Return what a use costs; requests of a shadow cost as much as those of clients."""
    if prices is None:
        return Cost(None, None, None, None)
    requests = _amount((use.requests + use.shadow_requests) / 1000, prices.thousand_requests)
    training = _amount(use.training_hours, prices.training_hour)
    total = None if requests is None or training is None else requests + training
    return Cost(
        requests, training, total, _amount((use.log_bytes + use.artifact_bytes) / GIB, prices.gib_month)
    )


def together(uses: list[Use]) -> Use:
    """Return the use of all models."""
    return Use(
        "all",
        sum(use.requests for use in uses),
        sum(use.shadow_requests for use in uses),
        sum(use.training_hours for use in uses),
        sum(use.log_bytes for use in uses),
        sum(use.artifact_bytes for use in uses),
    )


def _amount(quantity: float, price: float | None) -> float | None:
    return None if price is None else quantity * price
