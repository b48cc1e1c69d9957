"""`perennial tune`: trials of a search that a training on another machine leads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from perennial import catalog
from perennial.commands.output import print_text
from perennial.errors import TrainingFailed
from perennial.settings import load
from perennial.wiring import training, training_steps


@click.group()
def tune() -> None:
    """Take part in the search of a training that runs elsewhere."""


@tune.command()
@click.argument("model")
@click.option(
    "--idle",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="End after so many seconds without a trial.",
)
def join(model: str, idle: float) -> None:
    """Evaluate trials of the running search of MODEL until it ends; `tuning.shared` of the spec allows it.

    Code, spec and feature definitions must be those of the training. The data comes from the DVC remote.
    """
    from perennial.flows.training.join import join_search

    settings = load()
    spec = catalog.spec(model, settings)
    ports = training_steps.join_ports(settings)
    search = ports.tuner.offered(model)
    if search is None:
        raise TrainingFailed(
            f"no search of {model} can be joined",
            hint=f"`tuning.shared: true` in the spec, and `perennial train {model}` with the same PERENNIAL_TUNING_URL",
        )
    with tempfile.TemporaryDirectory() as folder:
        evaluated = join_search(
            spec,
            search,
            ports,
            training.build(spec),
            training.model_class(spec).suggest,
            training.provenance(spec, settings),
            Path(folder),
            idle,
            print_text,
        )
    print_text(f"{search.study}: {evaluated} trials evaluated here")
