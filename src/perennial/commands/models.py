"""`perennial models`: which models there are, and their versions."""

from __future__ import annotations

import json
from collections.abc import Iterable
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
