"""Commands `perennial agent` and `perennial machines`: serving machines that share no disk with the control plane."""

from __future__ import annotations

import signal
import sys
import threading
import time

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_table, print_text

LOST = 1
"""Exit code of `machines list` when a machine is silent or does not hold what it should."""


@click.group()
def agent() -> None:
    """Run the agent of a serving machine: docs/guide/production.md."""


@agent.command()
def run() -> None:
    """Keep on this machine what the control plane wants, answer its calls and report, until SIGTERM.

    Needs PERENNIAL_MACHINE, PERENNIAL_EXCHANGE and PERENNIAL_DATABASE_URL. Without the database Envoy and the servers
    go on with what they have.
    """
    from perennial.wiring import machines as wiring

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    wiring.agent(
        environment.load(), lambda line: print_text(f"{now():%Y-%m-%d %H:%M:%S} {line}", err=True)
    ).run(stop)


@click.group()
def machines() -> None:
    """Show, admit and watch the serving machines, from the control plane."""


@machines.command("list")
@JSON
def list_(as_json: bool) -> None:
    """Show every machine, how long it has been silent, and what it does not hold.

    Exits with 1 where a machine is silent for longer than its lease, or lacks something.
    """
    from perennial.wiring import machines as wiring

    known = wiring.machines(environment.load()).all()
    problems = {
        machine.name: [
            *(
                f"{kind} {name}: {refusal.message}"
                for kind, applied in machine.report.applied.items()
                for name, refusal in applied.failed.items()
            ),
            *machine.report.problems,
        ]
        for machine in known
    }
    if as_json:
        print_json(
            [
                {
                    "machine": machine.name,
                    "live": machine.is_live,
                    "silent_s": round(machine.silent_s, 1),
                    "servers": machine.report.servers,
                    "problems": problems[machine.name],
                }
                for machine in known
            ]
        )
    elif known:
        print_table(
            ("machine", "state", "silent s", "problems"),
            [
                (
                    machine.name,
                    "live" if machine.is_live else "LOST",
                    f"{machine.silent_s:.1f}",
                    "; ".join(problems[machine.name]) or "none",
                )
                for machine in known
            ],
        )
    else:
        print_text("no machine has reported: start `perennial agent run` on each")
    if any(problems.values()) or not all(machine.is_live for machine in known):
        sys.exit(LOST)


@machines.command()
@click.argument("name")
def admit(name: str) -> None:
    """Give the PostgreSQL role NAME the rights of the serving machine NAME, and no others.

    The role must exist; give the command as the role that owns the tables.
    """
    from perennial.wiring import machines as wiring

    wiring.admit(environment.load(), name)
    print_text(f"{name} reads what is wanted and writes its own rows")


@machines.command()
@click.argument("name")
def forget(name: str) -> None:
    """Remove the machine NAME, which has stopped for good; its counters stay in the sums."""
    from perennial.errors import UsageError
    from perennial.wiring import machines as wiring

    if not wiring.machines(environment.load()).forget(name):
        raise UsageError(f"there is no machine {name}", hint="perennial machines list")
    print_text(f"{name} is forgotten; its agent, if it still runs, brings it back")


@machines.command()
@click.option("--once", is_flag=True, help="Make a single pass.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def watch(once: bool, every: float) -> None:
    """Take in what the machines logged, hand them keys and feature definitions, and record who is lost."""
    from perennial.flows.release.machines.watch import look
    from perennial.wiring import machines as wiring

    ports = wiring.watch_ports(environment.load())
    last_lines: list[str] = []
    while True:
        lines = look(ports, now())
        for line in lines:
            if line not in last_lines:  # a lasting problem is printed once
                print_text(f"{now():%Y-%m-%d %H:%M:%S} {line}")
        if once:
            return
        last_lines = lines
        time.sleep(every)
