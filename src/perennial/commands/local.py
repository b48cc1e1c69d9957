"""Command groups `perennial local` and `perennial demo`: the processes of this machine, and the loop over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_json, print_records, print_table, print_text

if TYPE_CHECKING:
    from perennial.demo.report import DemoResult


@click.group()
def local() -> None:
    """The processes of this machine: set-up, up, down, status; one of them in a container."""


@local.command()
def setup() -> None:
    """Make the state folder and the accounts; generated passwords are shown only once."""
    from perennial.local import supervisor

    supervisor.set_up(environment.load(), print_text)


@local.command()
def prepare() -> None:
    """Set up for `local exec`: accounts, the secrets of each process, Airflow's database. Prints no password."""
    from perennial.local import containers

    containers.prepare(environment.load(), print_text)


@local.command("exec")
@click.argument("process")
def become(process: str) -> None:
    """Become PROCESS of `local status` in the foreground, as a container does; `local prepare` comes before."""
    from perennial.local import containers

    containers.become(process)


@local.command()
def up() -> None:
    """Start all processes and wait until each is ready."""
    from perennial.local import supervisor

    supervisor.up(environment.load(), print_text)


@local.command()
def down() -> None:
    """Stop all processes."""
    from perennial.local import supervisor

    supervisor.down(environment.load(), print_text)


@local.command()
@JSON
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
        print_json(rows)
        return
    columns = ["process", "state", "pid", "what"]
    print_table(columns, [[str(row[name] or "-") for name in columns] for row in rows])
    for row in rows:
        for problem in row["problems"]:
            print_text(f"{row['process']} is not ready: {problem}")


@local.command()
def password() -> None:
    """Print the user and password of Airflow's own account."""
    from perennial.wiring import monitoring

    settings = environment.load()
    print_text(f"{settings.airflow_user} {monitoring.airflow_password(settings)}")


@local.command()
@JSON
def accounts(as_json: bool) -> None:
    """List the accounts and their roles; the accounts file contains the passwords."""
    settings = environment.load()
    rows = [{"account": account.name, "role": account.role.value} for account in settings.accounts]
    print_records(rows, as_json)
    if not as_json:
        print_text(f"passwords: {settings.accounts_file}")
        if settings.oidc is not None:
            print_text("people sign in at the issuer: perennial people list")


@click.group()
def demo() -> None:
    """The complete closed loop on this machine: over CI histories (run) or over a table."""


@demo.command()
@click.option("--rate", default=30.0, show_default=True, help="Requests per second of the replay.")
@click.option("--by-person", is_flag=True, help="Wait for a person to approve the second release.")
def run(rate: float, by_person: bool) -> None:
    """Start all processes, train, release, replay requests, detect drift, retrain and release again."""
    from perennial.demo import script

    _refuse_failures(script.run(environment.load(), rate, print_text, by_person))


@demo.command()
@click.option("--rate", default=40.0, show_default=True, help="Requests per second of the replay.")
def table(rate: float) -> None:
    """Bring a CSV file to a champion, a drift, a retraining and a second champion, in PERENNIAL_PROJECT."""
    from perennial.demo import table_script

    _refuse_failures(table_script.run(environment.load(), rate, print_text))


def _refuse_failures(result: DemoResult) -> None:
    from perennial.errors import ReleaseError

    if result.counts.failed:
        raise ReleaseError(
            f"{result.counts.failed} of {result.counts.sent} requests failed",
            hint="; ".join(result.counts.first_failures),
        )
