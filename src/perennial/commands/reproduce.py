"""`perennial reproduce`: train a version again from its capsule and compare."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.tables import print_table
from perennial.settings import load
from perennial.wiring import training, versions

if TYPE_CHECKING:
    from perennial.core.training.reproduction import Reproduction


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--any-code", is_flag=True, help="Also where code, spec or packages are others now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reproduce(model: str, version: str, any_code: bool, as_json: bool) -> None:
    """Train VERSION (or an alias) again from its capsule and compare; nothing is registered."""
    from perennial.errors import NotReproduced
    from perennial.flows.training.reproduce import reproduce as flow

    settings = load()
    spec = catalog.spec(model, settings)
    with TemporaryDirectory() as aside:
        found = flow(
            spec,
            version,
            versions.reproduce_ports(spec, settings),
            training.model_class(spec),
            training.provenance(spec, settings),
            any_code,
            Path(aside),
            actor(settings),
            lambda: datetime.now(UTC),
            lambda line: click.echo(line, err=True),
        )
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        _show(found)
    if not found.reproduced:
        raise NotReproduced(
            f"{spec.name} {found.version}: {found.summary()}",
            hint="look for randomness without the seed, another machine, other packages",
        )


def _show(found: Reproduction) -> None:
    click.echo(f"{found.version} {found.digest[:12]}, again {found.again[:12]}: {found.summary()}")
    rows = [
        (
            one.metric,
            f"{one.version:.6f}",
            f"{one.again:.6f}",
            f"{one.again - one.version:+.1e}",
            f"{one.tolerance:g}",
        )
        for one in found.metrics
    ]
    print_table(("metric", "version", "again", "difference", "tolerance"), rows)
    click.echo(f"{found.seconds:.0f} s")
