"""Conclude from a file of rows what a model could learn, and write the files of that model."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from perennial import catalog
from perennial.core.governance.licensing import Terms
from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputKind, InputSpec, columns_of
from perennial.core.training.drafts.column_roles import Role
from perennial.core.training.drafts.pipeline_draft import pipeline_text
from perennial.core.training.drafts.series_draft import SeriesFound, conclude_series, find_series, series_in
from perennial.core.training.drafts.series_text import series_text
from perennial.core.training.drafts.spec_draft import Draft, input_specs, spec_text
from perennial.core.training.drafts.suite_draft import suite_text
from perennial.core.training.drafts.table_columns import ColumnSummary
from perennial.core.training.drafts.table_profile import Given, TableProfile, conclude
from perennial.core.training.drafts.thresholds import quote
from perennial.core.training.imported import ENTRYPOINT as IMPORTED
from perennial.core.training.leakage import by_input, future_times, telling_columns
from perennial.core.training.templates import template_of
from perennial.errors import DataError, UsageError
from perennial.files import write_text
from perennial.flows.training.series import utc_times
from perennial.flows.training.tables import labelled, plain_values

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(r"[a-z][a-z0-9_]{1,62}")


@dataclass(frozen=True)
class TablePorts:
    """Readers of a file, each with the file already in it."""

    summarise: Callable[[], Sequence[ColumnSummary]]
    read: Callable[[Mapping[str, InputKind]], pd.DataFrame]
    """Column -> type; returns these columns."""
    repeated: Callable[[list[str]], int]
    """Columns -> rows that an earlier row equals in them."""


@dataclass(frozen=True)
class Inspection:
    """Everything that was found out about a file."""

    profile: TableProfile
    repeated: int
    """Rows whose inputs an earlier row has, too."""
    series: SeriesFound | None = None
    """Of a forecast."""

    @property
    def has_text(self) -> bool:
        return any(conclusion.kind is InputKind.TEXT for conclusion in self.profile.inputs.values())


@dataclass(frozen=True)
class NewFiles:
    """Files of a new model: path -> content, and the text to append to the terms of the data."""

    files: Mapping[Path, str]
    terms: str


def inspect(
    given: Given, keep: Sequence[str], ports: TablePorts, seed: int, unit: str, horizon: int | None
) -> Inspection:
    """Conclude roles and types of the columns, and leave out those that tell the target before it is known.

    A table of series gets a forecast: its frequency and season are concluded, and the naive forecasts measured. Where
    nobody named that task and no forecast can be made, the names of the series are left to learn from.

    Args:
        keep: columns that a person wants as inputs although they tell the target.
        unit, horizon: of a forecast.

    Raises:
        DataError: see `conclude` and `conclude_series`; or every input tells the target.
        MalformedInput: a series has two values in a period.
    """
    columns = ports.summarise()
    if given.task == "forecast":
        return _inspect_series(columns, given, ports, unit, horizon, "you named the task")
    no_forecast = ""
    if (series := series_in(columns, given)) is not None:
        has_more = series.group is not None and given.group is None
        why = "a number in time, with nothing else to learn from"
        why += "; otherwise: --task regression" if has_more else ""
        try:
            return _inspect_series(columns, series, ports, unit, horizon, why)
        except DataError as error:
            if not has_more:
                raise
            no_forecast = f"; no forecast: {error}"
    profile = conclude(columns, given)
    profile = replace(profile, task_reason=profile.task_reason + no_forecast)
    inputs = input_specs(profile)
    types = {name: spec.type for name, spec in inputs.items()}
    target, time = profile.target.name, profile.named(Role.TIME)
    wanted = dict(types)
    wanted[target] = InputKind.FLOAT if not profile.labels else InputKind.CATEGORY
    if time is not None:
        wanted.setdefault(time, InputKind.TIMESTAMP if profile.period is not None else InputKind.INT)
    table = labelled(ports.read(wanted), target)
    # `validate` looks at the length of a text; a bucket of its n-grams means nothing.
    plain = {name: spec for name, spec in inputs.items() if spec.buckets is None}
    values = {name: plain_values(table[name]) for name in plain}
    features = encode(plain, values, len(table))
    numbers = _target_numbers(table, target, bool(profile.labels))
    telling = telling_columns(features, columns_of(plain), numbers, not profile.labels, seed)
    reasons = by_input(telling, plain)
    if time is not None and profile.period is not None:
        times = [name for name, kind in types.items() if kind is InputKind.TIMESTAMP]
        row_times = _days(table, time)
        reasons |= future_times({name: _days(table, name) for name in times}, row_times)
    dropped = {
        name: f"{why}: it may not be known before" for name, why in reasons.items() if name not in keep
    }
    profile = profile.without(dropped)
    if not profile.inputs:
        raise DataError(
            f"every input tells the target: {'; '.join(f'{name}: {why}' for name, why in reasons.items())}",
            hint="--keep COLUMN takes one that is known before the target",
        )
    return Inspection(profile, ports.repeated(list(profile.inputs)))


def _inspect_series(
    columns: Sequence[ColumnSummary],
    given: Given,
    ports: TablePorts,
    unit: str,
    horizon: int | None,
    why: str,
) -> Inspection:
    profile = conclude_series(columns, given, why)
    target, time, group = profile.target.name, profile.named(Role.TIME) or "", profile.named(Role.GROUP)
    wanted = {time: InputKind.TIMESTAMP, target: InputKind.FLOAT}
    table = labelled(ports.read(wanted if group is None else {**wanted, group: InputKind.CATEGORY}), target)
    series = None if group is None else table[group].to_numpy(dtype=str)
    series_finding = find_series(
        series, utc_times(table[time]), table[target].to_numpy(dtype=float), unit, horizon
    )
    return Inspection(profile, 0, series_finding)


def draft_files(
    draft: Draft, inspection: Inspection, keep: Sequence[str], project: Path, terms: Terms
) -> NewFiles:
    """Return the files of a new model, all checked, none written.

    Raises:
        UsageError: the name cannot be a module, or a file is there already.
    """
    name = draft.name
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot be the name of a model", hint="small letters, digits and _; a letter first"
        )
    spec_path = project / "configs" / "models" / f"{name}.yaml"
    suite_path = project / "configs" / "expectations" / f"{name}.yaml"
    module_path = project / "models" / f"{name}.py"
    pipeline_path = project / "pipelines" / name / "dvc.yaml"
    there = [str(path) for path in (spec_path, suite_path, module_path, pipeline_path) if path.exists()]
    if there:
        raise UsageError(f"{', '.join(there)} is there already", hint="remove it, or choose another name")
    series = None if inspection.series is None else series_text(inspection.series)
    spec = spec_text(draft, inspection.profile, tuple(keep), series)
    suite = suite_text(name, inspection.profile)
    catalog.parse(yaml.safe_load(spec), spec_path)
    catalog.parse_suite(yaml.safe_load(suite), suite_path)
    if draft.entrypoint == IMPORTED:
        spec = spec.replace("`perennial init`", "`perennial models import`", 1).replace("Learns", "Tells", 1)
        return NewFiles({suite_path: suite, spec_path: spec}, _terms(name, terms))
    files = {
        module_path: _module(draft),
        suite_path: suite,
        pipeline_path: pipeline_text(name, None if draft.path.startswith("s3://") else draft.path or None),
        spec_path: spec,
    }
    return NewFiles(files, _terms(name, terms))


def write(new: NewFiles, project: Path, stated: Mapping[str, Terms], name: str) -> list[Path]:
    """Write the files, the spec last, since it makes the model known; return their paths.

    Args:
        stated: terms that are stated already; those of `name` stay as they are.
    """
    sources = project / "configs" / "sources.yaml"
    if name not in stated:
        before = sources.read_text(encoding="utf-8") if sources.is_file() else ""
        write_text(sources, before + ("" if before.endswith("\n") or not before else "\n") + new.terms)
    for path, content in new.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content)
    return [*new.files, sources]


def _target_numbers(table: pd.DataFrame, target: str, is_class: bool) -> np.ndarray:
    values = plain_values(table[target])
    if is_class:
        return np.unique([str(value) for value in values], return_inverse=True)[1].astype(float)
    return values.astype(float)


def _days(table: pd.DataFrame, name: str) -> np.ndarray:
    spec = InputSpec(type=InputKind.TIMESTAMP, missing="allow")
    return encode({name: spec}, {name: plain_values(table[name])}, len(table))[:, 0]


def _module(draft: Draft) -> str:
    name = draft.entrypoint.partition(":")[2]
    template = template_of(draft.template)
    module, _, base = template.address.partition(":")
    # Two classes of one name in one module would be the same class.
    alias, used = (f" as {base}Template", f"{base}Template") if base == name else ("", base)
    return (
        f'"""{draft.name}: a model over a table. Its inputs and its task are those of its spec."""\n\n'
        f"from {module} import {base}{alias}\n\n\n"
        f"class {name}({used}):\n"
        f'    architecture = "{template.architecture}"\n'
    )


def _terms(name: str, terms: Terms) -> str:
    consent = terms.consent
    return (
        f"{name}:  # stated with `perennial init`\n"
        f"  licence: {quote(terms.licence)}\n"
        f"  consent: {{state: {consent.state.value}, by: {quote(consent.by)}, why: {quote(consent.why)}}}\n"
    )
