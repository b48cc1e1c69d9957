"""The command line: a table of lazy commands. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import importlib
import sys

import click

from perennial import __version__
from perennial.errors import PerennialError

COMMANDS: dict[str, tuple[str, str]] = {
    "data": ("perennial.commands.data:data", "Fetch, import, simulate and look at CI histories."),
    "prepare": (
        "perennial.commands.steps:prepare",
        "History -> feature tables and examples, as a DVC revision.",
    ),
    "validate": ("perennial.commands.steps:validate", "Check prepared data; a failing suite stops here."),
    "train": ("perennial.commands.steps:train", "Tune, fit, export and log one model."),
    "evaluate": (
        "perennial.commands.steps:evaluate",
        "Score a version, or the last training, on later cycles.",
    ),
    "register": ("perennial.commands.steps:register", "Give an evaluated training a version: the candidate."),
    "reproduce": (
        "perennial.commands.reproduce:reproduce",
        "Train a version again from its capsule and compare.",
    ),
    "features": ("perennial.commands.features:features", "Publish feature tables and look up online values."),
    "release": ("perennial.commands.release:release", "Gate, approve, watch and steer releases."),
    "ab": ("perennial.commands.ab:ab", "Analyse and plan A/B tests."),
    "ledger": ("perennial.commands.release:ledger", "Read and verify the record of who did what."),
    "why": ("perennial.commands.why:why", "What serves, who allowed it on what evidence, what was refused."),
    "history": ("perennial.commands.why:history", "The way of every version through its releases."),
    "feedback": (
        "perennial.commands.serving:feedback",
        "Bring verdicts back to the predictions they belong to.",
    ),
    "serve": ("perennial.commands.serving:serve", "Run one model server of a pool."),
    "router": ("perennial.commands.serving:router", "Write Envoy's configuration, show the live split."),
    "monitor": ("perennial.commands.monitor:monitor", "Compare windows of predictions with the reference."),
    "notify": ("perennial.commands.notify:notify", "Tell people by mail, chat or webhook what happens."),
    "retrain": ("perennial.commands.monitor:retrain", "Ask for a retraining, with the reason."),
    "models": ("perennial.commands.models:models", "The models, their specs and their versions."),
    "token": ("perennial.commands.token:token", "Tokens that say who acts on the command line."),
    "local": ("perennial.commands.local:local", "The processes of this machine: up, down, status."),
    "demo": ("perennial.commands.demo:demo", "The closed loop, end to end, on this machine."),
}


class LazyGroup(click.Group):
    """Loads `module:function` only when that command is the one called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, function = COMMANDS[name][0].split(":")
        return getattr(importlib.import_module(module), function)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="perennial")
def app() -> None:
    """Perennial: one closed MLOps loop over the tools you already run."""


def main(args: list[str] | None = None) -> int:
    """Run one command; a PerennialError becomes two lines on stderr and its own exit code."""
    try:
        app.main(args=args, prog_name="perennial", standalone_mode=False)
    except PerennialError as error:
        click.echo(f"{type(error).__name__}: {error.message}", err=True)
        if error.hint:
            click.echo(f"  -> {error.hint}", err=True)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    return 0


def script() -> None:
    sys.exit(main())
