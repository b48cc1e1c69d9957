"""Files of versions in the exchange of serving machines that the control plane does not keep itself any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from perennial.adapters.exchange import StoredVersion
from perennial.local.prune import served
from perennial.settings import Settings
from perennial.wiring import machines


def unused(settings: Settings, going: Collection[str]) -> Iterator[tuple[str, StoredVersion]]:
    """Yield the digests in the exchange that no pool, route, running release or rollback needs.

    The exchange is a copy: a release or rollback whose version is missing there stores it again from the files here.
    So a version stays there as long as these do.

    Args:
        going: digests whose files here go now.

    Raises:
        ToolError: the object storage does not answer. And as `served.in_traffic`.
    """
    if settings.plane != machines.CONTROL:
        return
    here = {folder.name for folder in served.folders(settings)} - set(going)
    kept = here | served.in_traffic(settings)
    for digest, stored in machines.exchange(settings).versions().items():
        if digest not in kept:
            yield digest, stored
