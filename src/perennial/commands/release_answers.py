"""`perennial release shadow` and `replay`: what a candidate says, or would have said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.tables import print_table

if TYPE_CHECKING:
    from perennial.core.disagreement import Disagreement, Latency


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def shadow(model: str, as_json: bool) -> None:
    """Compare the mirrored answers of the newest release with the champion's."""
    from perennial import wiring
    from perennial.commands.release import newest
    from perennial.flows.shadow import shadow_of

    settings = environment.load()
    ledger = wiring.store(settings).ledger
    status = newest(model, settings)
    found = shadow_of(status, wiring.prediction_log(settings), ledger, datetime.now(UTC))
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    champion = status.champion.version if status.champion is not None else "nobody"
    click.echo(f"{model} {status.candidate.version} beside {champion} ({status.phase.value})")
    show(found)


def show(found: Disagreement) -> None:
    """The figures, then the largest differences."""
    print_table(("figure", "value"), _figures(found))
    if found.examples:
        click.echo("the largest differences:")
        rows = [
            (
                one.request_id,
                one.entity,
                f"{one.champion:.4f}",
                f"{one.candidate:.4f}",
                "yes" if one.decided_otherwise else "no",
            )
            for one in found.examples
        ]
        print_table(("request", "entity", "champion", "candidate", "decided otherwise"), rows)


def _figures(found: Disagreement) -> list[tuple[str, str]]:
    rows = [("decided otherwise", str(found.changed)), ("rows compared", str(found.changed.rows))]
    if found.shift is not None:
        quantiles = ", ".join(f"{name} {value:+.4f}" for name, value in found.shift.quantiles.items())
        rows += [
            ("score shift, mean", f"{found.shift.mean:+.4f}"),
            ("score shift, quantiles", quantiles),
            ("largest difference", f"{found.shift.largest:.4f}"),
        ]
    rows += [
        (f"latency of the {name}", _latency(one))
        for name, one in (("champion", found.champion_latency), ("candidate", found.candidate_latency))
        if one is not None
    ]
    return [
        *rows,
        ("requests not answered", str(found.unanswered)),
        ("scores that are no number in [0, 1]", str(found.unusable)),
    ]


def _latency(one: Latency) -> str:
    return f"p50 {one.p50_ms:.1f} ms, p95 {one.p95_ms:.1f} ms ({one.requests} requests)"
