"""Command group `perennial local`: the processes of this machine."""

from __future__ import annotations

import json

import click

from perennial import settings as environment


@click.group()
def local() -> None:
    """The processes of this machine: set-up, up, down, status."""


@local.command()
def setup() -> None:
    """Make the state folder and the accounts; generated passwords are shown only once."""
    from perennial.local import supervisor

    supervisor.set_up(environment.load(), click.echo)


@local.command()
def up() -> None:
    """Start all processes and wait until each is ready."""
    from perennial.local import supervisor

    supervisor.up(environment.load(), click.echo)


@local.command()
def down() -> None:
    """Stop all processes."""
    from perennial.local import supervisor

    supervisor.down(environment.load(), click.echo)


@local.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the state of every process and the problems of the model servers."""
    from perennial.local import supervisor, supervisord
    from perennial.local.processes import table

    settings = environment.load()
    states = supervisord.states(settings)
    problems = supervisor.server_problems(settings) if states else {}
    rows = [
        {
            "process": process.name,
            "state": states.get(process.name, {}).get("statename", "DOWN"),
            "pid": states.get(process.name, {}).get("pid") or None,
            "what": process.shows,
            "problems": problems.get(process.name, []),
        }
        for process in table(settings)
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table("process", "state", "pid", "what")
    for row in rows:
        shown.add_row(row["process"], row["state"], str(row["pid"] or "-"), row["what"])
    console = Console()
    console.print(shown)
    for row in rows:
        for problem in row["problems"]:
            console.print(f"{row['process']} is not ready: {problem}", markup=False)


@local.command()
def password() -> None:
    """Print the user and password of Airflow's own account."""
    from perennial.wiring import monitoring

    settings = environment.load()
    click.echo(f"{settings.airflow_user} {monitoring.airflow_password(settings)}")


@local.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def accounts(as_json: bool) -> None:
    """List the accounts and their roles; the accounts file contains the passwords."""
    from perennial.commands.tables import print_table

    settings = environment.load()
    rows = [{"account": account.name, "role": account.role.value} for account in settings.accounts]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    print_table(["account", "role"], [list(row.values()) for row in rows])
    click.echo(f"passwords: {settings.accounts_file}")
