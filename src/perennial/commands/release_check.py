"""`perennial release check`: the checks of the gate, without a release."""

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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(model: str, which: str, as_json: bool) -> None:
    """Check terms, files and behaviour of a version like the gate, without any record."""
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
        judgements = (*releasing.terms(spec, record, settings), *releasing.checks(spec, files))
    if as_json:
        rules = [rule.model_dump(mode="json") for rule in judgements]
        click.echo(json.dumps({"version": record.ref.version, "digest": record.ref.digest, "rules": rules}))
    else:
        click.echo(str(record.ref))
        rows = [(rule.verdict.value, rule.rule, rule.observed, rule.needed) for rule in judgements]
        print_table(("verdict", "rule", "observed", "needed"), rows)
    if worst(judgements) in (Verdict.FAIL, Verdict.ERROR):
        bad = ", ".join(rule.rule for rule in judgements if rule.verdict in (Verdict.FAIL, Verdict.ERROR))
        raise GateFailed(f"{record.ref}: {bad}", hint="docs/guide/checks.md says what each rule wants")
