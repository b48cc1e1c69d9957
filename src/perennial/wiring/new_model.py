"""Readers of a file from which a new model is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.data_spec import CsvForm
from perennial.core.input_spec import InputKind

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.training.drafts.spec_draft import SqlRowsOf
    from perennial.core.training.templates import Template
    from perennial.flows.training.new_model import TablePorts
    from perennial.settings import Settings


def query_rows(origin: SqlRowsOf, name: str, settings: Settings) -> Path:
    """Read a query into the copy from which a model of that name learns; return its folder.

    Raises:
        As `adapters.tables.sql_rows.SqlRows.read`.
    """
    from perennial.adapters.tables.sql_rows import Origin, SqlRows

    rows = SqlRows(
        Origin(origin.connection, origin.query, None, origin.high_water), {}, settings.tables_dir, name
    )
    rows.refresh()
    return rows.folder


def installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def template(name: str | None, is_forecast: bool = False, has_text: bool = False) -> tuple[Template, str]:
    """Return a template by name, or the usual one (also for `auto`), and why.

    Raises:
        UsageError: there is none of that name for the task. PackageMissing: its packages are not installed.
    """
    from perennial.core.training.templates import (
        FORECAST,
        TEXT,
        missing_packages,
        template_of,
        usual_template,
    )
    from perennial.errors import PackageMissing, UsageError

    if name in (None, "auto") and not is_forecast:
        usual, why = usual_template(installed)
        if has_text and not missing_packages(TEXT, installed):
            usual, why = TEXT, "an input is a text"
        return usual, why if name is None else "the others compete with it"
    chosen = template_of(name or FORECAST.name)
    if (chosen is FORECAST) != is_forecast:
        raise UsageError(
            f"the template {chosen.name} is not for this task",
            hint=f"{FORECAST.name} is for forecasts, and the only one",
        )
    if chosen is TEXT and not has_text:
        raise UsageError("the template text needs a text", hint="no column of the table holds sentences")
    if missing := missing_packages(chosen, installed):
        raise PackageMissing(
            f"the template {chosen.name} needs {', '.join(missing)}, not installed here",
            hint=f"pip install 'perennial[{chosen.extra}]'",
        )
    return chosen, "named" if name is not None else "it is for forecasts"


def csv_form(path: Path | str, missing: tuple[str, ...]) -> tuple[CsvForm, dict[str, str]]:
    """Return the form of a file, and further signs for a missing value: sign -> a column that has it."""
    from perennial.adapters.tables import csv_form

    return csv_form.csv_form(path, missing)


def table_ports(
    path: Path | str, missing: tuple[str, ...], form: CsvForm, only_iso: bool = False
) -> TablePorts:
    """Return the readers of a table: a file or a folder of Parquet files, here or in S3.

    Args:
        only_iso: only texts in ISO 8601 are times.
    """
    from perennial.adapters.table_files import TableFile
    from perennial.adapters.table_summary import repeated_rows, summarise
    from perennial.flows.training.new_model import TablePorts

    def read(types: Mapping[str, InputKind]) -> pd.DataFrame:
        return TableFile(path, types, missing, "new", form).read()

    return TablePorts(
        partial(summarise, path, missing, form, only_iso),
        read,
        partial(repeated_rows, path, missing, form=form),
    )


def make_project(folder: Path) -> list[Path]:
    """Make a folder for a person's own models; returns the new files, none for a complete project."""
    from perennial.adapters import project_folder

    return project_folder.make_project(folder)
