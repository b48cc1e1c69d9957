"""Command `perennial bento`: a model server with its versions as a folder or an image of its own."""

from __future__ import annotations

from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_json, print_text


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL[:VERSION]...")
@click.option("--wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Wheel of this package.  [default: built from the checkout]")  # fmt: skip
@JSON
def bento(models: tuple[str, ...], wheel: Path | None, as_json: bool) -> None:
    """Build a bento that serves these models from its own folder: their champions, or each VERSION.

    It goes into the store of BentoML (BENTOML_HOME).
    """
    from perennial.flows.packing import build_bento
    from perennial.wiring import versions

    settings = environment.load()
    registry = versions.registry(settings)
    tag, folder, packed = build_bento(models, registry, versions.bento_builder(settings, wheel))
    if as_json:
        print_json(
            {"tag": tag, "folder": str(folder), "versions": [ref.model_dump(mode="json") for ref in packed]}
        )
        return
    for ref in packed:
        print_text(f"packed {ref.model} {ref.version}")
    print_text(f"built {tag} in {folder}")
    print_text(f"serve it with: PERENNIAL_HOME=FOLDER bentoml serve {tag}")
