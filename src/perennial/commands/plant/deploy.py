"""Command `perennial release deploy`, and the walk over a release by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import now, print_text
from perennial.errors import ReleaseError, ToolError

if TYPE_CHECKING:
    from perennial.core.release.status import ReleaseStatus
    from perennial.settings import Settings


@click.command()
@click.argument("model")
@click.option("--version", required=True, help="Semantic version.")
@click.option("--check", is_flag=True, help="Only look whether it may be deployed; changes nothing.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def deploy(model: str, version: str, check: bool, every: float) -> None:
    """Bring an approved release of MODEL to all traffic.

    Refuses with 62 what people have not approved, and then changes nothing. Ends with 60 where the release ended
    otherwise, or another version has the traffic since. It may be given while Airflow walks the same release.
    """
    from perennial import catalog
    from perennial.core.release.phase import Phase
    from perennial.flows.release.deploy import approved_release
    from perennial.wiring import database, traffic

    settings = environment.load()
    catalog.spec(model, settings)
    status = approved_release(model, version, database.store(settings).releases.latest(model), now())
    by = ", ".join(approval.actor for approval in status.approvals)
    print_text(f"{status.candidate}: {status.phase.value}, approved by {by}")
    if status.phase is Phase.SUCCEEDED:
        route = traffic.router(settings).route(model)
        if route is None or route.stable.digest != status.candidate.digest:
            live = "no version" if route is None else route.stable.version
            raise ReleaseError(
                f"{status.candidate} was released, and {live} has the traffic since",
                hint=f"perennial release rollback {model} --to {version}, or release start --again",
            )
    if check:
        return
    status = walk(status, settings, every)
    if status.phase is not Phase.SUCCEEDED:
        raise ReleaseError(
            f"the release of {status.candidate} ended {status.phase.value}: {status.note}",
            hint=f"perennial release status {model} --release {status.release_id}",
        )


def walk(status: ReleaseStatus, settings: Settings, every: float | None) -> ReleaseStatus:
    """Make passes over a release, and print each change.

    A pass that brought the release into another phase or step is followed by the next one at once.

    Args:
        every: seconds between two passes, until the release has ended; None: a single pass.

    Raises:
        ToolError: a tool failed in the single pass.
    """
    from perennial.flows.release import reconcile as flow
    from perennial.wiring import releasing

    last_line = ""
    while True:
        before = status.phase, status.step
        try:
            status = flow.reconcile(status.release_id, releasing.release_ports(settings), now())
            line = f"{status.phase.value}: {status.note}"
        except ToolError as error:
            if every is None:
                raise
            line = f"{type(error).__name__}: {error.message}"
        if line != last_line:
            print_text(f"{now():%H:%M:%S} {line}")
            last_line = line
        if status.phase.is_final() or every is None:
            return status
        if (status.phase, status.step) == before:
            time.sleep(every)
