"""Roles of processes inside the plant, the name that a certificate gives each, and who may call whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

TRUST_DOMAIN = "perennial"
DATABASE, SERVER = "database-", "server-"
"""First part of the folder of a database role's certificate, and of that of a server that is not ours."""


class ProcessRole(StrEnum):
    """Roles; the value is the name of the folder of its certificate."""

    ENVOY = "envoy"
    POOL = "pool"
    """The model servers of both pools: Envoy asks one pool in place of the other."""
    MONITOR = "monitor"
    MLFLOW = "mlflow"
    AIRFLOW = "airflow"
    """Every part of Airflow, and so its tasks."""
    TRAINING = "training"
    """The runner of training steps, which may have a Unix account of its own."""
    AGENT = "agent"
    """The processes that keep the plant as it is wanted: agent, guard, notifier, watch of the machines."""
    OPERATOR = "operator"
    """People on the command line, and `perennial local up`, which asks each process whether it is ready."""
    PROMETHEUS = "prometheus"


_R = ProcessRole
CALLERS: Mapping[ProcessRole, frozenset[ProcessRole]] = {
    _R.POOL: frozenset({_R.ENVOY, _R.AGENT, _R.AIRFLOW, _R.OPERATOR, _R.PROMETHEUS}),
    _R.MONITOR: frozenset({_R.OPERATOR, _R.PROMETHEUS}),
    _R.MLFLOW: frozenset({_R.AGENT, _R.AIRFLOW, _R.MONITOR, _R.OPERATOR, _R.TRAINING}),
    _R.AIRFLOW: frozenset({_R.AIRFLOW, _R.MONITOR, _R.OPERATOR}),
}
"""Role that listens -> roles that it lets in. A role without an entry listens nowhere."""


def identity(role: ProcessRole) -> str:
    """Return the name of a role in a certificate: an alternative name of the kind URI, in the form of SPIFFE."""
    return f"spiffe://{TRUST_DOMAIN}/{role}"


def callers(role: ProcessRole) -> frozenset[str]:
    """Return the names of the roles that a role lets in."""
    return frozenset(identity(caller) for caller in CALLERS[role])


def calls(role: ProcessRole) -> bool:
    """Return whether a role calls another one."""
    return any(role in allowed for allowed in CALLERS.values())


def of_process(name: str) -> ProcessRole:
    """Return the role of a process of `perennial local up`."""
    if name.startswith("server-"):
        return ProcessRole.POOL
    if name.startswith("airflow-"):
        return ProcessRole.AIRFLOW
    return {
        "envoy": ProcessRole.ENVOY,
        "mlflow": ProcessRole.MLFLOW,
        "monitor": ProcessRole.MONITOR,
        "training": ProcessRole.TRAINING,
    }.get(name, ProcessRole.AGENT)
