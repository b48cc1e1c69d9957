"""Command `costs`: what each model used, and what that costs."""

from __future__ import annotations

from datetime import timedelta

import click

from perennial import settings as environment
from perennial.commands.models import Duration
from perennial.commands.output import JSON, now, print_json, print_table, print_text

NO_PRICE = "no price"


@click.command()
@click.option(
    "--since",
    type=Duration(),
    default=timedelta(days=30),
    show_default="P30D",
    help="Length of the period up to now.",
)
@JSON
def costs(since: timedelta, as_json: bool) -> None:
    """Show what each model used: requests answered, hours of training, bytes of log and artifacts.

    Amounts are those of the prices in configs/prices.yaml; what has no price there has no amount. Storage is that of
    now, for a month. Processor time is recorded nowhere, and not shown.
    """
    from perennial.core.tenants.costs import cost, together
    from perennial.wiring import costs as wiring

    settings, until = environment.load(), now()
    prices = wiring.prices(settings)
    used = list(wiring.uses(settings, until - since, until))
    rows = [(use, cost(use, prices)) for use in [*used, together(used)]]
    currency = None if prices is None else prices.currency
    if as_json:
        print_json(
            {
                "tenant": settings.tenant, "since": (until - since).isoformat(), "until": until.isoformat(),
                "currency": currency,
                "models": [{**use._asdict(), "cost": amounts._asdict()} for use, amounts in rows],
            }
        )  # fmt: skip
        return
    print_text(
        f"{until - since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC; amounts: {currency or NO_PRICE}"
    )
    header = ["model", "requests", "of a shadow", "training h", "log MiB", "artifacts MiB", "requests cost",
              "training costs", "both", "storage a month"]  # fmt: skip
    print_table(
        header,
        [
            [use.model, f"{use.requests:,}", f"{use.shadow_requests:,}", f"{use.training_hours:.2f}",
             f"{use.log_bytes / 2**20:,.1f}", f"{use.artifact_bytes / 2**20:,.1f}",
             *(NO_PRICE if amount is None else f"{amount:,.2f}" for amount in amounts)]
            for use, amounts in rows
        ],
    )  # fmt: skip
