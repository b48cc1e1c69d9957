"""Select the release of a model that a person means."""

from __future__ import annotations

from collections.abc import Sequence

from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.errors import UnknownRelease


def select_release(
    model: str, release_id: str | None, releases: Sequence[ReleaseStatus]
) -> tuple[ReleaseStatus, tuple[ReleaseStatus, ...]]:
    """Return the release with this id, or the default; and, for the default, other active releases.

    Args:
        releases: all releases of the model, newest first.

    Raises:
        UnknownRelease: the model has no release, or none with this id.
    """
    if not releases:
        raise UnknownRelease(f"{model} has no release", hint=f"perennial release start {model}")
    if release_id is None:
        chosen = default_release(releases)
        others = (release for release in releases if not release.phase.is_final() and release != chosen)
        return chosen, tuple(others)
    for release in releases:
        if release.release_id == release_id:
            return release, ()
    raise UnknownRelease(f"{model} has no release {release_id}", hint=f"perennial release history {model}")


def default_release(releases: Sequence[ReleaseStatus]) -> ReleaseStatus:
    """Return the newest active release past its gate, else the newest active release, else the newest.

    People do not steer a release that hangs in its gate, or waits for a pool that cannot load it.

    Args:
        releases: all releases of a model, newest first; not empty.
    """
    active = [release for release in releases if not release.phase.is_final()]
    return next(
        (release for release in active if release.phase is not Phase.PENDING), (active or releases)[0]
    )
