"""Limits of what Perennial accepts: at the front door from a client, and the times in imported data.

Every number is here; docs/guide/serving.md lists those of the front door, docs/guide/data.md those of times. The share
of a client is a setting (`PERENNIAL_CLIENT_RATE`), because it depends on the installation.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""First plausible time of a test, a label or a feature."""
CLOCK_SKEW = timedelta(minutes=15)
"""How far the clock of another machine may be ahead."""
LONGEST_BUILD = timedelta(days=7)
"""Tests of a report follow each other from its start. In parallel, their sum may end after now by so much."""
FIRST_MOMENT, LAST_MOMENT = 0.0, 4_102_444_800.0
"""Bounds of a time in a request, in unix seconds: 1970 to 2099, since old requests may be sent again and the feature
store and pandas cannot compute with times far beyond."""
LARGEST_VALUE = 1e15
"""Largest number among the request values of features: larger ones are not exact, or leave float32 in a model."""


def implausible(at: datetime, now: datetime, ahead: timedelta = CLOCK_SKEW) -> str:
    """Return why data cannot have this time, in words; empty when it can.

    Args:
        ahead: how far after `now` it may be.
    """
    if at < EARLIEST:
        return f"before {EARLIEST:%Y-%m-%d}"
    return "in the future" if at > now + ahead else ""


BODY_BYTES = 4 * 1024 * 1024
"""Largest body. Envoy answers 413 before a model server sees a byte; a model server answers 413 before it reads on."""
LENGTH_DIGITS = 20
"""Most digits of the declared length of a body; Python reads no number of more than 4300, and leading zeros count."""
ROWS = 4096
"""Most rows (tensor rows or entities) of a request; more are a 400."""
TEXT = 512
"""Most characters of an entity key or a text value of a request, which the log keeps; longer ones are a 400."""
HEADER_TEXT = 128
"""Most characters of an id in a header that are logged; the rest is cut off."""
JSON_DEPTH = 16
"""Most nested lists and objects of a body; deeper ones are a 400."""
JSON_PARTS = 100_000
"""Most lists and objects of a body; more are a 400: a million small ones cost a server a second."""
HEADER_KIB = 32
"""Largest headers of a request; larger ones are a 431."""
HEADERS = 100
"""Most headers of a request."""

HEADERS_SECONDS = 5
"""Time for the headers of a request, then the connection is closed."""
REQUEST_SECONDS = 10
"""Time for the whole request, then 408: Envoy keeps a half-sent body from the model servers until then."""
IDLE_SECONDS = 60
"""Time that an unused connection stays open."""
STREAM_IDLE_SECONDS = 30
"""Time without a byte in either direction, for a request or an answer that is not read."""
CONNECTION_BYTES = 64 * 1024
"""Buffer of a connection, before Envoy stops reading; bodies wait in the buffer of their request."""
CONNECTIONS = 8192
"""Most client connections of Envoy; a new connection beyond is closed at once."""
HEAP_BYTES = 1536 * 1024 * 1024
"""Memory of Envoy: from 80 % on the largest requests are reset, at 95 % no new request is taken."""
CLIENT_ADDRESSES = 4096
"""Client addresses whose rate is counted at the same time; the least recently seen is forgotten."""
