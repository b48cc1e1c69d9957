"""`perennial monitor rules`."""

from __future__ import annotations

from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import print_text


@click.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files; by default `docker` of the project.",
)
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with 76 where a file is not what would be written."
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path),
    help="Folder of the secret files `internal` and `alerts` where these tools run without containers.",
)
@click.option(
    "--guide", default="docs/guide", show_default=True, help="Address of the guide, for links to runbooks."
)
@click.option(
    "--prometheus", default="127.0.0.1:9090", show_default=True, help="Host and port of Prometheus."
)
@click.option(
    "--alertmanager", default="127.0.0.1:9093", show_default=True, help="Host and port of Alertmanager."
)
def rules(
    folder: Path | None, check: bool, secrets: Path | None, guide: str, prometheus: str, alertmanager: str
) -> None:
    """Make alert rules, scrapes, dashboards and the configuration of Alertmanager from the specs of all models."""
    from perennial.flows.monitoring import rule_files
    from perennial.wiring import monitoring

    settings = environment.load()
    texts = monitoring.alert_files(settings, secrets, guide, prometheus, alertmanager)
    target = folder or settings.project / "docker"
    if check:
        rule_files.check(texts, target)
        print_text(f"{len(texts)} files in {target} are those of the specs")
        return
    changed = rule_files.write(texts, target)
    for path in changed:
        print_text(f"written: {path}")
    print_text(f"{len(texts)} files in {target}, {len(changed)} of them changed")
