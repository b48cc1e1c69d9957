"""`perennial retrain`: request a retraining, and measure what one has brought."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_record, print_table, print_text

if TYPE_CHECKING:
    from perennial.core.monitoring.worth.effect import Effect


class RequestByDefault(click.Group):
    """A group whose command `request` needs no name: `perennial retrain MODEL --reason TEXT`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args and args[0] in self.commands
        return super().resolve_command(ctx, args if named else ["request", *args])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave options before the model to `request`, except those of help."""
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["request", *args]
        return super().parse_args(ctx, args)


@click.group(cls=RequestByDefault)
def retrain() -> None:
    """Request a retraining, which starts the training DAG: `perennial retrain MODEL --reason TEXT`."""


@retrain.command()
@click.argument("model")
@click.option(
    "--reason", "text", required=True, help="Reason in words; kept with the training run and the version."
)
def request(model: str, text: str) -> None:
    """Request a retraining now. No cooldown applies to people; the word `request` may be left out."""
    from perennial import catalog
    from perennial.commands.identity import actor
    from perennial.core.assets import Reason
    from perennial.flows.monitoring.retrain import request_retraining
    from perennial.wiring import database, monitoring

    settings = environment.load()
    spec = catalog.spec(model, settings)
    spec.trainable()
    who = actor(settings)
    ledger, scheduler = database.store(settings).ledger, monitoring.scheduler(settings)
    entry = request_retraining(spec.name, Reason.PERSON, text, who, ledger, scheduler, now())
    print_text(f"requested a retraining of {spec.name}: {entry.payload['text']}; Airflow: train_{spec.name}")


@retrain.command()
@click.argument("model")
@click.option(
    "--release", "release_id", help="Id of a release; default: the newest that replaced a champion."
)
@click.option(
    "--due", is_flag=True, help="Only once its period is over, and not yet recorded; never an error."
)
@JSON
def effect(model: str, release_id: str | None, due: bool, as_json: bool) -> None:
    """Measure how much better a new champion answers than the one before it, on the same labelled requests.

    The result is recorded once the period `retraining.effect.duration` and `monitoring.label_delay` are over.
    """
    from perennial import catalog
    from perennial.core.events import SystemActor
    from perennial.flows.monitoring.effect import is_due, measure_effect, record_effect
    from perennial.wiring import monitoring

    settings = environment.load()
    spec = catalog.spec(model, settings)
    ports = monitoring.effect_ports(spec, settings)
    if due and not is_due(spec, release_id, ports, now()):
        print_text(f"{model}: no effect of a release is due")
        return
    with TemporaryDirectory() as folder:
        measured = measure_effect(spec, release_id, ports, Path(folder) / "version", now())
    new = record_effect(measured, ports, SystemActor.MONITOR, now())
    if as_json:
        print_record(measured)
    else:
        _show(measured)
        if new:
            print_text("recorded in the ledger and in the tags of the version")


@retrain.command()
@click.argument("model")
@JSON
def backtest(model: str, as_json: bool) -> None:
    """Say what gain a retraining is likely to bring: a cheap model, trained on recent labels, against the champion."""
    from perennial import catalog
    from perennial.flows.monitoring.back_test import back_test_champion
    from perennial.wiring import monitoring

    settings = environment.load()
    spec = catalog.spec(model, settings)
    result = back_test_champion(spec, monitoring.back_test_ports(settings), now())
    if as_json:
        print_record(result)
        return
    print_text(f"{model} {result.version}: {result.in_words}")


@retrain.command()
@click.argument("model")
def labels(model: str) -> None:
    """Request a retraining where `retraining.enough_labels` labels came since the champion's training."""
    from perennial import catalog
    from perennial.core.monitoring.retraining import Retrain
    from perennial.flows.monitoring.back_test import request_for_labels
    from perennial.wiring import monitoring

    settings = environment.load()
    spec = catalog.spec(model, settings)
    spec.trainable()
    decision = request_for_labels(spec, monitoring.pass_ports(settings).monitor, now())
    print_text(
        f"requested: {decision.text}" if isinstance(decision, Retrain) else f"hold: {decision.why}",
    )


@retrain.command()
@click.argument("model")
@click.option("--last", default=10, show_default=True, type=click.IntRange(min=1), help="Requests to show.")
@JSON
def status(model: str, last: int, as_json: bool) -> None:
    """Show the last requested retrainings with what became of them, and the cooldown now."""
    from perennial import catalog
    from perennial.core.events import Event
    from perennial.core.monitoring.worth.prospects import Withheld
    from perennial.core.monitoring.worth.reluctance import (
        KINDS,
        cooldown,
        fruitless_in_a_row,
        quiet_until,
        retrainings,
        why_longer,
    )
    from perennial.wiring import database

    settings = environment.load()
    spec = catalog.spec(model, settings)
    ledger = database.store(settings).ledger
    past = retrainings(ledger.rows(spec.name, kinds=KINDS))
    alerts = [row.entry for row in ledger.rows(spec.name, kinds=[Event.RETRAIN_WITHHELD], newest=last)]
    fruitless, quiet = fruitless_in_a_row(past), quiet_until(spec.retraining, past)
    if as_json:
        print_json(
            {
                "model": spec.name,
                "fruitless_in_a_row": fruitless,
                "cooldown_seconds": cooldown(spec.retraining, fruitless).total_seconds(),
                "quiet_until": None if quiet is None else quiet.isoformat(),
                "withheld": [
                    {"at": alert.at.isoformat(), **Withheld.read(alert).model_dump(mode="json")}
                    for alert in alerts
                ],
                "requests": [retraining.model_dump(mode="json") for retraining in past[-last:]],
            }
        )
        return
    for alert in alerts:
        print_text(f"withheld at {alert.at:%Y-%m-%d %H:%M:%S} UTC: {Withheld.read(alert).why}")
    if not past or quiet is None:
        print_text(f"{model}: nobody has requested a retraining")
        return
    rows = [
        (
            f"{asked.at:%Y-%m-%d %H:%M:%S}",
            asked.reason.value,
            asked.text,
            asked.likely,
            asked.outcome.value,
            asked.why,
        )
        for asked in past[-last:]
    ]
    print_table(("requested at (UTC)", "reason", "in words", "likely", "outcome", "why"), rows)
    held = (
        f"alarms are held until {quiet:%Y-%m-%d %H:%M:%S} UTC"
        if quiet > now()
        else "no cooldown holds alarms"
    )
    print_text("; ".join(filter(None, (held, why_longer(spec.retraining, fruitless)))))


def _show(effect: Effect) -> None:
    print_text(
        f"{effect.model} {effect.version} in place of {effect.against}, on the requests that it answered"
    )
    rows = [
        ("period", f"{effect.since:%Y-%m-%d %H:%M:%S} to {effect.until:%Y-%m-%d %H:%M:%S} UTC"),
        ("requests", str(effect.requests)),
        ("labelled answers", str(effect.labels)),
    ]
    if effect.left_out:
        rows.append((f"left out: {effect.against} lacks a feature there", str(effect.left_out)))
    if (figures := effect.measured) is not None:
        name = figures.measure.value
        rows += [
            (f"{name} of {effect.against}", f"{figures.old:.4f}"),
            (f"{name} of {effect.version}", f"{figures.new:.4f}"),
            ("gain, with its 95 % interval", str(figures)),
            ("requests answered otherwise", str(figures.changes)),
        ]
    rows.append(("verdict" if effect.complete else "verdict so far", effect.verdict.value))
    print_table(("figure", "value"), rows)
    if not effect.complete:
        print_text("the period or the delay of its labels is not over: nothing is recorded yet")
