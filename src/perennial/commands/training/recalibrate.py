"""`perennial recalibrate`: fit a new calibration for the champion to its newest labels."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.output import JSON, now, print_record, print_table, print_text
from perennial.settings import load

if TYPE_CHECKING:
    from perennial.core.recalibration.attempt import Recalibration


@click.command()
@click.argument("model")
@click.option(
    "--dry-run", is_flag=True, help="Fit and judge only: nothing is stored, and the attempt does not count."
)
@JSON
def recalibrate(model: str, dry_run: bool, as_json: bool) -> None:
    """Map the answers of the champion's weights by a calibration that is fitted to its newest labels.

    Where later labels prove it better, a PATCH version with the same weights is registered. People release it as any
    other version, and roll it back as any other. `recalibration` in the spec switches it on and bounds it.
    """
    from perennial.flows.governance.documents import document_version
    from perennial.flows.recalibration.recalibrate import recalibrate as flow
    from perennial.wiring import versions
    from perennial.wiring.variants import recalibrating

    settings = load()
    spec = catalog.spec(model, settings)
    ports = recalibrating.recalibration_ports(spec, settings)
    result = flow(spec, ports, actor(settings), now(), dry_run, functools.partial(print_text, err=True))
    if result.version is not None and not dry_run:
        to_json, _, packages = versions.bom_tools()
        document_version(spec, result.version, versions.document_ports(settings), packages(), to_json, now())
    if as_json:
        print_record(result)
    else:
        _show(result, dry_run)


def _show(result: Recalibration, dry_run: bool) -> None:
    rows = [
        ("champion", result.champion),
        ("weights of", result.of),
        ("calibration", str(result.calibration)),
        ("largest change seen", f"{result.largest_seen:.4f}"),
        ("labels that fitted it", str(result.learnt)),
        ("later labels that judged it", str(result.judged)),
        ("attempt about this champion", str(result.attempt)),
    ]
    print_table(("figure", "value"), rows)
    print_text(result.in_words)
    if result.version is not None:
        print_text(
            f"version {result.version}; next: perennial release start {result.model} --version {result.version}"
        )
    elif dry_run:
        print_text("a dry run: nothing is stored")
    else:
        print_text("nothing was made; the attempt counts: the next one needs a clearer gain")
