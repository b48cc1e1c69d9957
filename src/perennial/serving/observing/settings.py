"""What the settings ask to be observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perennial.serving.http.direct import Application
from perennial.serving.observing.requests import Observed, write_line

if TYPE_CHECKING:
    from perennial.settings import Settings


def observed(application: Application, settings: Settings) -> tuple[Application, Callable[[], None]]:
    """Return the application with the observation that the settings ask for, and what ends it.

    Without such a setting it is the application itself: a request pays nothing.
    """
    log = write_line if settings.request_log else None
    if settings.otlp_traces is not None:
        from perennial.serving.observing.tracing import otlp

        tracing = otlp(settings.otlp_traces)
        return Observed(application, log, tracing), tracing.close
    return (application if log is None else Observed(application, log, None)), lambda: None
