"""Served files of versions that no route, pool, running release or rollback needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from perennial.adapters.envoy import state as envoy_state
from perennial.core.events import LedgerRow
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import PoolName
from perennial.serving import desired_state
from perennial.serving.manifest import MANIFEST_FILE
from perennial.settings import Settings
from perennial.wiring import database, machines, traffic

DIGEST = re.compile(r"[0-9a-f]{64}")
KEPT_CHAMPIONS = 2
"""Newest champions of a model whose files always stay: the live one, and the goal of a rollback without `--to`."""


def folders(settings: Settings) -> list[Path]:
    """Return the folders with the files of a version by digest."""
    places = (settings.state / "releases" / "files", settings.serving_dir / "store")
    return [path for place in places for path in sorted(place.glob("*/")) if not path.name.startswith(".")]


def last_used(settings: Settings) -> Iterator[tuple[Path, datetime]]:
    """Yield each folder of a version that nothing needs, with the time when the version was last used.

    That is the time of its newest entry in the ledger, of the champion that replaced it, or of its files. A serving
    machine sees neither ledger nor releases: what its pools and routes do not name it can fetch again.

    Raises:
        RouterRejected, ModelFileError: routes or a desired state cannot be read, so nothing is known to be unused.
        StoreUnavailable: the database does not answer.
    """
    moving = in_traffic(settings)
    store = None if settings.plane == machines.SERVING else database.store(settings)
    known: dict[str, tuple[set[str], dict[str, datetime]]] = {}
    for folder in folders(settings):
        if folder.name in moving:
            continue
        model = _model(folder)
        if model is not None and model not in known and store is not None:
            releases = store.releases.latest(model)
            known[model] = _needed(releases), _uses(releases, store.ledger.rows(model))
        needed, uses = known.get(model or "", (set(), {}))
        if folder.name in needed:
            continue
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        yield folder, max(changed, uses.get(folder.name, changed))


def in_traffic(settings: Settings) -> set[str]:
    """Return the digests in running releases, pools, confirmed routes and rollbacks that are not on record yet.

    Releases are read first: what has left them since is in a route or a pool.
    """
    wanted: set[str] = set()
    running: set[str] = set()
    if settings.plane != machines.SERVING:
        running = _needed(database.store(settings).releases.active())
    if settings.plane == machines.CONTROL:
        wanted = {
            digest for thing in machines.wanted(settings).after(0) for digest in DIGEST.findall(thing.body)
        }
    held = (
        desired_state.read(desired_state.state_file(settings.serving_dir, pool)).models for pool in PoolName
    )
    routes = envoy_state.read(settings.envoy_dir / "routes.json").routes.values()
    targets = [target for route in routes for target in (route.stable, route.canary, route.backup)]
    targets += [
        target for rollback in traffic.journal(settings).pending() for target in (rollback.left, rollback.to)
    ]
    return (
        wanted
        | running
        | {version.digest for models in held for version in models}
        | {target.digest for target in targets if target is not None}
    )


def _model(folder: Path) -> str | None:
    """Return the model of the files; None where their manifest cannot be read, so that their time alone counts."""
    try:
        return str(json.loads((folder / MANIFEST_FILE).read_bytes())["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _needed(releases: list[ReleaseStatus]) -> set[str]:
    """Return the digests that running releases and a rollback need.

    Args:
        releases: those of a model, newest first.
    """
    running = [release for release in releases if not release.phase.is_final()]
    champions = [release.candidate for release in releases if release.phase is Phase.SUCCEEDED]
    refs = [
        *dict.fromkeys(champions[:KEPT_CHAMPIONS]),
        *(ref for release in running for ref in (release.candidate, release.champion, release.kept)),
    ]
    return {ref.digest for ref in refs if ref is not None}


def _uses(releases: list[ReleaseStatus], rows: list[LedgerRow]) -> dict[str, datetime]:
    """Return the last known use of each digest: an entry about it, or the time when its successor took over."""
    uses = [(row.entry.digest, row.entry.at) for row in rows if row.entry.digest is not None]
    uses += [
        (release.champion.digest, release.entered_at) for release in releases if release.champion is not None
    ]
    return dict(sorted(uses, key=lambda use: use[1]))
