"""On-demand view `request_features`: what the moment of a prediction adds to the state of a test."""

from __future__ import annotations

from collections.abc import Mapping

from feast import FeatureView, Field, RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Float64, Int64, UnixTimestamp


def view(stored: Mapping[str, FeatureView]) -> OnDemandFeatureView:
    """Return the view over the stored views, by name."""
    test_view = stored["test_execution_features"]
    request = RequestSource(
        name="scheduled",
        schema=[Field(name="requested_at", dtype=UnixTimestamp), Field(name="cycle_size", dtype=Int64)],
    )

    @on_demand_feature_view(
        sources=[test_view[["last_run_at"]], request],
        schema=[
            Field(name="hours_since_last_run", dtype=Float64),
            Field(name="cycle_size", dtype=Float64),
            Field(name="weekday", dtype=Float64),
        ],
        mode="python",
        description="what the moment of a prediction adds; weekday 0 is Monday, in UTC",
    )
    def request_features(inputs):
        # Feast stores the source of this function and runs it elsewhere: it must stand alone.
        import math
        from datetime import UTC, datetime

        output = {"hours_since_last_run": [], "cycle_size": [], "weekday": []}
        rows = zip(inputs["requested_at"], inputs["last_run_at"], inputs["cycle_size"], strict=True)
        for requested_at, last_run_at, cycle_size in rows:
            moment = requested_at
            if not isinstance(moment, datetime):
                moment = datetime.fromtimestamp(moment, tz=UTC)
            elif moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            known = math.nan if last_run_at is None else float(last_run_at)
            output["hours_since_last_run"].append((moment.timestamp() - known) / 3600.0)
            output["cycle_size"].append(float(cycle_size))
            output["weekday"].append(float(moment.astimezone(UTC).weekday()))
        return output

    return request_features
