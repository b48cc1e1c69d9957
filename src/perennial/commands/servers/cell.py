"""Commands `perennial cell`: what the plant answers with, as a folder, and a process that serves it."""

from __future__ import annotations

from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import print_text

FOLDER = click.option(
    "--from", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
    help="Folder that `cell export` wrote; it may be read-only.",
)  # fmt: skip


@click.group()
def cell() -> None:
    """Envoy and model servers by themselves, many side by side: docs/guide/deploy.md."""


@cell.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", "models", multiple=True, help="Repeatable.  [default: every model with a route]")
def export(folder: Path, models: tuple[str, ...]) -> None:
    """Write the champions of the live routes, their keys and a new secret of the cell into FOLDER."""
    from perennial.local import cells

    for line in cells.export(environment.load(), folder, models):
        print_text(line)
    print_text(f"{folder / cells.SECRETS} is secret; the rest may be read by everybody")


@cell.command()
@click.argument("process")
@FOLDER
def run(process: str, folder: Path) -> None:
    """Become PROCESS of a cell: envoy, or a model server such as server-stable-3101."""
    from perennial.local import cells, containers

    cells.arrange(environment.load(), folder)
    containers.become(process)


@cell.command()
@FOLDER
def vertex(folder: Path) -> None:
    """Serve the one model of a cell as a container of Vertex AI, which has asked the callers who they are."""
    from perennial.local import vertex_container

    vertex_container.serve(environment.load(), folder, print_text)
