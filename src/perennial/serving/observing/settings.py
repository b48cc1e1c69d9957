"""Build the observation of requests that the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.serving.observing.requests import Observation, write_line

if TYPE_CHECKING:
    from perennial.settings import Settings


def observation(settings: Settings) -> Observation | None:
    """Return what the settings ask for; None without such a setting, and a request pays nothing."""
    log = write_line if settings.request_log else None
    if settings.otlp_traces is not None:
        from perennial.serving.observing.tracing import otlp

        tracing = otlp(settings.otlp_traces)
        return Observation(log, tracing, tracing.close)
    return None if log is None else Observation(log)
