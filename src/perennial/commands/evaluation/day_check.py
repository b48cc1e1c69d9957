"""`perennial monitor check`: check and profile the live rows of a day."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_record, print_text


@click.command()
@click.argument("model")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Day (UTC) to check; default: yesterday.")
@JSON
def check(model: str, day: datetime | None, as_json: bool) -> None:
    """Check a day of live rows by the rules of the training data, and profile them."""
    from perennial import catalog
    from perennial.flows.monitoring.daily.check import check_day, profile_path
    from perennial.wiring import live_checks

    settings, at = environment.load(), now()
    spec = catalog.spec(model, settings)
    chosen = day.date() if day is not None else (at - timedelta(days=1)).date()
    folders = live_checks.folders(settings)
    done = check_day(spec, live_checks.check_ports(spec, settings), folders, chosen, at)
    if done is None:
        print_text(f"{model}: no version has traffic, so there is nothing to check")
        return
    if as_json:
        print_record(done)
        return
    read = f" of {done.answers}" if done.answers not in (None, done.rows) else ""
    print_text(
        f"{model} on {chosen}: {done.rows} answers{read}, {done.checked} rules of the training data checked, "
        f"{len(done.unchecked)} do not apply to live rows"
    )
    findings = list(done.findings())
    for level, text in findings:
        print_text(f"  {level.value}: {text}")
    if not findings:
        print_text("  nothing is wrong with these rows" if done.rows else "  no row to check")
    for volume in done.volumes:
        print_text(f"  {volume}")
    if done.rows:
        print_text(f"  profile: {profile_path(folders.reports, model, chosen)}")
