"""Request headers by which the router tells a model server what to answer with."""

from __future__ import annotations

DIGEST = "x-perennial-digest"
"""The version that this request is for: served exactly, or 503."""
FALLBACK = "x-perennial-fallback"
"""The champion: served when `DIGEST` is not loaded here, which is what the stable pool meets when the
canary pool is gone and its share falls over."""
RELEASE = "x-perennial-release"
"""Release of the version in `DIGEST`; goes into the prediction log and the answer."""
FALLBACK_RELEASE = "x-perennial-fallback-release"
BACKUP = "x-perennial-backup"
"""The champion before: served, by servers outside the stable pool only, when the stable share falls over to
them. A stable server that lacks the champion refuses instead, and another one is asked."""
BACKUP_RELEASE = "x-perennial-backup-release"
SHADOW = "x-perennial-shadow"
"""`true` on a mirrored request: its answer is dropped, its prediction is logged as shadow."""
SYNTHETIC = "x-perennial-synthetic"
"""`true` on a latency measurement: not a prediction, so not logged. The router strips it."""
STANDS_IN = "x-perennial-stands-in"
"""On an answer: `fallback` or `backup`, when another version than the asked one gave it."""
REQUEST_ID = "x-request-id"
