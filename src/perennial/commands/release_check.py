"""`perennial release check`: the checks of the gate alone."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from perennial import settings as environment
from perennial.commands.output import print_table


@click.command()
@click.argument("model")
@click.option("--version", "which", default="candidate", show_default=True, help="Version or alias.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(model: str, which: str, as_json: bool) -> None:
    """Check the terms, the files and the behaviour of a version, as the gate does; nothing is recorded."""
    from perennial import catalog
    from perennial.core.verdict import Verdict, worst
    from perennial.errors import GateFailed
    from perennial.flows.versions import find_version
    from perennial.wiring import releasing, versions

    settings = environment.load()
    spec = catalog.spec(model, settings)
    registry = versions.registry(settings)
    record = find_version(model, which, registry)
    with TemporaryDirectory() as folder:
        files = registry.fetch(record.ref, Path(folder) / "version")
        found = (*releasing.terms(spec, record, settings), *releasing.checks(spec, files))
    if as_json:
        rules = [one.model_dump(mode="json") for one in found]
        click.echo(json.dumps({"version": record.ref.version, "digest": record.ref.digest, "rules": rules}))
    else:
        click.echo(str(record.ref))
        rows = [(one.verdict.value, one.rule, one.observed, one.needed) for one in found]
        print_table(("verdict", "rule", "observed", "needed"), rows)
    if worst(found) in (Verdict.FAIL, Verdict.ERROR):
        bad = ", ".join(one.rule for one in found if one.verdict in (Verdict.FAIL, Verdict.ERROR))
        raise GateFailed(f"{record.ref}: {bad}", hint="docs/guide/checks.md says what each rule wants")
