"""Tasks of the release DAG for a policy. Pure."""

from __future__ import annotations

from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan, promotes
from perennial.core.release_spec import ReleaseSpec


def phase_tasks(policy: ReleaseSpec, servers: int) -> list[tuple[str, str, int]]:
    """Return task id, phase and step of each task that waits for a phase, in order.

    The last task waits for the end of the release, whatever it is. So a release that began under an older
    policy than the DAG's is still driven to its end: each task waits until the release is beyond its phase
    and step, and some tasks pass at once.

    Args:
        servers: size of the stable pool.
    """
    steps = [(_task_id(policy, step), step.phase.value, step.number) for step in plan(policy, servers)]
    end = "promote" if promotes(policy) else "finish"
    return [("load", Phase.LOADING.value, 0), *steps, (end, Phase.PROMOTING.value, 0)]


def _task_id(policy: ReleaseSpec, step: Step) -> str:
    return "shadow" if step.phase is Phase.SHADOW else f"{policy.strategy.value}_{step.weight:g}_percent"
