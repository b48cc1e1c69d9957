"""The status of gRPC and that of HTTP for the same end of a request; nothing is imported, as in `paths`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """A status of gRPC.

    Attributes:
        counted: HTTP status that the router counts and repeats it as.
        errors: HTTP statuses of the errors that get this one.
    """

    name: str
    code: int
    counted: int
    errors: tuple[int, ...] = ()


STATUSES = (
    Status("CANCELLED", 1, 503),
    Status("UNKNOWN", 2, 500),
    Status("INVALID_ARGUMENT", 3, 400, (400,)),
    Status("DEADLINE_EXCEEDED", 4, 504, (408, 504)),
    Status("NOT_FOUND", 5, 404, (404,)),
    Status("ALREADY_EXISTS", 6, 409),
    Status("PERMISSION_DENIED", 7, 403, (403,)),
    Status("RESOURCE_EXHAUSTED", 8, 429, (413, 429)),
    Status("FAILED_PRECONDITION", 9, 400, (409, 422)),
    Status("ABORTED", 10, 409),
    Status("OUT_OF_RANGE", 11, 400),
    Status("UNIMPLEMENTED", 12, 501),
    Status("INTERNAL", 13, 500, (500,)),
    Status("UNAVAILABLE", 14, 503, (503,)),
    Status("DATA_LOSS", 15, 500),
    Status("UNAUTHENTICATED", 16, 401, (401,)),
)
"""Counted as in `google/rpc/code.proto`; but CANCELLED is 503: when a client cancels, nothing is answered, and a server
that stops says so of calls that no handler has taken, which another server should answer."""
OF_ERROR = {error: status for status in STATUSES for error in status.errors}
"""Status by the HTTP status of an error."""
