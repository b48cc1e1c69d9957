"""Adapters of the traffic, and those of an emergency rollback: nothing here is slow to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.traffic import PoolName
from perennial.settings import Settings, load

if TYPE_CHECKING:
    from perennial.adapters.bento_pool import BentoPool
    from perennial.adapters.envoy_router import EnvoyRouter
    from perennial.adapters.rollback_journal import FileJournal
    from perennial.core.version import VersionRef
    from perennial.flows.rollback import RollbackPorts


SQLITE = "sqlite:///"


def pool(settings: Settings | None = None) -> BentoPool:
    from perennial.adapters.bento_pool import BentoPool

    settings = settings or load()
    return BentoPool(settings.serving_dir, settings.host, _servers(settings))


def router(settings: Settings | None = None) -> EnvoyRouter:
    from perennial.adapters.envoy_config import Layout
    from perennial.adapters.envoy_router import EnvoyRouter

    settings = settings or load()
    layout = Layout(
        listen=(settings.host, settings.port_envoy),
        admin=(settings.host, settings.port_envoy_admin),
        pools={name: [(settings.host, port) for port in settings.ports(name)] for name in PoolName},
    )
    return EnvoyRouter(settings.envoy_dir, layout)


def journal(settings: Settings) -> FileJournal:
    from perennial.adapters.rollback_journal import FileJournal

    return FileJournal(settings.state / "releases" / "rollbacks")


def rollback_ports(settings: Settings | None = None) -> RollbackPorts:
    """What the way back touches until the traffic has moved; the database only for a version that the live
    route does not name."""
    from perennial.adapters.bento_probe import BentoProbe
    from perennial.adapters.feature_definitions import published
    from perennial.flows.rollback import RollbackPorts
    from perennial.serving.asked import recent

    settings = settings or load()
    return RollbackPorts(
        router=router(settings),
        pool=pool(settings),
        probe=BentoProbe(settings.host, _servers(settings)),
        journal=journal(settings),
        files=settings.state / "releases" / "files",
        store=settings.serving_dir / "store",
        published=lambda service: published(settings.feast_dir, service),
        recent=lambda model, count: recent(settings.serving_dir / "log", model, count),
        facts=quick_reads(settings).rows,
        champions=lambda model: _champions(model, settings),
    )


def quick_reads(settings: Settings):
    """`find` of TokenStore and `rows` of Ledger in one, as fast as the database allows."""
    if settings.database.startswith(SQLITE):
        from perennial.adapters.sqlite_reads import SqliteReads

        return SqliteReads(Path(settings.database.removeprefix(SQLITE)))
    from types import SimpleNamespace

    from perennial.wiring.accounts import tokens
    from perennial.wiring.releasing import store

    return SimpleNamespace(find=tokens(settings).find, rows=store(settings).ledger.rows)


def _servers(settings: Settings) -> dict[str, tuple[int, ...]]:
    return {name.value: settings.ports(name) for name in PoolName}


def _champions(model: str, settings: Settings) -> Sequence[tuple[VersionRef, str]]:
    from perennial.core.phase import Phase
    from perennial.wiring.releasing import store

    found = store(settings).releases.latest(model)
    return [(one.candidate, one.release_id) for one in found if one.phase is Phase.SUCCEEDED]
