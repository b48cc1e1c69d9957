"""`perennial models card` and `bom`: what is written about one version, and kept with its run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from perennial import catalog
from perennial.commands.tables import print_table
from perennial.errors import TrackerUnavailable
from perennial.settings import Settings, load
from perennial.wiring import versions

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
def card(model: str, version: str, out: Path) -> None:
    """The model card of a version as Markdown and HTML, with its pictures; also kept with its run."""
    from perennial.flows.governance.card import write_card
    from perennial.flows.governance.documents import keep
    from perennial.flows.versions import find_version

    settings = load()
    spec, ports = catalog.spec(model, settings), versions.document_ports(settings)
    record = find_version(spec.name, version, ports.registry)
    files = write_card(spec, record, ports, out, datetime.now(UTC))
    for file in files:
        click.echo(str(file))
    try:
        keep(record, files, ports.tracker)
    except TrackerUnavailable as error:
        click.echo(f"not kept with the run: {error.message}", err=True)


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the document there.")
@click.option("--json", "as_json", is_flag=True, help="Print the document.")
def bom(model: str, version: str, output: Path | None, as_json: bool) -> None:
    """What a version was made of and needs: its ML-BOM (CycloneDX 1.6), as its registration kept it."""
    from perennial.flows.governance.bom import kept_bom, write_bom
    from perennial.flows.versions import find_version

    settings = load()
    spec, ports = catalog.spec(model, settings), versions.document_ports(settings)
    record = find_version(spec.name, version, ports.registry)
    to_json, check, packages = versions.bom_tools()
    with TemporaryDirectory() as folder:
        file = kept_bom(record, ports, Path(folder))
        if file is None:
            click.echo("none was kept at its registration: made now, with the packages of today", err=True)
            file = write_bom(spec, record, ports, packages(), to_json, Path(folder), datetime.now(UTC))
        text = file.read_text(encoding="utf-8")
    check(text)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        click.echo(str(output), err=as_json)
    if as_json:
        click.echo(text, nl=False)
    elif output is None:
        _show(text)


def keep_documents(settings: Settings, spec: ModelSpec, version: str) -> None:
    """Make card and ML-BOM of a version that was just registered, and keep both with its run."""
    from perennial.flows.governance.bom import write_bom
    from perennial.flows.governance.card import write_card
    from perennial.flows.governance.documents import keep
    from perennial.flows.versions import find_version

    ports, now = versions.document_ports(settings), datetime.now(UTC)
    to_json, _, packages = versions.bom_tools()
    record = find_version(spec.name, version, ports.registry)
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = write_card(spec, record, ports, folder, now)
        keep(
            record, [*files, write_bom(spec, record, ports, packages(), to_json, folder, now)], ports.tracker
        )


def _show(text: str) -> None:
    document = json.loads(text)
    parts = [document["metadata"]["component"], *document["components"]]
    rows = [
        [
            one["type"],
            one["name"],
            one.get("version", "-")[:12],
            ", ".join(_licences(one)) or "-",
            one["hashes"][0]["content"][:12] if one.get("hashes") else "-",
        ]
        for one in parts
    ]
    print_table(["type", "name", "version", "licence", "hash"], rows)


def _licences(component: dict[str, Any]) -> list[str]:
    told = component.get("licenses", ())
    return [
        one.get("expression") or one["license"].get("id") or one["license"].get("name", "") for one in told
    ]
