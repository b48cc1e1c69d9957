"""The spec of a new model over a table, as commented YAML: the whole policy, with values that fit the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from perennial.core.data_spec import CsvForm, Split
from perennial.core.input_spec import VOCABULARY, InputKind, InputSpec, by_name
from perennial.core.training.drafts.column_roles import Conclusion, Role
from perennial.core.training.drafts.table_profile import TableProfile
from perennial.core.training.drafts.thresholds import Thresholds, number, quote, rounded, thresholds
from perennial.core.training.licence_list import LICENCES
from perennial.core.training.spec_policy import POLICY
from perennial.core.training.templates import template_of

BUCKETS = 512
"""Buckets of a text."""
WATCHED = 10
"""Most inputs whose drift is watched from the start."""
GROUP_NAMES = {Split.TIME: "period", Split.ROLLING: "period", Split.GROUP: "bucket", Split.RANDOM: "bucket"}


@dataclass(frozen=True)
class SqlRowsOf:
    """A query as the source of a new model."""

    connection: str
    """Environment variable with the address of the database."""
    query: str
    high_water: str | None


@dataclass(frozen=True)
class Draft:
    """Statements of a person about a new model, beside the roles of its columns."""

    name: str
    owner: str
    path: str
    """File or folder; empty where the rows come from `sql`."""
    missing: tuple[str, ...]
    form: CsvForm
    entrypoint: str
    unit: str
    seed: int
    template: str
    """Name of a template."""
    is_auto: bool = False
    """Other templates compete with it."""
    sql: SqlRowsOf | None = None
    drops_unlabelled: bool = False
    """Rows without a target are left out, in every training."""


@dataclass(frozen=True)
class SeriesText:
    """Parts of the spec of a forecast: its inputs are made from past values, not columns of the table."""

    values: Thresholds
    inputs: list[str]
    watched: list[str]
    horizon: int


def input_specs(profile: TableProfile) -> dict[str, InputSpec]:
    """Return the types of the inputs, in the order of the table."""
    return {name: _input_spec(conclusion) for name, conclusion in profile.inputs.items()}


def spec_text(
    draft: Draft, profile: TableProfile, accepted: tuple[str, ...], series: SeriesText | None = None
) -> str:
    """Return the YAML of the spec.

    Args:
        accepted: inputs that a person wants although they tell the target.
        series: of a forecast.
    """
    values = thresholds(draft.unit, profile) if series is None else series.values
    inputs = (
        [_input(conclusion) for conclusion in profile.inputs.values()] if series is None else series.inputs
    )
    taken = {conclusion.column.name for conclusion in profile.columns}
    group = GROUP_NAMES[profile.split]
    group = (
        group
        if group not in taken
        else next(f"{group}_{n}" for n in range(2, 99) if f"{group}_{n}" not in taken)
    )
    target, in_time = profile.target.name, profile.split is Split.TIME
    period = (
        "null"
        if profile.period is None
        else TypeAdapter(type(profile.period)).dump_json(profile.period).decode()
    )
    types = input_specs(profile)
    watched = (
        [next(iter(by_name(types, given.columns(name)))) for name, given in types.items()][:WATCHED]
        if series is None
        else series.watched
    )
    words = [f"{name}{VOCABULARY}" for name, given in types.items() if given.buckets is not None]
    origin = draft.path or "a query"
    unlabelled = (
        "    unlabelled: drop  # rows without a target teach nothing\n" if draft.drops_unlabelled else ""
    )
    head = f"""\
# The whole policy of a model: every threshold is here and nowhere else. Written by `perennial init` from
# {profile.rows} rows; change what you know better.
# Durations are ISO 8601: PT6H is six hours, P7D seven days.
name: {draft.name}
description: {quote(f"Learns {target} from {len(inputs)} inputs of {origin}.")}
owner: {quote(draft.owner)}
{values.task}
entrypoint: {draft.entrypoint}

data:
  source:
    kind: {"sql" if draft.sql else "table"}
    name: {draft.name}  # its licence and consent are stated in configs/sources.yaml under this name
{_origin(draft)}
    key: {quote(profile.named(Role.KEY))}
    time: {quote(profile.named(Role.TIME))}
    period: {period}  # length of a group, where rows are split in time
    group: {quote(profile.named(Role.GROUP))}
    split: {profile.split.value}  # {profile.split_reason}
    seed: {draft.seed}
    leakage_accepted: {quote(list(accepted))}  # inputs that tell the target alone, and rightly so
    copies: 0.01  # largest share of the held-back rows that are copies of a row that trains
{unlabelled}  expectations:
    table: {draft.name}.yaml

# The caller sends these inputs with each request. missing: allow or refuse. unknown (a category that is not listed):
# missing (the model gets NaN, as for a missing value) or refuse.
features:
  source: request
  inputs:
{chr(10).join(inputs)}

target:
  column: {quote(target)}

evaluation:
  group: {group}  # made by `prepare`: rows of a group are split and resampled together
  train_fraction: 0.7
  retrain_train_fraction: {0.9 if in_time else 0.7}
  bootstrap: 300
  slices: []
  slice_min_rows: 100
  baselines: {{}}

{_tuning(draft, values)}

gate:
  metrics:  # better than an answer without learning
{values.metrics}
  improvement: {values.improvement}
"""
    listed = [f"      - {licence}\n" for licence in LICENCES]
    parity = "{absolute: 1.0e-4, relative: 1.0e-4, share: 0.01}  # thresholds of trees become float32"
    return head + POLICY.substitute(
        parity=parity if draft.is_auto or template_of(draft.template).trees else "1.0e-4",
        tolerance=values.tolerance,
        licences="".join(listed),
        watched="".join(f"    - {quote(name)}\n" for name in [*watched, *words]),
        needed=min(2, len(watched)),
        explanation=_explanation(profile, len(inputs), 1 if series is None else series.horizon),
    )


def _explanation(profile: TableProfile, inputs: int, horizon: int) -> str:
    """Return the settings of explanations; a request for a forecast has a row for each step ahead."""
    if any(conclusion.kind is InputKind.TEXT for conclusion in profile.inputs.values()):
        return "null  # a bucket of n-grams means nothing to a person"
    highest = 1.0  # of a probability
    if profile.task in ("regression", "forecast"):
        highest = max(abs(number(profile.target.minimum)), abs(number(profile.target.maximum)))
    parts = {
        "background": 50,
        "coalitions": max(200, 2 * inputs + 2),
        "max_rows": max(20, horizon),
        "tolerance": rounded(max(1e-4, 1e-5 * highest)),
        "sample": 100,
    }
    return f"{{{', '.join(f'{name}: {value}' for name, value in parts.items())}}}"


def _tuning(draft: Draft, values: Thresholds) -> str:
    search = f"  epochs: {values.epochs}\n  seed: {draft.seed}\n  validation_fraction: 0.2\n"
    if draft.is_auto:
        return (
            "tuning:\n  templates: auto  # every kind of model that is installed competes with the entrypoint\n"
            f"  trials: 100\n{search}  timeout: PT10M"
        )
    return f"tuning:\n  trials: 20\n{search}  timeout: PT30M"


def _origin(draft: Draft) -> str:
    if draft.sql is None:
        form = draft.form.model_dump(exclude_defaults=True)
        csv = f"\n    csv: {quote(form)}" if form else ""
        return (
            f"    path: {quote(draft.path)}\n"
            f"    missing: {quote(list(draft.missing))}  # texts of a CSV file that stand for a missing value{csv}"
        )
    return (
        f"    connection: {draft.sql.connection}  # environment variable with the address of the database\n"
        f"    query: {quote(draft.sql.query)}\n"
        "    table: null\n"
        f"    high_water: {quote(draft.sql.high_water)}  # column that only rises: a later run reads what is above it"
    )


def _input_spec(conclusion: Conclusion) -> InputSpec:
    kind = conclusion.kind or InputKind.FLOAT
    missing: Literal["allow", "refuse"] = "allow" if conclusion.column.missing else "refuse"
    if kind is InputKind.TEXT:
        return InputSpec(type=kind, missing=missing, buckets=BUCKETS)
    if kind is not InputKind.CATEGORY:
        return InputSpec(type=kind, missing=missing, size=conclusion.column.size or None)
    values = tuple(str(value) for value in conclusion.column.values if value != "")
    # A model that has learnt from no missing value cannot answer a mistyped category as if it were one.
    is_whole = missing == "refuse" and len(values) == len(conclusion.column.values)
    return InputSpec(
        type=kind, missing=missing, categories=values, unknown="refuse" if is_whole else "missing"
    )


def _input(conclusion: Conclusion) -> str:
    given = _input_spec(conclusion)
    parts = [f"type: {given.type.value}", f"missing: {given.missing}"]
    if given.buckets is not None:
        parts.append(f"buckets: {given.buckets}")
    if given.size is not None:
        parts.append(f"size: {given.size}")
    if given.categories:
        parts += [f"categories: {quote(list(given.categories))}", f"unknown: {given.unknown}"]
    return f"    {quote(conclusion.column.name)}: {{{', '.join(parts)}}}"
