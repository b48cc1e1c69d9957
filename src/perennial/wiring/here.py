"""Adapters of Envoy and the model servers of this machine; nothing here is slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.core.certificates.roles import ProcessRole, identity
from perennial.core.release.traffic import PoolName
from perennial.settings import LOOPBACK, Settings
from perennial.wiring.certificates import caller

if TYPE_CHECKING:
    from perennial.adapters.bentoml.pool import BentoPool
    from perennial.adapters.bentoml.probe import BentoProbe
    from perennial.adapters.envoy.config import InternalTls
    from perennial.adapters.envoy.router import EnvoyRouter
    from perennial.serving.signed_files import TrustedKeys


def pool(settings: Settings) -> BentoPool:
    """Return the pools of model servers."""
    from perennial.adapters.bentoml.pool import BentoPool

    return BentoPool(
        settings.serving_dir, LOOPBACK, _servers(settings), trusted(settings), settings.internal_secret,
        caller(settings, ProcessRole.POOL),
    )  # fmt: skip


def probe(settings: Settings) -> BentoProbe:
    """Return the probe of the model servers."""
    from perennial.adapters.bentoml.probe import BentoProbe

    return BentoProbe(
        LOOPBACK, _servers(settings), settings.internal_secret, caller(settings, ProcessRole.POOL)
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
        inside=None if settings.internal_tls is None else _inside(settings),
    )
    return EnvoyRouter(settings.envoy_dir, layout)


def _inside(settings: Settings) -> InternalTls:
    """Return what Envoy needs of TLS to the model servers; only its own account reads the files."""
    from perennial.adapters.envoy.config import InternalTls

    folder = settings.identity_of(ProcessRole.ENVOY).folder
    return InternalTls(folder, identity(ProcessRole.POOL))


def _servers(settings: Settings) -> dict[str, tuple[int, ...]]:
    return {name.value: settings.ports(name) for name in PoolName}
