"""Command `doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_json, print_table
from perennial.errors import ChecksFailed, OtherTenant, SettingsError, ToolError


@click.command()
@click.option(
    "--timeout", default=30.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
    help="Seconds for all servers together.",
)  # fmt: skip
@JSON
def doctor(timeout: float, as_json: bool) -> None:
    """Check connections, versions, rights, clocks, disks, certificates, ports and specs; changes nothing.

    Exits with 73 where a check found a problem; a warning is none, nor are processes that are down.
    """
    from perennial.local.doctor.examination import examine
    from perennial.local.doctor.finding import Finding, State, problem

    try:
        findings: list[Finding] = examine(environment.load(), timeout)
    except (SettingsError, ToolError) as error:  # the second: a vault that does not answer
        findings = [problem("settings", error)]
    except OtherTenant as error:
        findings = [problem("tenant", error)]
    rows = [finding.row() for finding in findings]
    if as_json:
        print_json(rows)
    else:
        print_table(["check", "state", "what", "fix"], [list(row.values()) for row in rows])
    count = sum(finding.state is State.PROBLEM for finding in findings)
    if count:
        raise ChecksFailed(f"{count} of {len(findings)} checks found a problem", hint="see the column fix")
