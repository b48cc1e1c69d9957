"""Keep how the servers hold a model at what its spec says, once no release of it is under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perennial.core.serving_spec import Load
from perennial.ports import Pool, ReleaseStore


@dataclass(frozen=True)
class LoadPolicyPorts:
    """Tools that keep the policy."""

    pool: Pool
    releases: ReleaseStore
    policy: Callable[[str], Load | None]
    """Model -> what its spec says; None where that cannot be read."""


def keep_load_policy(model: str, ports: LoadPolicyPorts) -> None:
    """Have the servers hold a model as its spec says; pinned while a release of it is under way.

    Releases and rollbacks pin what they load, so this only ever loosens or follows a changed spec.

    Raises:
        PoolUnavailable: the desired state stays locked.
    """
    policy = ports.policy(model)
    if policy is None:
        return
    if policy is Load.ON_DEMAND and any(not each.phase.is_final() for each in ports.releases.latest(model)):
        policy = Load.PINNED
    ports.pool.load_as(model, policy)
