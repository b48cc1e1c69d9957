"""`perennial models`: list, search, compare and retire model versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from perennial import catalog
from perennial.commands.identity import steering_actor
from perennial.commands.model_documents import bom, card
from perennial.commands.output import (
    JSON,
    now,
    print_json,
    print_record,
    print_records,
    print_table,
    print_text,
)
from perennial.commands.training.import_model import import_
from perennial.errors import SpecError, UsageError
from perennial.settings import load
from perennial.wiring import training
from perennial.wiring import versions as versions_wiring

if TYPE_CHECKING:
    from perennial.core.evaluation.comparison import VersionComparison
    from perennial.core.training.registration import VersionRecord


REASON = click.option("--reason", required=True, help="Reason in words, for the ledger.")


class Duration(click.ParamType):
    """Click type of an ISO 8601 duration."""

    name = "DURATION"

    def convert(self, value, param, ctx) -> timedelta:
        from pydantic import TypeAdapter, ValidationError

        if isinstance(value, timedelta):
            return value
        try:
            return TypeAdapter(timedelta).validate_strings(value)
        except ValidationError:
            self.fail(f"{value!r} is no duration: write P90D", param, ctx)


@click.group()
def models() -> None:
    """List, compare and retire models and their versions."""


@models.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List every model that has a spec, with champion and candidate, and the champion's figure of its kind of task."""
    settings = load()
    specs, wrong = catalog.read_all(settings)
    names = ("champion", "candidate")
    search = versions_wiring.version_search(settings)
    aliased = search.aliased({spec.name for spec in specs}, names) if specs else {}
    rows: list[dict[str, Any]] = []
    for spec in specs:
        known = aliased.get(spec.name, {})
        rows.append(
            {
                "model": spec.name,
                **{alias: _shown(known[alias]) if alias in known else None for alias in names},
                "task": spec.task.kind,
                **_figure(known.get("champion") or known.get("candidate"), spec.gate.improvement.metric),
                "owner": spec.owner,
                "description": spec.description,
            }
        )
    empty = (
        f"no model has a spec in {settings.configs / 'models'}: perennial init NAME --from TABLE writes one"
    )
    print_records(rows, as_json, empty)
    if wrong:
        raise SpecError(
            "\n".join(error.message for error in wrong.values()),
            hint="each stops its own model only; see docs/guide/add-a-model.md",
        )


@models.command()
@JSON
def templates(as_json: bool) -> None:
    """List the kinds of model that `perennial init --template` makes, with the extra that each needs."""
    from perennial.core.training.templates import TEMPLATES, missing_packages
    from perennial.wiring.new_model import installed

    rows = [
        {
            "template": template.name,
            "is": template.about,
            "extra": f"perennial[{template.extra}]",
            "missing": ", ".join(missing_packages(template, installed)) or None,
        }
        for template in TEMPLATES.values()
    ]
    print_records(rows, as_json)


@models.command()
@click.argument("model")
@JSON
def show(model: str, as_json: bool) -> None:
    """List the versions of a model, newest first."""
    settings = load()
    spec = catalog.spec(model, settings)
    versions = versions_wiring.registry(settings).versions(spec.name)
    metric = spec.gate.improvement.metric
    rows = [_row(version, {metric: _measured(version, metric)}) for version in reversed(versions)]
    print_records(rows, as_json, f"{spec.name} has no version yet: perennial train {spec.name}")
    if keys := versions_wiring.version_search(settings).by_hand(spec.name):
        print_text(
            f"registered in MLflow by hand, so not evaluated and not released: {', '.join(keys)}. `perennial models "
            f"import {spec.name} models:/{spec.name}/{keys[-1]}` takes one",
            err=True,
        )


@models.command()
@click.argument("query")
@JSON
def search(query: str, as_json: bool) -> None:
    """Search versions of all models by tag, metric or lifecycle, in the filter syntax of MLflow.

    For example: lifecycle = 'production' and metrics.`holdout.roc_auc` > 0.7
    """
    settings = load()
    matches = versions_wiring.version_search(settings).search(query)
    metrics = {spec.name: spec.gate.improvement.metric for spec in catalog.specs(settings)}
    rows = [
        {"model": version.ref.model, **_row(version, _figure(version, metrics.get(version.ref.model)))}
        for version in matches
    ]
    print_records(rows, as_json, "no version meets this")


@models.command()
@click.argument("model")
@click.argument("old")
@click.argument("new")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="File to score both versions on."
)
@click.option("--from-cycle", type=int, help="First cycle to score; earlier cycles only build features.")
@click.option(
    "--examples", type=click.IntRange(min=0), default=10, show_default=True, help="Disagreements to print."
)
@JSON
def compare(
    model: str, old: str, new: str, data: Path, from_cycle: int | None, examples: int, as_json: bool
) -> None:
    """Compare two versions (OLD, NEW: version or alias) on a file: metrics, differences, disagreements."""
    from perennial.flows.evaluation.compare import compare_versions

    settings = load()
    spec = catalog.spec(model, settings)
    with TemporaryDirectory() as folder:
        comparison = compare_versions(
            spec,
            (old, new),
            training.rows_of(spec, data, now()),
            from_cycle,
            training.preparation(spec),
            training.features(settings),
            versions_wiring.registry(settings),
            training.scorer(),
            Path(folder),
            examples,
        )
    if as_json:
        print_record(comparison)
    else:
        _show_comparison(comparison, spec.evaluation.group)


@models.command()
@click.argument("model")
@click.argument("version")
@REASON
def retire(model: str, version: str, reason: str) -> None:
    """Take a version out of use; its files stay. The champion is refused."""
    _take_out(model, version, "retire", reason)


@models.command()
@click.argument("model")
@click.argument("version")
@REASON
def archive(model: str, version: str, reason: str) -> None:
    """Archive a version: `purge` may delete its files later. The champion is refused."""
    _take_out(model, version, "archive", reason)


@models.command()
@click.argument("model")
@click.option(
    "--older-than", type=Duration(), help="ISO 8601 duration, as P90D  [default: retention of the spec]"
)
@click.option("--yes", is_flag=True, help="Delete; without this option only list.")
@JSON
def purge(model: str, older_than: timedelta | None, yes: bool, as_json: bool) -> None:
    """Delete the files of archived versions that have been unchanged for so long. The ledger stays."""
    from perennial.flows.governance import lifecycle
    from perennial.local.backup.exclusion import files_stay

    settings = load()
    keep = catalog.spec(model, settings).retention.archived_files
    if older_than is not None and older_than < keep:
        hint = "give a longer time, or edit the spec"
        raise UsageError(f"the spec of {model} keeps files for {keep}", hint=hint)
    ports, at = versions_wiring.lifecycle_ports(settings), now()
    due = lifecycle.due(model, older_than or keep, ports, at)
    if yes:
        who = steering_actor(settings, "purge").name
        with files_stay(settings):
            due = lifecycle.purge(due, ports, who, at)
    if as_json:
        print_json([{**_row(version), "purged": yes} for version in due])
        return
    for version in due:
        print_text(f"{'deleted the files of' if yes else 'would delete the files of'} {version.ref}")
    print_text(f"{len(due)} versions" + ("" if yes or not due else "; --yes deletes"))


models.add_command(card)
models.add_command(import_)
models.add_command(bom)


def _take_out(model: str, version: str, action: str, reason: str) -> None:
    from perennial.core.version import Lifecycle
    from perennial.flows.governance import lifecycle

    settings = load()
    catalog.spec(model, settings)
    who = steering_actor(settings, action).name
    ports, to = versions_wiring.lifecycle_ports(settings), Lifecycle(f"{action}d")
    record = lifecycle.take_out(model, version, to, reason, ports, who, now())
    print_text(f"{record.ref} is {to}")


def _shown(version: VersionRecord | None) -> str:
    """Return a version for people."""
    return "by hand" if version is None else version.ref.version


def _figure(version: VersionRecord | None, metric: str | None) -> dict[str, Any]:
    """Return the metric that the gate improves, and its value on the holdout of a version."""
    known = version is not None and metric is not None
    return {"metric": metric, "value": _measured(version, metric) if known else None}  # type: ignore[arg-type]


def _measured(version: VersionRecord, metric: str) -> float | None:
    return version.metrics.get(f"holdout.{metric}")


def _row(version: VersionRecord, figures: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "version": version.ref.version,
        "key": version.ref.key,
        "lifecycle": version.tags.get("lifecycle"),
        "aliases": list(version.aliases),
        **(figures or {}),
        "created": version.created.isoformat(timespec="seconds"),
        "reason": version.tags.get("reason"),
        "architecture": version.tags.get("architecture"),
        "digest": version.ref.digest,
    }


def _show_comparison(comparison: VersionComparison, group: str) -> None:
    """Print the metrics of both versions, the paired gains, and the rows with the largest disagreement."""
    print_text(
        f"{comparison.rows} rows of {comparison.groups} {group}s, {comparison.first_group} to "
        f"{comparison.last_group}; 95 % intervals over whole {group}s; a gain is positive where "
        f"{comparison.new} is better"
    )
    old, new = comparison.scores["old"], comparison.scores["new"]
    rows = [(name, str(old[name]), str(new[name]), str(gain)) for name, gain in comparison.gains.items()]
    print_table(("metric", comparison.old, comparison.new, "gain (paired)"), rows)
    print_text(f"{comparison.decisions_changed} of {comparison.rows} answers differ for the caller")
    if comparison.disagreements:
        names = tuple(comparison.disagreements[0].row)
        cells = [
            (*(str(row.row[name]) for name in names), f"{row.target:g}", f"{row.old:.4f}", f"{row.new:.4f}")
            for row in comparison.disagreements
        ]
        print_table((*names, "target", "old score", "new score"), cells)
