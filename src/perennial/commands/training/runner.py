"""`perennial training`: training steps as a Unix account of their own."""

from __future__ import annotations

import pwd
import sys

import click
from pydantic import ValidationError

from perennial.commands.identity import reason_option, reason_text_option
from perennial.commands.output import print_text
from perennial.core.assets import Reason
from perennial.errors import SettingsError, UsageError
from perennial.local import training_runner
from perennial.settings import load


@click.group()
def training() -> None:
    """Run training steps as another Unix account; `perennial local up` and the DAGs use this."""


@training.command()
@click.option("--caller", required=True, help="Unix account that may ask.")
def serve(caller: str) -> None:
    """Run the steps that another account asks for."""
    try:
        uid = pwd.getpwnam(caller).pw_uid
    except KeyError as error:
        raise SettingsError(
            f"there is no Unix account {caller!r}", hint="--caller names the one that asks"
        ) from error
    training_runner.serve(load(), uid)


@training.command()
@click.argument("step", type=click.Choice(training_runner.STEPS))
@click.argument("model")
@click.option("--workdir", required=True, help="Work folder of a run.")
@reason_option
@reason_text_option
def ask(
    step: training_runner.Step,
    model: str,
    workdir: str,
    reason: str,
    reason_text: str,
) -> None:
    """Have STEP of MODEL run by the account that trains, and end as it ends."""
    try:
        request = training_runner.TrainingRequest(
            step=step, model=model, workdir=workdir, reason=Reason(reason), text=reason_text
        )
    except ValidationError as error:
        raise UsageError(f"this cannot be asked: {error}", hint="a shorter reason, without NUL") from error
    sys.exit(training_runner.ask(load(), request, print_text))
