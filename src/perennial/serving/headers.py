"""Request headers by which the router tells a model server what to answer with."""

from __future__ import annotations

PREFIX = "x-perennial-"
"""Prefix of our headers."""
SECRET = "x-perennial-secret"  # noqa: S105 the name of a header
"""Shared secret of the installation: a model server refuses a request without it, except its health check."""
PUBLIC = "x-perennial-public"
"""`true` on every request that Envoy took from a client; absent on the requests of the installation itself."""
DIGEST = "x-perennial-digest"
"""Digest of the requested version: a server answers with exactly this version, or 503."""
FALLBACK = "x-perennial-fallback"
"""Digest of the champion. The stable pool answers with it when `DIGEST` is not loaded, which happens when the
canary pool is gone and its share goes to the stable pool."""
RELEASE = "x-perennial-release"
"""Release of the version in `DIGEST`; written to the prediction log and the answer."""
FALLBACK_RELEASE = "x-perennial-fallback-release"
BACKUP = "x-perennial-backup"
"""Digest of the previous champion. Only servers outside the stable pool answer with it, when the stable share goes
to them. A stable server without the champion refuses, and the router tries another server."""
BACKUP_RELEASE = "x-perennial-backup-release"
SHADOW = "x-perennial-shadow"
"""`true` on a mirrored request: its answer is dropped, its prediction is logged as shadow."""
EXPERIMENT = "x-perennial-experiment"
"""Salt of the experiment that the request is assigned to; comes with the three headers below."""
ARM = "x-perennial-arm"
"""Version that the request is assigned to, even when another version answers."""
UNIT = "x-perennial-unit"
"""Unit of the assignment (user or request); absent when the cookie named in `UNIT_COOKIE` identifies it."""
UNIT_COOKIE = "x-perennial-unit-cookie"
BUCKET = "x-perennial-bucket"
"""Pool and number of the hash bucket of the user in a split, as `canary.7`: for the router's own log."""
FEEDBACK_KEY = "x-perennial-feedback-key"
"""Key of a source of feedback (`perennial feedback source add`)."""
SYNTHETIC = "x-perennial-synthetic"
"""`true` on a latency measurement: not logged as a prediction. The router removes it from clients' requests."""
STANDS_IN = "x-perennial-stands-in"
"""Header of an answer: `fallback` or `backup` when another version than the requested version answered."""
CLAIMS = "x-perennial-claims"
"""Claims of a client's JWT in base64url, after Envoy verified it."""
CALLED_MODEL = "x-perennial-model"
"""Name of the model in a gRPC message, by which Envoy routed the call; the server compares it with the message."""
CALLED_VERSION = "x-perennial-model-version"
"""Version in a gRPC message; absent when the message names none."""
REQUEST_ID = "x-request-id"
FORWARDED_FOR = "x-forwarded-for"

OF_CLIENTS = frozenset({FEEDBACK_KEY})
"""Our headers that a client may send."""


def of_router() -> list[str]:
    """Return the headers that only Envoy and the installation itself may set."""
    ours = {value for value in globals().values() if isinstance(value, str) and value.startswith(PREFIX)}
    return sorted(ours - OF_CLIENTS - {PREFIX})
