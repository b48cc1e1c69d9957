"""Which tasks the release DAG shows for a policy. Pure."""

from __future__ import annotations

from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan, promotes
from perennial.core.spec import ReleaseSpec


def phases(policy: ReleaseSpec, servers: int) -> list[tuple[str, str, int]]:
    """Task id, phase and step of each task that waits for one, in order.

    The last one waits for the end of the release, whatever it is. So a release that began under an older
    policy than the one shown is still driven to its end: each task waits until the release is beyond its
    phase and step, and some then pass at once.

    Args:
        servers: of the stable pool.
    """
    steps = [(_task_id(policy, step), step.phase.value, step.number) for step in plan(policy, servers)]
    end = "promote" if promotes(policy) else "finish"
    return [("load", Phase.LOADING.value, 0), *steps, (end, Phase.PROMOTING.value, 0)]


def _task_id(policy: ReleaseSpec, step: Step) -> str:
    return "shadow" if step.phase is Phase.SHADOW else f"{policy.strategy.value}_{step.weight:g}_percent"
