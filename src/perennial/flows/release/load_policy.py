"""Keep how the servers hold a model at what its spec says, once no release of it is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from perennial.core.serving_spec import Load
from perennial.errors import PerennialError
from perennial.ports import Pool, ReleaseStore


@dataclass(frozen=True)
class LoadPolicyPorts:
    """Tools that keep the policy."""

    pool: Pool
    releases: ReleaseStore
    policy: Callable[[str], Load | None]
    """Model -> what its spec says; None where that cannot be read."""


def keep_load_policies(models: Iterable[str], ports: LoadPolicyPorts) -> list[str]:
    """Have the servers hold models as their specs say; pinned while a release of a model is under way.

    Releases and rollbacks pin what they load, so this only ever loosens or follows a changed spec.

    Returns:
        A line per model whose desired state stays locked, or whose releases cannot be read.
    """
    policies = {model: policy for model in models if (policy := ports.policy(model)) is not None}
    lines = _apply({model: policy for model, policy in policies.items() if policy is Load.PINNED}, ports)
    on_demand = [model for model, policy in policies.items() if policy is Load.ON_DEMAND]
    if not on_demand:
        return lines
    try:
        under_way = {release.model for release in ports.releases.active()}
    except PerennialError as error:
        return [*lines, f"releases under way: {type(error).__name__}: {error.message}"]
    wanted = {model: Load.PINNED if model in under_way else Load.ON_DEMAND for model in on_demand}
    return lines + _apply(wanted, ports)


def _apply(wanted: Mapping[str, Load], ports: LoadPolicyPorts) -> list[str]:
    lines = []
    for model, load in wanted.items():
        try:
            ports.pool.load_as(model, load)
        except PerennialError as error:
            lines.append(f"{model}: {type(error).__name__}: {error.message}")
    return lines
