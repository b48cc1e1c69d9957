"""`perennial ledger`: read and verify the record of who did what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial import settings as environment

if TYPE_CHECKING:
    from perennial.core.ledger import LedgerRow


@click.group()
def ledger() -> None:
    """Read and verify the record of who did what to which digest."""


@ledger.command()
@click.argument("model", required=False)
@click.option("--last", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(model: str | None, last: int | None, as_json: bool) -> None:
    """List the entries, oldest first, of one model or of all."""
    from perennial import wiring

    rows = wiring.store(environment.load()).ledger.rows(model)
    rows = rows[-last:] if last else rows
    if as_json:
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=2))
        return
    for row in rows:
        click.echo(line(row))


def line(row: LedgerRow) -> str:
    """One entry as one line; lists (the evidence) are left to `--json`."""
    one = row.entry
    told = " ".join(
        f"{key}={value}"
        for key, value in one.payload.items()
        if isinstance(value, str | int | float) and value != ""
    )
    at = one.at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{row.seq:>5} {at} {one.model} {(one.digest or '-')[:12]:12} {one.kind} by {one.actor}: {told}"


@ledger.command()
@click.option("--head", default="", help="The newest hash, as kept elsewhere: finds rows cut off at the end.")
def verify(head: str) -> None:
    """Check the hash chain of the whole ledger."""
    from perennial import wiring
    from perennial.core.ledger import verify as first_broken
    from perennial.errors import LedgerBroken

    rows = wiring.store(environment.load()).ledger.rows()
    broken = first_broken(rows)
    if broken is not None:
        raise LedgerBroken(
            f"the chain breaks at entry {broken} of {len(rows)}",
            hint="somebody changed the table; compare with an export or a backup",
        )
    if head and head not in {row.hash for row in rows}:
        raise LedgerBroken(
            f"no entry has the hash {head}", hint="entries were cut off at the end; compare with an export"
        )
    newest = f", newest hash {rows[-1].hash}" if rows else ""
    click.echo(f"{len(rows)} entries, the chain holds{newest}")


@ledger.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
def export(target: Path) -> None:
    """Write all entries with their hashes as JSON lines."""
    from perennial import wiring

    rows = wiring.store(environment.load()).ledger.rows()
    target.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    click.echo(f"{len(rows)} entries written to {target}")
