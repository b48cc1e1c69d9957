"""`perennial release rehearse`: what would a release catch, before it starts?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from perennial import settings as environment


@click.command()
@click.argument("model")
@click.option("--rate", type=float, help="Requests an hour; without it, from the prediction log.")
@click.option("--days", default=7.0, show_default=True, help="How far back the log is read.")
@click.option("--error-rate", type=float, default=0.01, show_default=True, help="Of the champion (assumed).")
@click.option("--p95-ms", type=float, help="The champion's p95; else from the log, or the policy's floor.")
@click.option("--log-sd", type=float, help="Standard deviation of log latency; else from the log, or 0.5.")
@click.option("--accuracy", type=float, help="The champion's; else from the log, or 0.9.")
@click.option("--labelled", type=float, help="Share of requests whose labels come; else from the log, or 0.")
@click.option("--releases", default=2500, show_default=True, help="Simulated per harm.")
@click.option("--seed", default=7, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def rehearse(
    model: str, rate: float | None, days: float, error_rate: float, p95_ms: float | None, log_sd: float | None,
    accuracy: float | None, labelled: float | None, releases: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Per step, the chance to catch a bad candidate, and of the whole way the chance to abort a good one."""
    from perennial import catalog
    from perennial.core.release import rehearsal
    from perennial.core.release.simulated_step import TrafficProfile
    from perennial.core.release.traffic import PoolName
    from perennial.flows.release.rehearsal import observed_traffic
    from perennial.wiring import database, releasing

    settings = environment.load()
    policy = catalog.spec(model, settings).release
    if rate is None:
        now = datetime.now(UTC)
        feedback, log = database.store(settings).feedback, releasing.prediction_log(settings)
        traffic = observed_traffic(
            model, log, feedback, now - timedelta(days=days), now, error_rate, policy.feedback
        )
    else:
        floor = max(1.0, policy.criteria.latency_p95_floor_ms)
        traffic = TrafficProfile(
            requests_per_hour=rate, error_rate=error_rate, latency_p95_ms=floor, latency_log_sd=0.5,
            accuracy=0.9, labelled=0.0,
        )  # fmt: skip
    told = {
        "latency_p95_ms": p95_ms,
        "latency_log_sd": log_sd,
        "accuracy": accuracy,
        "labelled": labelled,
    }
    given = {name: value for name, value in told.items() if value is not None}
    servers = len(settings.ports(PoolName.STABLE))
    found = rehearsal.rehearse(
        policy, TrafficProfile(**traffic.model_dump() | given), seed, releases, servers=servers
    )
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        _show(found)


def _show(found) -> None:
    from perennial.commands.output import print_table
    from perennial.core.release.rehearsal import HARMS, HEALTHY

    now = found.traffic
    click.echo(
        f"{now.requests_per_hour:g} requests an hour, {now.error_rate:.2%} fail, p95 {now.latency_p95_ms:.0f} ms, "
        f"{now.accuracy:.1%} right where labels come ({now.labelled:.0%} of requests)"
    )
    names = [harm.name for harm in (*HARMS, HEALTHY)]
    rows = [
        (one.step, f"{one.hours:.4g} h", *(f"{one.caught[name]:.1%}" for name in names))
        for one in found.steps
    ]
    for title, odds in (
        ("aborted", found.caught),
        ("asks a person", found.asks),
        ("promoted", found.promoted),
    ):
        rows.append((title, "", *(f"{odds[name]:.1%}" for name in names)))
    print_table(("step", "lasts", *names), rows)
    for one in found.steps:
        for harm, advice in one.advice.items():
            does = (
                f"{advice} would catch it more often than not" if advice else "no step of two weeks would do"
            )
            click.echo(f"{one.step}: {harm}: {does}")
    for warning in found.warnings:
        click.echo(f"warning: {warning}")
