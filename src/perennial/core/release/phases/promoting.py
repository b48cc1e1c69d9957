"""PROMOTING: the stable pool loads the candidate, then it gets all traffic and becomes champion."""

from __future__ import annotations

from perennial.core.release.abort import end_release
from perennial.core.release.approving import is_still_allowed
from perennial.core.release.phase import Phase
from perennial.core.release.pool_loading import is_loaded
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition
from perennial.core.version import Lifecycle


def run(transition: Transition) -> None:
    """Move all traffic once the stable pool holds the candidate; finish in the pass after that."""
    status, live = transition.status, transition.seen.route
    if live is not None and live.stable.digest == status.candidate.digest:
        _succeed(transition)
        return
    if transition.champion_moved:
        end_release(transition, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    if not is_still_allowed(transition):
        return
    transition.ensure(PoolName.STABLE)
    loaded = is_loaded(transition, transition.seen.in_stable, PoolName.STABLE)
    if loaded and not transition.status.pauses:
        transition.route(status.alone)


def _succeed(transition: Transition) -> None:
    """Set aliases, lifecycles and pools. The route moved a pass ago, so no request is on its way to a
    version that is dropped here."""
    status = transition.status
    transition.route(status.alone)
    transition.alias("champion", status.candidate.key)
    transition.clear_alias("candidate")
    if status.champion is not None:
        transition.alias("previous", status.champion.key)
        transition.tag(status.champion.key, lifecycle=Lifecycle.ARCHIVED.value)
    _keep_standby(transition)
    transition.finish(Phase.SUCCEEDED, "is champion")


def _keep_standby(transition: Transition) -> None:
    """Leave in the canary pool the version that answers when the stable pool cannot.

    That is the previous champion or, where none is kept, the new champion itself. Earlier champions leave
    both pools.
    """
    status = transition.status
    outdated = list(transition.seen.outdated)
    if status.champion is not None and status.kept is None:
        outdated.append(status.champion.digest)
    if status.kept is not None:
        transition.ensure(PoolName.CANARY, status.kept)
        transition.drop(PoolName.CANARY, status.candidate.digest)
    else:
        transition.ensure(PoolName.CANARY)
    for digest in outdated:
        transition.drop(PoolName.STABLE, digest)
        transition.drop(PoolName.CANARY, digest)
