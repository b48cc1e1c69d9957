"""`perennial models card` and `bom`: write the documents of a version."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from perennial import catalog
from perennial.commands.output import now, print_json, print_records, print_text
from perennial.errors import TrackerUnavailable
from perennial.settings import load
from perennial.wiring import versions


@click.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to."
)
def card(model: str, version: str, out: Path) -> None:
    """Write the model card of a version as Markdown and HTML, and upload it to the run of the version."""
    from perennial.flows.governance.documents import keep, write_card
    from perennial.flows.versions import find_version

    settings = load()
    spec, ports = catalog.spec(model, settings), versions.document_ports(settings)
    record = find_version(spec.name, version, ports.registry)
    files = write_card(spec, record, ports, out, now())
    for file in files:
        print_text(str(file))
    try:
        keep(record, files, ports.tracker)
    except TrackerUnavailable as error:
        print_text(f"not kept with the run: {error.message}", err=True)


@click.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write the document to."
)
@click.option("--json", "as_json", is_flag=True, help="Print the document.")
def bom(model: str, version: str, output: Path | None, as_json: bool) -> None:
    """Show the ML-BOM (CycloneDX 1.6) of a version: its data, code, packages and licences."""
    from perennial.flows.governance.documents import kept_bom, write_bom
    from perennial.flows.versions import find_version

    settings = load()
    spec, ports = catalog.spec(model, settings), versions.document_ports(settings)
    record = find_version(spec.name, version, ports.registry)
    to_json, check, packages = versions.bom_tools()
    with TemporaryDirectory() as folder:
        file = kept_bom(record, ports, Path(folder))
        if file is None:
            print_text("none was kept at its registration: made now, with the packages of today", err=True)
            file = write_bom(spec, record, ports, packages(), to_json, Path(folder), now())
        text = file.read_text(encoding="utf-8")
    check(text)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        print_text(str(output), err=as_json)
    if as_json:
        print_json(json.loads(text))
    elif output is None:
        _show(text)


def _show(text: str) -> None:
    document = json.loads(text)
    components = [document["metadata"]["component"], *document["components"]]
    rows = [
        {
            "type": component["type"],
            "name": component["name"],
            "version": component.get("version", "-")[:12],
            "licence": ", ".join(_licences(component)) or "-",
            "hash": component["hashes"][0]["content"][:12] if component.get("hashes") else "-",
        }
        for component in components
    ]
    print_records(rows, as_json=False)


def _licences(component: dict[str, Any]) -> list[str]:
    return [
        entry.get("expression") or entry["license"].get("id") or entry["license"].get("name", "")
        for entry in component.get("licenses", ())
    ]
