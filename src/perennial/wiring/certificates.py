"""The certificates of TLS inside the plant: their names, and the authority that signs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perennial.core.certificates import roles
from perennial.core.certificates.renewal import SETTLE
from perennial.core.certificates.roles import ProcessRole
from perennial.errors import SettingsError
from perennial.settings import LOOPBACK, Settings

if TYPE_CHECKING:
    import ssl

    from perennial.adapters.internal_ca.authority import InternalAuthority, OwnerOf
    from perennial.adapters.internal_ca.signing import Names
    from perennial.internal_tls.caller import Caller

__all__ = ["SETTLE", "asks_inside", "authority", "caller", "page_verify", "wanted"]

HERE = (LOOPBACK, "::1", "localhost")


def authority(settings: Settings, owner_of: OwnerOf = lambda name: None) -> InternalAuthority:
    """Return the authority of PERENNIAL_INTERNAL_TLS.

    Raises:
        SettingsError: it is not set, or a folder of which a backup would copy the keys.
    """
    from perennial.adapters.internal_ca.authority import InternalAuthority

    if settings.internal_tls is None:
        raise SettingsError(
            "PERENNIAL_INTERNAL_TLS is not set",
            hint="export PERENNIAL_INTERNAL_TLS=$PWD/.perennial/certificates",
        )
    folder, only = settings.internal_tls, settings.state / "certificates"
    if folder.is_relative_to(settings.state) and folder != only:
        raise SettingsError(f"PERENNIAL_INTERNAL_TLS is {folder}", hint=f"in the state folder it is {only}")
    return InternalAuthority(folder, owner_of)


def wanted(
    settings: Settings,
    known: InternalAuthority,
    hosts: Mapping[str, tuple[str, ...]],
    databases: tuple[str, ...],
) -> dict[str, Names]:
    """Return the names of every certificate by its folder: those of the roles, and those that were asked for once.

    Args:
        hosts: role, or name of another server -> host names besides those of this machine.
        databases: database roles.
    """
    from perennial.adapters.internal_ca.authority import with_hosts
    from perennial.adapters.internal_ca.signing import Names

    names = {role.value: _names(settings, role) for role in ProcessRole}
    others = [name for name in hosts if name not in names]
    asked = [*(roles.SERVER + name for name in others), *(roles.DATABASE + name for name in databases)]
    folders = {*known.folders(), *asked}
    for folder in sorted(folders - set(names)):
        name = folder.removeprefix(roles.DATABASE)
        names[folder] = Names(name, calls=True) if folder != name else Names(folder, serves=True)
    return {
        folder: with_hosts(
            given, known.hosts_of(folder, given) | {*hosts.get(folder.removeprefix(roles.SERVER), ())}
        )
        for folder, given in names.items()
    }


def _names(settings: Settings, role: ProcessRole) -> Names:
    from perennial.adapters.internal_ca.signing import Names

    serves = role in roles.CALLERS
    page = settings.host_pages if role in (ProcessRole.MLFLOW, ProcessRole.AIRFLOW) else LOOPBACK
    hosts = HERE if page in (*HERE, "0.0.0.0", "::") else (*HERE, page)  # noqa: S104 compared, not bound
    # The common name, too: a database that takes it for a role of its own has none of this name.
    name = roles.identity(role)
    return Names(name, (name,), hosts if serves else (), serves, roles.calls(role))


def caller(settings: Settings, role: ProcessRole) -> Caller | None:
    """Return what this process calls the servers of a role with; None: without TLS."""
    identity = settings.internal_identity
    if identity is None:
        return None
    from perennial.internal_tls.caller import Caller
    from perennial.internal_tls.contexts import client_context

    return Caller(client_context(identity), frozenset({roles.identity(role)}))


def asks_inside(settings: Settings, page: ProcessRole) -> bool:
    """Return whether the pages of a role are those of this plant, and have no public certificate."""
    elsewhere = {
        ProcessRole.MLFLOW: settings.mlflow_url != settings.pages_mlflow,
        ProcessRole.AIRFLOW: settings.airflow_server is not None,
    }
    return not (settings.tls_pages or elsewhere[page])


def page_verify(settings: Settings, page: ProcessRole) -> ssl.SSLContext | bool:
    """Return what httpx verifies the pages of MLflow or Airflow with: inside the plant by their role, too."""
    inside = settings.internal_identity
    if inside is None or not asks_inside(settings, page):
        return settings.verify
    from perennial.internal_tls.contexts import pages_context

    return pages_context(inside, settings.trusted_certificates, frozenset({roles.identity(page)}))
