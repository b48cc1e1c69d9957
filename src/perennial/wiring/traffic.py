"""Adapters of the traffic and of an emergency rollback; nothing here is slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.core.release.traffic import PoolName
from perennial.settings import LOOPBACK, Settings, load
from perennial.wiring.database import champions, quick_reads

if TYPE_CHECKING:
    from perennial.adapters.bentoml.pool import BentoPool
    from perennial.adapters.envoy.router import EnvoyRouter
    from perennial.adapters.rollback_journal import FileJournal
    from perennial.flows.release.rollback import RollbackPorts
    from perennial.serving.signed_files import TrustedKeys


def pool(settings: Settings) -> BentoPool:
    """Return the pools of model servers."""
    from perennial.adapters.bentoml.pool import BentoPool

    return BentoPool(
        settings.serving_dir, LOOPBACK, _servers(settings), trusted(settings), settings.internal_secret
    )


def trusted(settings: Settings) -> TrustedKeys:
    """Return the public keys of those who may sign the files of a version."""
    from perennial.serving.signed_files import TrustedKeys

    return TrustedKeys(settings.trusted_keys_folder)


def router(settings: Settings) -> EnvoyRouter:
    """Return the router."""
    from perennial.adapters.envoy.config import Layout
    from perennial.adapters.envoy.router import EnvoyRouter

    layout = Layout(
        listen=(settings.host, settings.port_envoy),
        admin=settings.envoy_admin,
        pools={name: [(LOOPBACK, port) for port in settings.ports(name)] for name in PoolName},
        grpc={name: [(LOOPBACK, port) for port in settings.grpc_ports(name)] for name in PoolName},
        secret=settings.internal_secret,
        client_rate=settings.client_rate,
        tls=settings.tls,
        jwt=settings.jwt,
    )
    return EnvoyRouter(settings.envoy_dir, layout)


def journal(settings: Settings) -> FileJournal:
    """Return the journal of rollbacks that are not in the ledger yet."""
    from perennial.adapters.rollback_journal import FileJournal

    return FileJournal(settings.state / "releases" / "rollbacks")


def rollback_ports(settings: Settings | None = None) -> RollbackPorts:
    """Return the ports of a rollback until the traffic has moved.

    The database is read only for a version that the live route does not name.
    """
    from perennial.adapters.bentoml.probe import BentoProbe
    from perennial.adapters.feast.definitions import published
    from perennial.flows.release.rollback import RollbackPorts
    from perennial.serving.recent_requests import recent

    settings = settings or load()
    return RollbackPorts(
        router=router(settings),
        pool=pool(settings),
        probe=BentoProbe(LOOPBACK, _servers(settings), settings.internal_secret),
        journal=journal(settings),
        files=settings.state / "releases" / "files",
        store=settings.serving_dir / "store",
        trusted=trusted(settings),
        published=lambda service: published(settings.feast_dir, service),
        recent=lambda model, count: recent(settings.serving_dir / "log", model, count),
        facts=quick_reads(settings).rows,
        champions=lambda model: champions(model, settings),
    )


def _servers(settings: Settings) -> dict[str, tuple[int, ...]]:
    return {name.value: settings.ports(name) for name in PoolName}
