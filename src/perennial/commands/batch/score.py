"""`perennial batch`: answers of a version for the rows of a whole file or query."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.output import JSON, now, print_record, print_table, print_text
from perennial.errors import UsageError
from perennial.settings import load

PART_ROWS = 131_072


@click.command()
@click.argument("model")
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@click.option(
    "--version", "which", default="champion", show_default=True, help="Version or alias that answers."
)
@click.option("--connection", metavar="VARIABLE",
              help="Environment variable with the address of a database; IN is a SELECT statement.")  # fmt: skip
@click.option("--into", metavar="VARIABLE",
              help="Environment variable with the address of a database; OUT is a new table in it.")  # fmt: skip
@click.option("--keep", multiple=True, metavar="COLUMN", help="Column of IN that OUT has, too; repeatable.")
@click.option(
    "--newest",
    is_flag=True,
    help="Of a model with a feature service: join the values that a request now gets.",
)
@click.option("--as-of", metavar="COLUMN",
              help="Of such a model: join the values that were known at the time in this column of IN.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@click.option("--part-rows", type=click.IntRange(1), default=PART_ROWS, show_default=True,
              help="Rows that are scored and kept at once.")  # fmt: skip
@click.option(
    "--strict", is_flag=True, help="Exit with 28 where rows were rejected; OUT is written all the same."
)
@JSON
def batch(
    model: str,
    source: str,
    out: str,
    which: str,
    connection: str | None,
    into: str | None,
    keep: tuple[str, ...],
    newest: bool,
    as_of: str | None,
    workers: int,
    part_rows: int,
    strict: bool,
    as_json: bool,
) -> None:
    """Answer every row of IN (CSV, Parquet, a folder of Parquet, or a query) in OUT (.parquet, .csv or a table).

    Rows that a request would be refused for go to OUT.rejected (a table: OUT_rejected) with row, column and reason.
    Given again after it was killed, the command goes on where it was.
    """
    from perennial.errors import RowsRejected
    from perennial.flows.batch.score import BatchRequest, score_batch
    from perennial.wiring.batch import batch_ports

    if newest and as_of is not None:
        raise UsageError("--newest and --as-of are two answers to one question", hint="give one of them")
    settings = load()
    spec = catalog.spec(model, settings)
    described = source if connection is None else f"{source} ({connection})"
    with TemporaryDirectory(prefix="perennial-") as aside:
        report = score_batch(
            BatchRequest(spec.name, which, described, part_rows),
            batch_ports(
                spec, settings, source, out, connection, into, keep, workers, Path(aside), newest, as_of
            ),
            actor(settings),
            now,
            functools.partial(print_text, err=True),
        )
    if as_json:
        print_record(report)
    else:
        print_text(f"{report.model} {report.version}: {report.out}")
        columns = ("read", "scored", "rejected", "rejected rows")
        counts = (f"{report.read:,}", f"{report.scored:,}", f"{report.rejected:,}", report.rejected_to or "-")
        print_table(columns, [counts])
    if strict and report.rejected:
        raise RowsRejected(
            f"{report.rejected:,} of {report.read:,} rows were rejected",
            hint=f"see {report.rejected_to}",
        )
