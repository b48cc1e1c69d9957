"""`perennial reproduce`: train a version again from its capsule and compare the two models."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.output import JSON, now, print_record, print_table, print_text
from perennial.settings import load
from perennial.wiring import training, training_steps

if TYPE_CHECKING:
    from perennial.core.training.reproduction import Reproduction


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--any-code", is_flag=True, help="Go on although code, spec or packages have changed since.")
@JSON
def reproduce(model: str, version: str, any_code: bool, as_json: bool) -> None:
    """Train VERSION (or an alias) again from its capsule and compare the models; nothing is registered."""
    from perennial.errors import NotReproduced
    from perennial.flows.training.reproduce import refuse_imported
    from perennial.flows.training.reproduce import reproduce as flow
    from perennial.flows.versions import find_version

    settings = load()
    spec = catalog.spec(model, settings)
    # Before its training is looked for, which an imported model has not.
    ports = training_steps.reproduce_ports(spec, settings)
    refuse_imported(find_version(spec.name, version, ports.registry))
    with TemporaryDirectory() as aside:
        result = flow(
            spec,
            version,
            ports,
            training.build(spec),
            training.provenance(spec, settings),
            any_code,
            Path(aside),
            actor(settings),
            now,
            functools.partial(print_text, err=True),
        )
    if as_json:
        print_record(result)
    else:
        _show(result)
    if not result.reproduced:
        raise NotReproduced(
            f"{spec.name} {result.version}: {result.summary()}",
            hint="look for randomness without the seed, another machine, other packages",
        )


def _show(result: Reproduction) -> None:
    print_text(f"{result.version} {result.digest[:12]}, again {result.again[:12]}: {result.summary()}")
    rows = [
        (
            metric.metric,
            f"{metric.version:.6f}",
            f"{metric.again:.6f}",
            f"{metric.again - metric.version:+.1e}",
            f"{metric.tolerance:g}",
        )
        for metric in result.metrics
    ]
    print_table(("metric", "version", "again", "difference", "tolerance"), rows)
    print_text(f"{result.seconds:.0f} s")
