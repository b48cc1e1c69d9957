"""Judge a candidate by the counts of several serving machines: none of them decides for it alone.

A serving machine is the one that strangers reach, and its counts are its own word. Made-up ones can speak against a
candidate, which ends in an abort that names the machine. They must not speak for one that the others find bad, or have
not yet seen enough of. Machines of one database role, as the pods of a deployment, are one here: each of them could
write the rows of the others, and add more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol

from perennial.core.release.analysis.clusters import ByCluster
from perennial.core.release.traffic import Counters
from perennial.core.verdict import Judgement, Verdict

Clusters = Callable[[str | None], Sequence[ByCluster]]
"""Machine whose counts are left out, or None -> counts by cluster."""


class Judge(Protocol):
    """Judgements on candidate and champion."""

    def __call__(
        self, candidate: Counters, champion: Counters, *, clusters: Callable[[], Sequence[ByCluster]]
    ) -> tuple[Judgement, ...]: ...


def of_roles(counters: Counters) -> Counters:
    """Return the counters with a part for each role: that of the machines `role` and `role.name`."""
    parts: dict[str, Counters] = {}
    for name, part in counters.parts.items():
        role = name.partition(".")[0]
        parts[role] = parts.get(role, Counters()).plus(part)
    return counters.model_copy(update={"parts": parts})


def bounded(candidate: Counters, champion: Counters, reporting: Collection[str]) -> tuple[Counters, Counters]:
    """Return both with the part of each machine scaled down to at most that of all others together.

    The only one that still answers counts in full, since there is nothing to compare it with; one that has fallen
    silent does not.

    Args:
        reporting: machines that answer.
    """
    candidate, champion = of_roles(candidate), of_roles(champion)
    roles = {name.partition(".")[0] for name in reporting}
    answering = [name for name in _counting(candidate, champion) if name in roles]
    alone = answering[0] if len(answering) == 1 else None
    return _bounded(candidate, alone), _bounded(champion, alone)


def _counting(candidate: Counters, champion: Counters) -> list[str]:
    """Return the machines that have counted anything for candidate or champion."""
    sides = (candidate, champion)
    names = sorted({name for side in sides for name in side.parts})
    return [name for name in names if any(side.parts.get(name, Counters()).requests for side in sides)]


def _bounded(counters: Counters, alone: str | None) -> Counters:
    for name, part in counters.parts.items():
        others = counters.without(name)
        if name != alone and part.requests > others.requests:
            scaled = part.scaled(others.requests)
            return others.plus(scaled).model_copy(update={"parts": {**counters.parts, name: scaled}})
    return counters


def judge_over_machines(
    judge: Judge, candidate: Counters, champion: Counters, clusters: Clusters
) -> tuple[Judgement, ...]:
    """Judge all counts, and again without those of each machine.

    Where harm is proven without a machine and not with it, the rule is UNSURE: a person looks at the machine. Where it
    is proven only with a machine, it stays proven, and the machine is named.
    """
    judgements = judge(candidate, champion, clusters=partial(clusters, None))
    names = _counting(candidate, champion)
    if len(names) < 2:
        return judgements
    without = {
        name: {
            judgement.rule: judgement
            for judgement in judge(
                candidate.without(name), champion.without(name), clusters=partial(clusters, name)
            )
        }
        for name in names
    }
    return tuple(
        _compared(
            judgement,
            {name: others[judgement.rule] for name, others in without.items() if judgement.rule in others},
        )
        for judgement in judgements
    )


def _compared(judgement: Judgement, without: dict[str, Judgement]) -> Judgement:
    failed = {name: other for name, other in without.items() if other.verdict is Verdict.FAIL}
    if judgement.verdict is Verdict.FAIL:
        alone = [name for name in without if name not in failed]
        words = f"; not without the counts of {', '.join(alone)}" if alone else ""
        return judgement.model_copy(update={"observed": judgement.observed + words})
    if not failed:
        return judgement
    words = "".join(f"; without the counts of {name}: {other.observed}" for name, other in failed.items())
    return judgement.model_copy(update={"verdict": Verdict.UNSURE, "observed": judgement.observed + words})
