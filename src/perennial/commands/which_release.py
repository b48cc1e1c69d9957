"""Which release of a model a person means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from perennial.core.release.status import ReleaseStatus
    from perennial.settings import Settings


def release_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--release ID`, given to the command as `release_id`."""
    told = "Of the model: its id, from `release history`; by default the newest that is past its gate."
    return click.option("--release", "release_id", default=None, help=told)(command)


def select_release(model: str, release_id: str | None, settings: Settings) -> ReleaseStatus:
    """The release with this id, else the one that the model's name means; says so where it could be another.

    Raises:
        UnknownModel: no spec of that name.
        UnknownRelease: the model has none, or none of that id.
    """
    from perennial import catalog
    from perennial.errors import UnknownRelease
    from perennial.wiring import database

    catalog.spec(model, settings)
    found = database.store(settings).releases.latest(model)
    if not found:
        raise UnknownRelease(f"{model} has no release", hint=f"perennial release start {model}")
    if release_id is None:
        chosen = default_release(found)
        _tell(chosen, found)
        return chosen
    known = next((one for one in found if one.release_id == release_id), None)
    if known is None:
        raise UnknownRelease(
            f"{model} has no release {release_id}", hint=f"perennial release history {model}"
        )
    return known


def default_release(found: Sequence[ReleaseStatus]) -> ReleaseStatus:
    """The newest that has not ended and is past its gate, else the newest that has not ended, else the newest.

    One that hangs in its gate, or waits for a pool that cannot load it, is not what people steer.

    Args:
        found: all of a model, newest first; at least one.
    """
    from perennial.core.release.phase import Phase

    active = [one for one in found if not one.phase.is_final()]
    return next((one for one in active if one.phase is not Phase.PENDING), (active or found)[0])


def _tell(chosen: ReleaseStatus, found: Sequence[ReleaseStatus]) -> None:
    """On stderr: what is printed for machines stays as it is."""
    others = [one for one in found if not one.phase.is_final() and one != chosen]
    if not others:
        return
    also = ", ".join(f"{one.candidate.version} ({one.phase.value}, {one.release_id})" for one in others)
    click.echo(
        f"this is about {chosen.candidate.version} ({chosen.phase.value}, {chosen.release_id}); on its way too: "
        f"{also}; --release ID means another",
        err=True,
    )
