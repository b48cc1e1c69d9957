"""Command `prune`: delete files that nothing needs any more."""

from __future__ import annotations

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_table, print_text


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@JSON
def prune(dry_run: bool, as_json: bool) -> None:
    """Delete served files of ended releases, old logs, work folders, reports, and leftovers of killed processes.

    Kept whatever its age: what a route, a pool, a running release, a pending rollback or the last two champions
    of a model need. Ages are the settings PERENNIAL_KEEP_*_DAYS. Registry, ledger and prediction log lose nothing:
    `perennial models purge` and `perennial predictions seal` delete there.
    """
    from perennial.local.prune import removals

    settings, at = environment.load(), now()
    gone = removals.removals(settings, at) if dry_run else removals.prune(settings, at)
    rows = [
        {"kind": entry.kind, "what": entry.name, "bytes": entry.size, "last used": entry.used.isoformat()}
        for entry in gone
    ]
    if as_json:
        print_json(rows)
        return
    if rows:
        print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])
    total = sum(entry.size for entry in gone)
    print_text(f"{len(rows)} entries, {total:,} bytes{' would be deleted' if dry_run else ' deleted'}")
