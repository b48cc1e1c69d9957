"""Judge a candidate by the counts of several serving machines: none of them decides for it alone.

A serving machine is the one that strangers reach, and its counts are its own word. Made-up ones can speak against a
candidate, which ends in an abort that names the machine. They must not speak for one that the others find bad, or have
not yet seen enough of.
"""

from __future__ import annotations

from collections.abc import Callable

from perennial.core.release.traffic import Counters
from perennial.core.verdict import Judgement, Verdict

Judge = Callable[[Counters, Counters], tuple[Judgement, ...]]
"""Candidate and champion -> judgements."""


def answering(candidate: Counters, champion: Counters) -> list[str]:
    """Return the machines that have answered anything for candidate or champion."""
    sides = (candidate, champion)
    names = sorted({name for side in sides for name in side.parts})
    return [name for name in names if any(side.parts.get(name, Counters()).requests for side in sides)]


def bounded(candidate: Counters, champion: Counters) -> tuple[Counters, Counters]:
    """Return both with the part of each machine scaled down to at most that of all others together.

    A machine that answers alone, while the others get nothing at all, counts in full: there is no other evidence.
    """
    names = answering(candidate, champion)
    if len(names) < 2:
        return candidate, champion
    return _bounded(candidate), _bounded(champion)


def _bounded(counters: Counters) -> Counters:
    for name, part in counters.parts.items():
        others = counters.without(name)
        if part.requests > others.requests:
            scaled = part.scaled(others.requests)
            return others.plus(scaled).model_copy(update={"parts": {**counters.parts, name: scaled}})
    return counters


def judge_over_machines(judge: Judge, candidate: Counters, champion: Counters) -> tuple[Judgement, ...]:
    """Judge all counts, and again without those of each machine.

    Where harm is proven without a machine and not with it, the rule is UNSURE: a person looks at the machine. Where it
    is proven only with a machine, it stays proven, and the machine is named.
    """
    judgements = judge(candidate, champion)
    names = answering(candidate, champion)
    if len(names) < 2:
        return judgements
    without = {
        name: {
            judgement.rule: judgement for judgement in judge(candidate.without(name), champion.without(name))
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
