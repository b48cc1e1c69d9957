"""Selection of the version that answers a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from perennial.serving import assignment, headers
from perennial.serving.assignment import Assigned
from perennial.serving.host import ModelHost
from perennial.serving.session import RegisteredVersion

Version = TypeVar("Version", bound=RegisteredVersion, covariant=True)


# Not frozen: every request makes one, and a frozen one takes four times as long to make.
@dataclass(slots=True)
class SelectedVersion(Generic[Version]):
    """The version that answers a request.

    Attributes:
        version: where it is a `LoadedVersion`, it can answer now; else it is loaded on demand.
        shadow: true for a mirrored request, whose answer is dropped.
        synthetic: true for a latency measurement, which is not logged.
        assigned: variant of an experiment, or None.
        stands_in: `fallback` or `backup` when it answers in place of the requested version, else empty.
    """

    version: Version
    release_id: str | None
    shadow: bool
    synthetic: bool
    assigned: Assigned | None = None
    stands_in: str = ""


def select_version(
    host: ModelHost, model: str, named: str | None, given: Mapping[str, str]
) -> SelectedVersion[RegisteredVersion]:
    """Return the version named in the path, else the version of the router's headers, else the only version.

    Args:
        named: semantic version from the path.
        given: request headers.

    Raises:
        NotLoaded, UnknownModel, UnknownVersion, MalformedInput: see ModelHost.
    """
    digest = given.get(headers.DIGEST)
    release, stands_in = None, ""
    if named is not None:
        version = host.by_version(model, named)
    elif digest is not None:
        fallback, backup = given.get(headers.FALLBACK), given.get(headers.BACKUP)
        version = host.by_digest(model, digest, fallback, backup)
        if version.wanted.digest == digest:
            release = given.get(headers.RELEASE)
        elif version.wanted.digest == fallback:
            release, stands_in = given.get(headers.FALLBACK_RELEASE), "fallback"
        else:
            release, stands_in = given.get(headers.BACKUP_RELEASE), "backup"
    else:
        version = host.only(model)
    return SelectedVersion(
        version,
        release or version.wanted.release_id,
        shadow=given.get(headers.SHADOW) == "true",
        synthetic=given.get(headers.SYNTHETIC) == "true",
        # An answer of the backup is no evidence about the champion's variant.
        assigned=None if stands_in == "backup" else assignment.read(given),
        stands_in=stands_in,
    )
