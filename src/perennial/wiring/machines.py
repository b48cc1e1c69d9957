"""Adapters of serving machines without a common disk, and their agent; nothing here is slow to import."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from perennial.core.release.traffic import PoolName
from perennial.errors import SettingsError
from perennial.settings import Settings
from perennial.wiring import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from perennial.adapters.exchange import Exchange
    from perennial.adapters.sql.database import Database
    from perennial.adapters.sql.machines.machines import SqlMachines
    from perennial.adapters.sql.machines.pool import SqlPool, SqlProbe
    from perennial.adapters.sql.machines.router import SqlRouter
    from perennial.adapters.sql.machines.wanted import SqlWanted
    from perennial.flows.release.machines.agent import Agent
    from perennial.flows.release.machines.watch import MachineWatchPorts

CONTROL, SERVING = "control", "serving"
"""Values of `Settings.plane`."""


def exchange(settings: Settings) -> Exchange:
    """Return the place where the two halves exchange files.

    Raises:
        SettingsError: there is none.
    """
    from perennial.adapters.exchange import Exchange

    if settings.exchange is None:
        raise SettingsError(
            f"PERENNIAL_PLANE is {settings.plane}, and PERENNIAL_EXCHANGE is not set",
            hint="PERENNIAL_EXCHANGE=s3://bucket/folder, the same for both halves",
        )
    return Exchange(settings.exchange)


def machines(settings: Settings) -> SqlMachines:
    """Return the serving machines."""
    from perennial.adapters.sql.machines.machines import SqlMachines

    return SqlMachines(_database(settings.database, settings.tenant), settings.machine_lease)


def wanted(settings: Settings) -> SqlWanted:
    """Return what every serving machine must hold."""
    from perennial.adapters.sql.machines.wanted import SqlWanted

    return SqlWanted(_database(settings.database, settings.tenant))


def pool(settings: Settings) -> SqlPool:
    """Return the pools of all serving machines."""
    from perennial.adapters.sql.machines.pool import SqlPool

    return SqlPool(wanted(settings), machines(settings), exchange(settings), here.trusted(settings))


def router(settings: Settings) -> SqlRouter:
    """Return the router over all serving machines."""
    from perennial.adapters.sql.machines.router import SqlRouter

    return SqlRouter(wanted(settings), machines(settings))


def probe(settings: Settings) -> SqlProbe:
    """Return the probe of all serving machines."""
    from perennial.adapters.sql.machines.pool import SqlProbe

    return SqlProbe(machines(settings))


def agent(settings: Settings, say: Callable[[str], None]) -> Agent:
    """Return the agent of this machine.

    Raises:
        SettingsError: this machine has no name, or there is no exchange.
    """
    from perennial.adapters.sql.machines.desk import SqlDesk
    from perennial.flows.release.machines.agent import Agent
    from perennial.flows.release.machines.agent_ports import AgentPorts
    from perennial.serving.access import handed_files
    from perennial.serving.log.parts import LogSender

    if settings.machine is None:
        raise SettingsError(
            "PERENNIAL_MACHINE is not set",
            hint="name this machine, on PostgreSQL as its database role: PERENNIAL_MACHINE=serving_a",
        )
    files = exchange(settings)
    ports = AgentPorts(
        desk=SqlDesk(_database(settings.database, settings.tenant), settings.machine),
        router=here.router(settings),
        pool=here.pool(settings),
        probe=here.probe(settings),
        fetch=lambda version, folder: files.fetch(version.digest, folder),
        keep_files=lambda body: handed_files.keep(settings.state, body, here.trusted(settings)),
        servers={name.value: len(settings.ports(name)) for name in PoolName},
        send_log=LogSender(settings.serving_dir, settings.machine, files).run,
        send_every=settings.log_ship_seconds,
    )
    return Agent(ports, say)


def watch_ports(settings: Settings) -> MachineWatchPorts:
    """Return the ports of the watch over the serving machines."""
    from perennial.adapters.sql.store import SqlStore
    from perennial.core.machine import WantedKind
    from perennial.flows.release.machines.watch import MachineWatchPorts
    from perennial.serving.access import handed_files
    from perennial.serving.log.parts import LogReceiver
    from perennial.wiring.keys import file_signer

    things = wanted(settings)

    def hand_files() -> None:
        body = handed_files.pack(settings.state, lambda: file_signer(settings))
        if body != things.find(WantedKind.FILES, handed_files.NAME).body:
            things.change(WantedKind.FILES, handed_files.NAME, lambda before: body)

    return MachineWatchPorts(
        machines=machines(settings),
        ledger=SqlStore(settings.database, settings.tenant).ledger,
        receive=LogReceiver(settings.serving_dir, exchange(settings)).run,
        hand_files=hand_files,
    )


def admit(settings: Settings, role: str) -> None:
    """Give a database role the rights of a serving machine."""
    from perennial.core.governance.database_use import DatabaseUse
    from perennial.wiring import database

    database.admit(settings, role, DatabaseUse.MACHINE)


@functools.lru_cache(maxsize=4)
def _database(url: str, tenant: str | None) -> Database:
    from perennial.adapters.sql.database import Database

    return Database(url, tenant)
