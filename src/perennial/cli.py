"""The command line: a table of commands, each imported only when it runs."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from perennial import __version__
from perennial.errors import FileRefused, PerennialError

FREE = "free space there, then give the command again"
RIGHTS = "this account may not use it: see its rights (ls -ld), or give the command as its owner"
REFUSALS = {
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.ENOSPC: FREE,
    errno.EDQUOT: FREE,
    errno.EROFS: "the disk is mounted to be read only",
    errno.ENOTDIR: "a part of this path is a file: name another folder",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "its links lead to each other: name another path",
    errno.EIO: "the disk fails: look at the log of the kernel, and use another one",
}
"""Errors of the operating system that a person can mend, with what to do."""
COMMANDS: dict[str, tuple[str, str]] = {
    "data": ("perennial.commands.data:data", "Download, import, simulate and show CI histories."),
    "init": ("perennial.commands.training.init:init", "Make a model from a CSV or Parquet file."),
    "run": (
        "perennial.commands.training.init:run",
        "Prepare, validate, train, evaluate and register a model.",
    ),
    "prepare": ("perennial.commands.steps:prepare", "Make feature tables and examples as a DVC revision."),
    "validate": (
        "perennial.commands.steps:validate",
        "Check prepared data before a training.",
    ),
    "train": ("perennial.commands.steps:train", "Tune, fit, export and log a model."),
    "tune": ("perennial.commands.training.tune:tune", "Take trials of a search that runs elsewhere."),
    "evaluate": ("perennial.commands.steps:evaluate", "Score a version or the last training."),
    "register": ("perennial.commands.steps:register", "Register an evaluated training as a version."),
    "training": (
        "perennial.commands.training.runner:training",
        "Run training steps as another Unix account.",
    ),
    "optimise": (
        "perennial.commands.training.optimise:optimise",
        "Make faster variants of a version and compare them with it.",
    ),
    "reproduce": ("perennial.commands.reproduce:reproduce", "Train a version again and compare the results."),
    "features": ("perennial.commands.features:features", "Publish feature tables, look up online values."),
    "release": ("perennial.commands.release:release", "Gate, approve, watch and steer releases."),
    "ab": ("perennial.commands.ab:ab", "Analyse and plan A/B tests."),
    "ledger": ("perennial.commands.release:ledger", "Read and verify the ledger."),
    "store": ("perennial.commands.store.schema:store", "Show and migrate the schema of the SQL database."),
    "why": ("perennial.commands.why:why", "Show what serves, its approvals and evidence."),
    "timeline": ("perennial.commands.why:timeline", "Show the timeline of every version of a model."),
    "feedback": ("perennial.commands.feedback:feedback", "Store labels of earlier predictions."),
    "predictions": ("perennial.commands.log.predictions:predictions", "Manage the log of the answers."),
    "serve": ("perennial.commands.servers.serve:serve", "Serve one model here, or run a server of a pool."),
    "cell": ("perennial.commands.servers.cell:cell", "Export what serves, and serve it elsewhere."),
    "agent": ("perennial.commands.servers.machines:agent", "Run the agent of a serving machine."),
    "machines": (
        "perennial.commands.servers.machines:machines",
        "Show, admit and watch serving machines.",
    ),
    "bento": ("perennial.commands.servers.bento:bento", "Build a bento that serves models by itself."),
    "router": ("perennial.commands.serving:router", "Manage Envoy and show the live split."),
    "key": ("perennial.commands.serving:key", "Manage the API keys of clients."),
    "batch": ("perennial.commands.batch.score:batch", "Answer the rows of a file or query."),
    "monitor": ("perennial.commands.monitor:monitor", "Compare recent predictions with the reference."),
    "notify": ("perennial.commands.notify:notify", "Notify people by mail, chat or webhook."),
    "retrain": (
        "perennial.commands.training.retrain:retrain",
        "Request a retraining, measure what one has brought.",
    ),
    "recalibrate": (
        "perennial.commands.training.recalibrate:recalibrate",
        "Fit a new calibration for the champion to its newest labels.",
    ),
    "models": ("perennial.commands.models:models", "Show models, specs and versions."),
    "token": ("perennial.commands.token:token", "Manage tokens of accounts for the command line."),
    "people": ("perennial.commands.accounts.people:people", "Show people of an issuer, end their sessions."),
    "local": ("perennial.commands.local:local", "Manage local processes: up, down, status."),
    "certificates": (
        "perennial.commands.plant.certificates:certificates",
        "Renew the certificates of TLS inside the plant.",
    ),
    "doctor": ("perennial.commands.plant.doctor:doctor", "Find what is wrong here, and how to mend it."),
    "backup": ("perennial.commands.plant.backup:backup", "Copy all state of the plant into a folder."),
    "restore": ("perennial.commands.plant.backup:restore", "Restore a backup into an empty place."),
    "costs": ("perennial.commands.tenants.costs:costs", "Show what each model used, and what that costs."),
    "tenant": (
        "perennial.commands.tenants.tenant:tenant",
        "Plan tenants: plants of their own on shared servers.",
    ),
    "encryption": (
        "perennial.commands.plant.encryption:encryption",
        "Manage the keys of backups and the uploaded log.",
    ),
    "prune": ("perennial.commands.plant.prune:prune", "Delete files that nothing needs any more."),
    "demo": ("perennial.commands.local:demo", "Run the complete closed loop on this machine."),
}


OF_NO_TENANT = ("tenant", "doctor")
"""Commands that run whatever PERENNIAL_TENANT says: they look whose the places are themselves."""


class LazyGroup(click.Group):
    """A group that imports `module:function` only when that command is called."""

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
@click.pass_context
def app(context: click.Context) -> None:
    """Perennial: a closed MLOps loop over the tools that you already run."""
    command = context.invoked_subcommand
    if "PERENNIAL_TENANT" not in os.environ or command in OF_NO_TENANT or {"-h", "--help"} & set(context.obj):
        return
    from perennial.settings import load
    from perennial.wiring import tenancy

    tenancy.enter(load(), makes_state=command != "restore")  # which wants an empty folder


def main(args: list[str] | None = None) -> int:
    """Run a command and return its exit code; a PerennialError is printed as two lines on stderr."""
    try:
        given = sys.argv[1:] if args is None else args
        _report_errors(given)
        app.main(args=given, prog_name="perennial", standalone_mode=False, obj=given)
    except PerennialError as error:
        return _explained(error)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _explained(FileRefused(f"{where}{error.strerror}", hint=REFUSALS[error.errno]))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.message = _shown(error.message)
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    return 0


def _report_errors(given: list[str]) -> None:
    """Report unexpected errors where a Sentry project is set; without one, nothing is imported."""
    if not any(f"PERENNIAL_SENTRY_DSN{ending}" in os.environ for ending in ("", "_FILE", "_FROM")):
        return
    from perennial.reporting import errors_to_sentry
    from perennial.settings import read

    # Words of the command only: what follows may be a name or a reason.
    words = [word for word in given[:2] if word.isidentifier()]
    errors_to_sentry.start(read().sentry_dsn, " ".join(words), __version__)


def _explained(error: PerennialError) -> int:
    click.echo(_shown(f"{type(error).__name__}: {error.message}"), err=True)
    if error.hint:
        click.echo(_shown(f"  -> {error.hint}"), err=True)
    return error.exit_code


def _shown(text: str) -> str:
    """Return a message with the words of others escaped; further lines are indented, so that none looks like ours."""
    from perennial.core.display import shown

    first, *more = shown(text, lines=True).split("\n")
    return "\n".join((first, *(line if line.startswith("  ") else f"  {line}" for line in more)))


def script() -> None:
    sys.exit(main())
