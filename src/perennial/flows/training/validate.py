"""Check the prepared data before a training; a failed batch goes to quarantine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import catalog
from perennial.core.data_spec import RowsSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.data import CheckReport, FailedRule, Validation
from perennial.core.training.expectations import NOW, Suite
from perennial.errors import SpecError, ValidationFailed
from perennial.files import new_folder
from perennial.flows.training.leakage import check_leakage
from perennial.flows.training.revision import read_revision
from perennial.flows.training.tables import elements
from perennial.flows.training.workdir import Workdir, read_table, write_json
from perennial.ports import Validator

if TYPE_CHECKING:
    import pandas as pd

SHOWN_RULES = 5
"""Most failed rules in an error message; the report in quarantine has all of them."""


def validate(
    spec: ModelSpec,
    work: Workdir,
    validator: Validator,
    expectations_dir: Path,
    quarantine_dir: Path,
    now: datetime,
    publish: Callable[[Mapping[str, pd.DataFrame]], None] | None,
    say: Callable[[str], None],
) -> Validation:
    """Check the prepared tables of `work`, publish the features and record that the revision is valid.

    Args:
        publish: makes the feature tables available to serving; None to check only.

    Raises:
        DatasetMissing: `prepare` has not run.
        ValidationFailed: the tables are not those of the revision, or an input tells the target. Others: see
            `check_tables`.
    """
    revision = read_revision(spec, work).revision
    views = work.read_views()
    tables = {spec.data.rows_name: read_table(work.history, "prepare"), **views}
    reports = check_tables(spec, tables, validator, expectations_dir, work.data_docs, quarantine_dir, now)
    for report in reports:
        say(f"{report.table}: {report.rules} rules hold for {report.rows} rows")
    if isinstance(spec.data.source, RowsSpec):
        shares = check_leakage(spec, spec.data.source, read_table(work.examples, "prepare"), now)
        say(f"leakage: {len(spec.features.names)} inputs checked, none but the accepted tells the target")
        if shares:
            listed = ", ".join(f"{name} ({example})" for name, example in shares.items())
            say(
                f"leakage: look at {listed}: shares of counts that rows have in common. If the target is counted, "
                "the row's own included, remove it from features.inputs; else name it in data.source.leakage_accepted"
            )
    if publish is not None and views:
        publish(views)
        say(f"published: {', '.join(views)}")
    validation = Validation(revision=revision, reports=tuple(reports))
    write_json(work.validation, validation)
    return validation


def check_tables(
    spec: ModelSpec,
    tables: Mapping[str, pd.DataFrame],
    validator: Validator,
    expectations_dir: Path,
    docs_dir: Path,
    quarantine_dir: Path,
    now: datetime,
) -> list[CheckReport]:
    """Run every suite of `data.expectations`; a failed suite does not stop the others.

    Args:
        tables: the tables by the names that the spec uses.
        docs_dir: gets <suite>/index.html, the data docs.
        quarantine_dir: gets <time>-<hash of the batch>/ with the bad tables and report.json; the same
            batch keeps the folder of its first check.
        now: aware; a suite may measure freshness from it.

    Returns:
        A passed report for each suite.

    Raises:
        SpecError: a suite or a table that the spec names is missing, or a rule is wrong.
        ValidationFailed: a check failed; names table, rule, column, observed value and bad rows.
    """
    empty = [table for table in spec.data.expectations if table in tables and tables[table].empty]
    if empty:
        raise ValidationFailed(
            f"{spec.name}: no rows in the table {', '.join(empty)}",
            hint="look at the history: perennial data show NAME",
        )
    suites = {
        table: _suite(spec, table, file, tables, expectations_dir, now)
        for table, file in spec.data.expectations.items()
    }
    reports = [
        validator.check(suite, with_elements(tables[table], suite), docs_dir).model_copy(
            update={"table": table}
        )
        for table, suite in suites.items()
    ]
    failed = [report for report in reports if not report.ok]
    if failed:
        aside = quarantine(
            {report.table: tables[report.table] for report in failed}, reports, quarantine_dir, now
        )
        raise ValidationFailed(_message(spec, failed), hint=f"the batch and the full report: {aside}")
    return reports


def with_elements(table: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """Return a table with the numbers of its arrays that the suite names, such as `embedding[3]`, as columns."""
    sizes: dict[str, int] = {}
    for rule in suite.expectations:
        name, _, place = str(rule.kwargs.get("column")).removesuffix("]").rpartition("[")
        if name in table and place.isdecimal():
            sizes[name] = max(sizes.get(name, 0), int(place) + 1)
    for name, size in sizes.items():
        table = table.assign(**elements(table[name], [f"{name}[{place}]" for place in range(size)]))
    return table


def quarantine(
    bad: Mapping[str, pd.DataFrame], reports: Sequence[CheckReport], folder: Path, now: datetime
) -> Path:
    """Copy the bad tables and the reports to a new folder; return it, or the folder of the same batch before."""
    batch = _hash(bad)
    before = sorted(folder.glob(f"*-{batch}"))
    if before:
        return before[0]
    target = folder / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{batch}"
    with new_folder(target) as temporary:
        for name, table in bad.items():
            _keep(table, temporary / name)
        write_json(temporary / "report.json", [report.model_dump(mode="json") for report in reports])
    return target


def _keep(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, or as CSV if a column of mixed types (perhaps the error) cannot be Parquet."""
    from pyarrow import ArrowException

    parquet = path.with_suffix(".parquet")
    try:
        table.to_parquet(parquet, index=False)
    except ArrowException:
        parquet.unlink(missing_ok=True)
        table.to_csv(path.with_suffix(".csv"), index=False)


def _suite(
    spec: ModelSpec, table: str, file: str, tables: Mapping[str, pd.DataFrame], folder: Path, now: datetime
) -> Suite:
    if table not in tables:
        raise SpecError(
            f"{spec.name}: data.expectations names the table {table!r}, which is not there",
            hint=f"there are {', '.join(tables)}",
        )
    suite = catalog.suite(folder / file)
    return suite.at(_reference(suite, tables, now))


def _reference(suite: Suite, tables: Mapping[str, pd.DataFrame], now: datetime) -> datetime | None:
    """Return the time from which to measure the freshness of a suite."""
    if suite.freshness is None:
        return None
    if suite.freshness.of == NOW:
        return now
    table, column = suite.freshness.of.split(".")
    if table not in tables or column not in tables[table]:
        raise SpecError(
            f"suite {suite.name}: freshness.of names {suite.freshness.of}, which is not there",
            hint="`now`, or table.column",
        )
    import pandas as pd

    newest = tables[table][column].max()
    if not isinstance(newest, pd.Timestamp) or newest.tzinfo is None:
        raise ValidationFailed(
            f"{table}.{column} holds no time with a zone, from which suite {suite.name} measures freshness",
            hint="prepare the data again",
        )
    return newest.to_pydatetime(warn=False)


def _message(spec: ModelSpec, failed: Sequence[CheckReport]) -> str:
    broken = [(report, rule) for report in failed for rule in report.failed]
    lines = [_line(report, rule) for report, rule in broken[:SHOWN_RULES]]
    if len(broken) > SHOWN_RULES:
        lines.append(f"  and {len(broken) - SHOWN_RULES} more")
    return f"{spec.name}: {len(broken)} data checks failed\n" + "\n".join(lines)


def _line(report: CheckReport, rule: FailedRule) -> str:
    where = f"{report.table}.{rule.column}" if rule.column else report.table
    text = f"  {where}: {rule.rule}: {rule.observed}"
    return "\n".join([text, *(f"    row {json.dumps(row, default=str)}" for row in rule.rows)])


def _hash(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return 12 hex digits of a hash over names, columns and values."""
    import pandas as pd

    digest = hashlib.sha256()
    for name, table in sorted(tables.items()):
        digest.update(f"{name}:{list(table.columns)}".encode())
        texts = table.apply(lambda column: column.map(_hashable) if column.dtype.kind == "O" else column)
        digest.update(pd.util.hash_pandas_object(texts, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:12]


def _hashable(value: Any) -> Any:
    """Return the numbers of an array as text: pandas hashes no arrays."""
    return str(value.tolist()) if hasattr(value, "tolist") else value
