"""Model of the prices of stocks in the next months: a naive forecast that a small network may correct."""

from __future__ import annotations

from perennial.models.templates.lag_network import LagNetwork


class MarketForecast(LagNetwork):
    """The network over past values; its inputs and its task are those of its spec."""

    architecture = "lag-network/1"
