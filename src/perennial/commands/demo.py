"""`perennial demo`: the closed loop on this machine."""

from __future__ import annotations

import click

from perennial import settings as environment


@click.group()
def demo() -> None:
    """The closed loop, end to end, on this machine."""


@demo.command()
@click.option("--rate", default=30.0, show_default=True, help="Requests a second of the replay.")
def run(rate: float) -> None:
    """Start everything, train, release, replay, drift, retrain, release again."""
    from perennial.demo import script
    from perennial.errors import ReleaseError

    outcome = script.run(environment.load(), rate, click.echo)
    if outcome.tally.failed:
        raise ReleaseError(
            f"{outcome.tally.failed} of {outcome.tally.sent} requests failed",
            hint="; ".join(outcome.tally.first_failures),
        )
