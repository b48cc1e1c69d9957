"""Blend the best trials of a search over templates, where that pays on later rows.

Members are chosen greedily with replacement, so that their counts are weights. Source: R. Caruana et al., "Ensemble
Selection from Libraries of Models", ICML 2004. They are chosen on the earlier half of the validation rows and compared
with the best single model on the later half: on the rows of its choice every blend looks good.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import Trial
from perennial.core.training.examples import Examples
from perennial.core.training.leaderboard import BLEND, MEMBERS, TEMPLATE
from perennial.flows.training.training_data import TimeSplit

CANDIDATES, PER_TEMPLATE = 8, 2
"""Best trials that may be members, and those of the same template among them."""
ROUNDS = 20
RESAMPLES, SURE = 200, 0.9
"""Resamples of whole groups, and the share of them in which a blend that pays is better."""
LEAST_GROUPS = 10
"""Groups that each half of the validation rows needs."""


@dataclass(frozen=True)
class _Member:
    trial: Trial
    epochs: int
    answer: np.ndarray
    """Answers on the validation rows."""


def blend(
    spec: ModelSpec,
    split: TimeSplit,
    build: Callable[..., Any],
    trials: Sequence[Trial],
    best: Trial,
    say: Callable[[str], None],
) -> Trial:
    """Return a trial with the parameters of a blend, or `best` where no blend pays.

    Args:
        trials: of a search over templates.
    """
    validation = split.validation
    groups = np.unique(validation.group)
    if len(groups) < 2 * LEAST_GROUPS:
        say(f"no blend: {len(groups)} {spec.evaluation.group}s of validation rows are too few to compare one")
        return best
    early = validation.group < groups[len(groups) // 2]
    members = [_fitted(spec, split, build, trial) for trial in _candidates(spec, trials)]
    counts = _greedy(spec, validation, early, members)
    single = max(members, key=lambda member: _gain(spec, validation, early, member.answer))
    answer = _mean(members, counts)
    sure = _share_better(spec, validation, ~early, answer, single.answer)
    metric = spec.gate.improvement.metric
    named = ", ".join(
        f"{count} x {members[place].trial.parameters[TEMPLATE]}" for place, count in counts.items()
    )
    if len(counts) < 2 or sure < SURE:
        say(f"no blend: {named} is better than the best model in {sure:.0%} of the resamples of later rows")
        return best
    say(f"blend of {named}: better in {sure:.0%} of the resamples of later rows")
    chosen = [
        {
            "weight": count / ROUNDS,
            "epochs": members[place].epochs,
            "parameters": members[place].trial.parameters,
        }
        for place, count in counts.items()
    ]
    value = _measured(spec, validation, np.ones(len(validation), dtype=bool), answer)[metric]
    parameters = {TEMPLATE: BLEND, MEMBERS: json.dumps(chosen, sort_keys=True)}
    return Trial(number=max(trial.number for trial in trials) + 1, parameters=parameters, value=value)


def _candidates(spec: ModelSpec, trials: Sequence[Trial]) -> list[Trial]:
    sign = 1 if spec.task.metrics[spec.gate.improvement.metric].lower_is_better else -1
    complete = [(trial.value, trial) for trial in trials if trial.value is not None]
    taken: Counter[str] = Counter()
    candidates: list[Trial] = []
    for _, trial in sorted(complete, key=lambda pair: sign * pair[0]):
        template = str(trial.parameters[TEMPLATE])
        if taken[template] < PER_TEMPLATE and len(candidates) < CANDIDATES:
            taken[template] += 1
            candidates.append(trial)
    return candidates


def _fitted(spec: ModelSpec, split: TimeSplit, build: Callable[..., Any], trial: Trial) -> _Member:
    model = build(spec.features.names, trial.parameters, spec.tuning.seed, spec.task)
    epochs = model.fit(split.learn, split.validation, spec.tuning.epochs, lambda *_: None)
    return _Member(trial, epochs, model.predict(split.validation.features).astype(float))


def _greedy(
    spec: ModelSpec, validation: Examples, rows: np.ndarray, members: Sequence[_Member]
) -> Counter[int]:
    """Return how often each member is taken, by its place."""
    counts: Counter[int] = Counter()
    for _ in range(ROUNDS):
        gains = [
            _gain(spec, validation, rows, _mean(members, counts + Counter([place])))
            for place in range(len(members))
        ]
        counts[int(np.argmax(gains))] += 1
    return counts


def _mean(members: Sequence[_Member], counts: Counter[int]) -> np.ndarray:
    total = sum(counts.values())
    return np.asarray(sum(members[place].answer * (count / total) for place, count in counts.items()))


def _gain(spec: ModelSpec, validation: Examples, rows: np.ndarray, answer: np.ndarray) -> float:
    """Return the metric that the search improves, higher is better."""
    metric = spec.gate.improvement.metric
    value = _measured(spec, validation, rows, answer)[metric]
    return -np.inf if np.isnan(value) else spec.task.gain(metric, value, 0.0)


def _share_better(
    spec: ModelSpec, validation: Examples, rows: np.ndarray, answer: np.ndarray, other: np.ndarray
) -> float:
    """Return the share of the resamples of whole groups in which an answer is better than the other."""
    metric, random = spec.gate.improvement.metric, np.random.default_rng(spec.tuning.seed)
    target, group = validation.target[rows], validation.group[rows]
    scored = [spec.task.scored(target, given[rows], group) for given in (answer, other)]
    number = len(np.unique(group))
    better = 0
    for _ in range(RESAMPLES):
        weights = random.multinomial(number, np.full(number, 1 / number)).astype(float)
        new, old = (given.measure(weights)[metric] for given in scored)
        better += bool(spec.task.gain(metric, new, old) > 0)  # false for NaN
    return better / RESAMPLES


def _measured(
    spec: ModelSpec, validation: Examples, rows: np.ndarray, answer: np.ndarray
) -> dict[str, float]:
    return spec.task.scored(validation.target[rows], answer[rows], validation.group[rows]).measure()
