"""Adapters of the traffic and of an emergency rollback; nothing here is slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.settings import Settings, load
from perennial.wiring import here, machines
from perennial.wiring.database import champions, quick_reads

if TYPE_CHECKING:
    from perennial.adapters.bentoml.pool import BentoPool
    from perennial.adapters.bentoml.probe import BentoProbe
    from perennial.adapters.envoy.router import EnvoyRouter
    from perennial.adapters.rollback_journal import FileJournal
    from perennial.adapters.sql.machines.pool import SqlPool, SqlProbe
    from perennial.adapters.sql.machines.router import SqlRouter
    from perennial.flows.release.rollback import RollbackPorts


def pool(settings: Settings) -> BentoPool | SqlPool:
    """Return the pools of model servers: of this machine, or of all serving machines."""
    return machines.pool(settings) if settings.plane == machines.CONTROL else here.pool(settings)


def router(settings: Settings) -> EnvoyRouter | SqlRouter:
    """Return the router: Envoy of this machine, or those of all serving machines."""
    return machines.router(settings) if settings.plane == machines.CONTROL else here.router(settings)


def probe(settings: Settings) -> BentoProbe | SqlProbe:
    """Return the probe of the model servers."""
    return machines.probe(settings) if settings.plane == machines.CONTROL else here.probe(settings)


def journal(settings: Settings) -> FileJournal:
    """Return the journal of rollbacks that are not in the ledger yet."""
    from perennial.adapters.rollback_journal import FileJournal

    return FileJournal(settings.state / "releases" / "rollbacks")


def rollback_ports(settings: Settings | None = None) -> RollbackPorts:
    """Return the ports of a rollback until the traffic has moved.

    The database is read only for a version that the live route does not name.
    """
    from perennial.adapters.feast.definitions import published
    from perennial.flows.release.rollback import RollbackPorts
    from perennial.serving.recent_requests import recent

    settings = settings or load()
    files = settings.state / "releases" / "files"
    return RollbackPorts(
        router=router(settings),
        pool=pool(settings),
        probe=probe(settings),
        journal=journal(settings),
        files=files,
        # Serving machines have a store each; they check it by themselves when they load a version.
        store=files if settings.plane == machines.CONTROL else settings.serving_dir / "store",
        trusted=here.trusted(settings),
        published=lambda service: published(settings.feast_dir, service),
        recent=lambda model, count: recent(settings.serving_dir / "log", model, count),
        facts=quick_reads(settings).rows,
        champions=lambda model: champions(model, settings),
    )
