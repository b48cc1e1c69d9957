"""`perennial demo`: the closed loop on this machine."""

from __future__ import annotations

import click

from perennial import settings as environment


@click.group()
def demo() -> None:
    """The complete closed loop on this machine."""


@demo.command()
@click.option("--rate", default=30.0, show_default=True, help="Requests per second of the replay.")
@click.option("--by-person", is_flag=True, help="Wait for a person to approve the second release.")
def run(rate: float, by_person: bool) -> None:
    """Start all processes, train, release, replay requests, detect drift, retrain and release again."""
    from perennial.demo import script
    from perennial.errors import ReleaseError

    result = script.run(environment.load(), rate, click.echo, by_person)
    if result.counts.failed:
        raise ReleaseError(
            f"{result.counts.failed} of {result.counts.sent} requests failed",
            hint="; ".join(result.counts.first_failures),
        )
