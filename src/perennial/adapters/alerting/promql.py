"""Small parts of PromQL: durations, and the names of recorded series."""

from __future__ import annotations

from datetime import timedelta

UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(span: timedelta) -> str:
    """Return a duration in the largest unit that divides it: 5m, 3d, 90s."""
    seconds = round(span.total_seconds())
    return next(f"{seconds // size}{unit}" for size, unit in UNITS if seconds % size == 0)


def recorded(what: str, window: timedelta) -> str:
    """Return the name of a recorded series of a window, as level:metric:operations."""
    return f"model:{what}{duration(window)}"


AVAILABILITY, LATENCY = "model:slo_availability:objective", "model:slo_latency:objective"
LATENCY_BUCKET = "model:slo_latency:bucket"
"""Has the value 1 and the label `le` of the bucket that ends at the promised time."""
FEATURES_AGE, LABELS_AGE = "model:slo_features_age:seconds", "model:slo_labels_age:seconds"
EVERY = "model:monitor_every:seconds"
"""Series of the thresholds of the specs: each stands once for each model, and alerts refer to it by name."""
REQUESTS, ERRORS, ERROR_RATIO, SLOW_RATIO = "requests:rate", "errors:rate", "errors:ratio", "slow:ratio"
"""Series that are recorded for each window, by model."""
