"""Choose features by their gain on later rows, and prove the choice on still later ones.

The rows before the holdout are cut in time: a learner is fitted to the first part, candidates are chosen on the
second, and the choice is tested on the third, which had no part in it. So it does not matter how many candidates were
looked at. The chosen ones are tested in the order of the choice, each beside those before it, and the first that is not
proven ends the test: a fixed sequence of tests keeps the chance of any wrong decision at that of a single test (P. H.
Westfall, A. Krishen, "Optimally weighted, fixed sequence and gatekeeper multiple testing procedures", Journal of
Statistical Planning and Inference 2001). Intervals are 95 % intervals over resampled whole groups, the same resamples
for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perennial.core.evaluation.metrics import Estimate, estimates
from perennial.core.frozen import Frozen
from perennial.core.tasks import Task
from perennial.core.training.examples import Examples
from perennial.errors import DataError

Learner = Callable[[Task, Examples, np.ndarray], np.ndarray]
"""Fits to examples and answers rows."""
LEARN, CHOOSE = 0.6, 0.8
"""Shares of the groups up to which rows are learnt from, and candidates are chosen."""
LEAST_GROUPS = 10
MOST_ROWS = 20_000
"""Newest rows that a learner is fitted to."""
MOST_TRIED = 20
"""Best candidates that are tried beside those chosen before them."""


class Candidate(Frozen):
    """A candidate with its gains; null where it was not measured."""

    name: str
    alone: Estimate | None = None
    """Gain over the present features, on the rows of the choice; null for the same value in every row."""
    chosen: bool = False
    """It also improves what was chosen before it, on the same rows."""
    proof: Estimate | None = None
    """Gain over the present features and those chosen before it, on the rows of the proof."""
    kept: bool = False


class Choice(Frozen):
    """Candidates, in the order of their gain, and the gain of all that are kept."""

    metric: str
    rows: tuple[int, int, int]
    """Rows to learn from (the newest at most 20,000 of them are used), of the choice, and of the proof."""
    groups: tuple[int, int, int]
    candidates: tuple[Candidate, ...]
    total: Estimate | None = None
    """Gain of the kept ones over the features as they are, on the rows of the proof; null where none is kept."""

    @property
    def kept(self) -> tuple[str, ...]:
        """Return the names of the kept candidates."""
        return tuple(candidate.name for candidate in self.candidates if candidate.kept)


@dataclass(frozen=True)
class Chooser:
    """The rows before the holdout in time order, and how gains are measured on them."""

    task: Task
    metric: str
    present: Examples
    """Rows with the features as they are."""
    base: np.ndarray
    """Features that stay, float32 [n, k]: those of `present`, or fewer where an input becomes the key."""
    candidates: np.ndarray
    """float32 [n, names]."""
    learner: Learner
    resamples: int
    seed: int

    def choose(self, names: Sequence[str], say: Callable[[str], None]) -> Choice:
        """Return the candidates with their gains.

        Raises:
            DataError: too few groups, or the metric is undefined on some of the rows.
        """
        group = self.present.group
        groups = np.unique(group)
        if len(groups) * (1 - CHOOSE) < LEAST_GROUPS:
            raise DataError(
                f"{len(groups)} groups before the holdout are too few to choose and prove",
                hint=f"bring {round(LEAST_GROUPS / (1 - CHOOSE))} of them: more data, or a shorter data.source.period",
            )
        first, second = (groups[int(len(groups) * share)] for share in (LEARN, CHOOSE))
        early, middle, late = group < first, (group >= first) & (group < second), group >= second
        say(f"{early.sum()} rows to learn from, {middle.sum()} to choose, {late.sum()} to prove")
        gains = self._alone(names, early, middle, say)
        chosen = self._chosen(names, gains, early, middle, say)
        proofs = self._proofs(chosen, ~late, late)
        kept = list(proofs)[: next((n for n, proof in enumerate(proofs.values()) if proof.low <= 0), None)]
        total = self._total(kept, ~late, late) if kept else None
        if total is not None and total.low <= 0:  # an input that becomes the key was worth more
            kept = []
        ordered = sorted(range(len(names)), key=lambda n: (n not in chosen, -_value(gains[n])))
        return Choice(
            metric=self.metric,
            rows=(int(early.sum()), int(middle.sum()), int(late.sum())),
            groups=tuple(len(np.unique(group[part])) for part in (early, middle, late)),
            candidates=tuple(
                Candidate(
                    name=names[n], alone=gains[n], chosen=n in chosen, proof=proofs.get(n), kept=n in kept
                )
                for n in ordered
            ),
            total=total,
        )

    def _alone(
        self, names: Sequence[str], learnt: np.ndarray, judged: np.ndarray, say: Callable[[str], None]
    ) -> list[Estimate | None]:
        base = self._answer([], learnt, judged)
        gains: list[Estimate | None] = []
        for place, name in enumerate(names):
            known = self.candidates[learnt, place]
            if len(np.unique(known)) < 2:  # NaN counts as a value
                gains.append(None)
                continue
            gains.append(self._gain(self._answer([place], learnt, judged), base, judged))
            say(f"candidate {place + 1}/{len(names)} {name}: {self.metric} gain {gains[-1]}")
        return gains

    def _chosen(
        self,
        names: Sequence[str],
        gains: Sequence[Estimate | None],
        learnt: np.ndarray,
        judged: np.ndarray,
        say: Callable[[str], None],
    ) -> list[int]:
        """Return the candidates that improve each other, the best first."""
        promising = [n for n, gain in enumerate(gains) if gain is not None and gain.low > 0]
        chosen: list[int] = []
        answer = self._answer([], learnt, judged)
        for place in sorted(promising, key=lambda n: -_value(gains[n]))[:MOST_TRIED]:
            other = self._answer([*chosen, place], learnt, judged)
            if self._gain(other, answer, judged).low > 0:
                chosen, answer = [*chosen, place], other
                say(f"chosen: {names[place]}")
        return chosen

    def _proofs(self, chosen: Sequence[int], learnt: np.ndarray, judged: np.ndarray) -> dict[int, Estimate]:
        proofs: dict[int, Estimate] = {}
        answer = self._answer([], learnt, judged)
        for number, place in enumerate(chosen):
            other = self._answer(chosen[: number + 1], learnt, judged)
            proofs[place] = self._gain(other, answer, judged)
            answer = other
        return proofs

    def _total(self, kept: Sequence[int], learnt: np.ndarray, judged: np.ndarray) -> Estimate:
        present = self._fitted(self.present.features, learnt, judged)
        return self._gain(self._answer(kept, learnt, judged), present, judged)

    def _answer(self, places: Sequence[int], learnt: np.ndarray, judged: np.ndarray) -> np.ndarray:
        return self._fitted(np.hstack([self.base, self.candidates[:, list(places)]]), learnt, judged)

    def _fitted(self, features: np.ndarray, learnt: np.ndarray, judged: np.ndarray) -> np.ndarray:
        rows = learnt.nonzero()[0][-MOST_ROWS:]
        train = Examples(features[rows], self.present.target[rows], self.present.group[rows])
        train.refuse_one_target()
        return self.learner(self.task, train, features[judged])

    def _gain(self, answer: np.ndarray, other: np.ndarray, judged: np.ndarray) -> Estimate:
        target, group = self.present.target[judged], self.present.group[judged]
        features = self.present.features[judged]
        scores = {
            name: self.task.scored(target, given, group, features)
            for name, given in (("new", answer), ("old", other))
        }
        return estimates(scores, "old", self.resamples, self.seed)[1]["new"][self.metric]


def _value(gain: Estimate | None) -> float:
    return -np.inf if gain is None else gain.value
