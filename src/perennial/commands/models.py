"""`perennial models`: which models there are, their versions, and how these compare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from perennial import catalog, wiring
from perennial.commands.tables import print_table
from perennial.settings import load

if TYPE_CHECKING:
    from perennial.core.registration import VersionRecord

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def models() -> None:
    """The models, their specs and their versions."""


@models.command("list")
@JSON
def list_(as_json: bool) -> None:
    """Every model with a spec: its champion and its candidate."""
    settings = load()
    specs = catalog.specs(settings)
    registry = wiring.registry(settings)
    rows = []
    for spec in specs:
        found = {alias: registry.find(spec.name, alias) for alias in ("champion", "candidate")}
        versions = {alias: one.ref.version if one else None for alias, one in found.items()}
        rows.append({"model": spec.name, **versions, "owner": spec.owner, "description": spec.description})
    _show(rows, as_json)


@models.command()
@click.argument("model")
@JSON
def show(model: str, as_json: bool) -> None:
    """The versions of one model, newest first."""
    settings = load()
    spec = catalog.spec(model, settings)
    versions = wiring.registry(settings).versions(spec.name)
    rows = [_row(version) for version in reversed(versions)]
    if not rows and not as_json:
        click.echo(f"{spec.name} has no version yet: perennial train {spec.name}")
        return
    _show(rows, as_json)


@models.command()
@click.argument("query")
@JSON
def search(query: str, as_json: bool) -> None:
    """Versions of all models by tag, metric or lifecycle, in MLflow's own filter syntax.

    For example: lifecycle = 'production' and metrics.`holdout.roc_auc` > 0.7
    """
    found = wiring.version_search(load()).search(query)
    if not found and not as_json:
        click.echo("no version meets this")
        return
    _show([{"model": version.ref.model, **_row(version)} for version in found], as_json)


@models.command()
@click.argument("model")
@click.argument("old")
@click.argument("new")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="File to score both on.")
@click.option("--from-cycle", type=int, help="First cycle scored; earlier ones only build features.")
@click.option("--examples", type=click.IntRange(min=0), default=10, show_default=True, help="Disagreements.")
@JSON
def compare(
    model: str, old: str, new: str, data: Path, from_cycle: int | None, examples: int, as_json: bool
) -> None:
    """Two versions (OLD, NEW: version or alias) on one file: metrics, paired differences, disagreements."""
    from perennial.commands.comparison_view import show as show_comparison
    from perennial.flows.compare import compare_versions
    from perennial.history import files

    settings = load()
    spec = catalog.spec(model, settings)
    with TemporaryDirectory() as folder:
        found = compare_versions(
            spec,
            (old, new),
            files.read(data),
            from_cycle,
            wiring.entrypoint(spec.data.prepare, spec),
            wiring.features(settings),
            wiring.registry(settings),
            wiring.scorer(),
            Path(folder),
            examples,
        )
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        show_comparison(found, spec.evaluation.group)


def _row(version: VersionRecord) -> dict[str, Any]:
    return {
        "version": version.ref.version,
        "key": version.ref.key,
        "lifecycle": version.tags.get("lifecycle"),
        "aliases": list(version.aliases),
        "roc_auc": version.metrics.get("holdout.roc_auc"),
        "created": version.created.isoformat(timespec="seconds"),
        "reason": version.tags.get("reason"),
        "architecture": version.tags.get("architecture"),
        "digest": version.ref.digest,
    }


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    columns = list(rows[0]) if rows else ["model"]
    print_table(columns, [[_cell(name, row[name]) for name in columns] for row in rows])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(value)
    return str(value)[:12] if name == "digest" else str(value)
