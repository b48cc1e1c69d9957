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
SHADOW = "x-perennial-shadow"
"""`true` on a mirrored request: its answer is dropped, its prediction is logged as shadow."""
EXPERIMENT = "x-perennial-experiment"
"""Of a request that was drawn to a side of a split, with the three below."""
ARM = "x-perennial-arm"
"""Version that the request was drawn to, whichever answers it."""
UNIT = "x-perennial-unit"
"""Who the draw went by; absent when it went by a cookie, which `UNIT_COOKIE` names."""
UNIT_COOKIE = "x-perennial-unit-cookie"
SYNTHETIC = "x-perennial-synthetic"
"""`true` on a latency measurement: not a prediction, so not logged. The router strips it."""
REQUEST_ID = "x-request-id"
