"""The option `--release` of commands about a release, and the look-up of the release."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from perennial.commands.output import print_text

if TYPE_CHECKING:
    from perennial.core.release.status import ReleaseStatus
    from perennial.settings import Settings


def release_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--release ID`, given to the command as `release_id`."""
    text = "Id of a release of the model (see `release history`); default: the newest that is past its gate."
    return click.option("--release", "release_id", default=None, help=text)(command)


def load_release(model: str, release_id: str | None, settings: Settings) -> ReleaseStatus:
    """Return the release with this id, or the default; name other active releases on stderr.

    Raises:
        UnknownModel: no spec has that name.
        UnknownRelease: the model has no release, or none with this id.
    """
    from perennial import catalog
    from perennial.flows.release.selection import select_release
    from perennial.wiring import database

    catalog.spec(model, settings)
    chosen, others = select_release(model, release_id, database.store(settings).releases.latest(model))
    if others:
        also = ", ".join(
            f"{other.candidate.version} ({other.phase.value}, {other.release_id})" for other in others
        )
        print_text(  # on stderr, so that the output for machines stays the same
            f"this is about {chosen.candidate.version} ({chosen.phase.value}, {chosen.release_id}); on its way too: "
            f"{also}; --release ID means another",
            err=True,
        )
    return chosen
