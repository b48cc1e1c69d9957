"""False alarms and delays of what asks for a retraining: the detector of harm beside other rules.

Run: python benchmarks/false_alarms.py [--streams 1000] [--others 100] [--months 1] [--users]   (minutes on one core)

Answers come in CI cycles of 80 rows; `correlation` is that of two rows of a cycle. A reference of 4,000 rows, 20,000
rows without a loss (a month), then `--months` with an accuracy 5 points lower. `requests`: a cycle is one; `rows`:
each row is one, and nothing says which belong together. `false`: streams with an alarm in the month without a loss;
`found`: of the others, those with an alarm after the loss; delay: rows until then, median and 95 % quantile (`never`
where more than 5 % were not found). `any loss`: the detector, a cycle a request, where no loss is tolerated, as the
other rules tolerate none (shipped specs: 1 %). `least`: the delay that no rule with as few false alarms undercuts for
independent rows (Lorden 1971), in the mean. Others: `exact` is the same detector with the bounded bets of Shin, Ramdas
and Rinaldo; `test` is what asked before it, a one-sided 95 % test of each window of 1,500 rows, each a request, for a
loss of more than 10 % as shipped then, or of 2 %, at most three alarms a week; ADWIN and Page-Hinkley on errors as
`river` ships them, left out where it is not installed. The budget is one false alarm a month over eight models, so an
eighth here. `--users`: rows of users whose accuracies differ, instead of cycles; the reference has 200 others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.stats

from perennial.core.monitoring import harm_evidence as evidence
from perennial.core.monitoring.levels import AccuracyEstimate

MONTH, REFERENCE, CYCLE, DROP = 20_000, 4_000, 80, 0.05
BUDGET, TOLERATED = 1 / 8, 0.01
KNOWN_USERS = 200
LOOK = 240
"""Rows between two looks of the windows' test."""


def streams(
    rng: np.random.Generator, count: int, rows: int, accuracy: float, correlation: float
) -> np.ndarray:
    """Return right answers in cycles, bool [streams, rows]."""
    cycles = (count, -(-rows // CYCLE))
    if correlation:
        both = 1 / correlation - 1
        chance = rng.beta(accuracy * both, (1 - accuracy) * both, cycles)
    else:
        chance = np.full(cycles, accuracy)
    return (rng.random((count, cycles[1], CYCLE), dtype=np.float32) < chance[..., None]).reshape(count, -1)[
        :, :rows
    ]


def users_streams(
    rng: np.random.Generator, count: int, rows: int, users: int, correlation: float, is_even: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return a reference of `KNOWN_USERS` users, one after the other, and rows of other users in any order.

    Accuracies of users are drawn about 90 %; in the second half of the rows each is `DROP` lower. Both bool
    [streams, ...].

    Args:
        correlation: of two rows of a user.
        is_even: users send equally many rows; else the k-th sends 1 / k of what the first does.
    """
    both = 1 / correlation - 1
    known = rng.beta(0.9 * both, 0.1 * both, (count, KNOWN_USERS))
    reference = rng.random((count, KNOWN_USERS, REFERENCE // KNOWN_USERS)) < known[..., None]
    chance = rng.beta(0.9 * both, 0.1 * both, (count, users))
    share = np.full(users, 1.0) if is_even else 1 / np.arange(1, users + 1)
    who = rng.choice(users, size=(count, rows), p=share / share.sum())
    right = np.take_along_axis(chance, who, axis=1)
    right[:, rows // 2 :] -= DROP
    return reference.reshape(count, -1), rng.random((count, rows)) < right


def user_lines(count: int, seed: int) -> Iterator[str]:
    """Yield a line for each number of users, how unequal they are, and how evenly they send."""
    rng = np.random.default_rng([seed, 1])
    for correlation in (0.05, 0.1):
        for users in (10, 30, 200, 1000):
            for is_even in (True, False):
                known, right = users_streams(rng, count, 2 * MONTH, users, correlation, is_even)
                alarms = detected(reference_of(known, CYCLE), batch_means(right, CYCLE))
                name = f"{users} users, correlation {correlation}, {'even' if is_even else 'unequal'}"
                yield f"  {name:40} {found(*figures(alarms, CYCLE))}"


def batch_means(right: np.ndarray, size: int) -> np.ndarray:
    """Return the means of batches, float [streams, batches]."""
    count = right.shape[1] // size
    return right[:, : count * size].reshape(len(right), count, size).mean(axis=2)


def reference_of(right: np.ndarray, size: int) -> Any:
    """Return the figures of `BatchedReference` for each stream."""
    means = batch_means(right, size)
    return SimpleNamespace(
        mean=means.mean(axis=1), variance=means.var(axis=1, ddof=1), batches=means.shape[1],
        weight=float(means.shape[1]), size=size, is_share=True,
    )  # fmt: skip


def detected(
    reference: Any,
    means: np.ndarray,
    exact: bool = False,
    budget: float = BUDGET,
    tolerated: float = TOLERATED,
) -> np.ndarray:
    """Return the batch of each alarm, bool [streams, batches]; the detector begins anew after each."""
    count, batches = means.shape
    grown, runs = np.zeros((count, *evidence.SHAPE)), evidence.RunSums.none(count)
    history, alarms = evidence.History(), np.zeros(means.shape, dtype=bool)
    quantile = float(scipy.stats.t.ppf(evidence.REFERENCE_MARGIN, reference.batches - 1))
    for number in range(batches):
        mean = means[:, number]
        lines = evidence.limits(reference, history, runs, tolerated, quantile)
        gains = evidence.bets(lines, mean, 1.0, evidence.deviation(reference, history))
        if exact:
            gains = np.log1p(np.array([0.1, 0.25, 0.5, 0.9]) / (1 - lines) * (lines - mean[:, None, None]))
        grown = evidence.grown(grown, gains, budget * reference.size / MONTH)
        runs = runs.with_batch(gains, mean - reference.mean, 1.0)
        if number >= evidence.FIRST:
            alarms[:, number] = evidence.total(grown) >= 1
            grown[alarms[:, number]] = 0
        history = history.with_batch(mean - reference.mean, 1.0)
    return alarms


def tested(reference: np.ndarray, right: np.ndarray, level: float) -> list[int]:
    """Return the rows at which the test of windows asks: one stream."""
    known = AccuracyEstimate.of(reference, np.arange(len(reference)) // CYCLE)
    asked: list[int] = []
    alone = np.arange(1500)
    for end in range(1500, len(right) + 1, LOOK):
        seen = AccuracyEstimate.of(right[end - 1500 : end], alone)
        assert known is not None
        assert seen is not None
        limit = known.value * (1 - level)
        error = np.hypot((1 - level) * known.error, seen.error)
        quantile = _quantile(min(known.batches, seen.batches) - 1)
        week = [at for at in asked if at > end - MONTH * 7 / 30]
        if limit - seen.value > quantile * error and len(week) < 3:
            asked.append(end)
    return asked


_QUANTILES: dict[int, float] = {}


def _quantile(freedom: int) -> float:
    if freedom not in _QUANTILES:
        _QUANTILES[freedom] = float(scipy.stats.t.ppf(0.95, freedom))
    return _QUANTILES[freedom]


def by_river(name: str, right: np.ndarray) -> list[int]:
    """Return the rows at which a detector of `river` says that errors have become more: one stream."""
    drift = import_module("river.drift")
    rule = drift.ADWIN() if name == "ADWIN" else drift.PageHinkley(mode="up")
    asked, mean = [], 0.0
    for row, good in enumerate(right):
        wrong = 0.0 if good else 1.0
        rule.update(wrong)
        mean += (wrong - mean) / (row + 1)
        if rule.drift_detected and (name != "ADWIN" or rule.estimation > mean):
            asked.append(row + 1)
    return asked


def found(first_false: np.ndarray, delays: np.ndarray) -> str:
    """Return the figures of a rule.

    Args:
        first_false: bool [streams]: an alarm before the loss.
        delays: float [streams]: rows from the loss to the first alarm after it; inf where there was none.
    """
    middle, most = np.quantile(delays, [0.5, 0.95], method="inverted_cdf")
    low, high = scipy.stats.binomtest(int(first_false.sum()), len(first_false)).proportion_ci()
    shown = ["never" if np.isinf(value) else f"{value:,.0f}" for value in (middle, most)]
    return (
        f"false {first_false.mean():6.1%} [{low:.1%}, {high:.1%}]  found {np.isfinite(delays).mean():6.1%}  "
        f"delay {shown[0]:>6} / {shown[1]:>6}"
    )


def figures(alarms: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which streams had a false alarm, and the delay of each, from bool [streams, batches]."""
    before = MONTH // size
    after = alarms[:, before:]
    delays = np.where(after.any(axis=1), (after.argmax(axis=1) + 1.0) * size, np.inf)
    return alarms[:, :before].any(axis=1), delays


def least_delay(accuracy: float) -> float:
    """Return Lorden's bound for independent rows: log(rows between false alarms) / information of a row."""
    before, after = np.array([accuracy, 1 - accuracy]), np.array([accuracy - DROP, 1 - accuracy + DROP])
    return float(np.log(MONTH / BUDGET) / (after * np.log(after / before)).sum())


def lines(count: int, others: int, seed: int, months: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    for accuracy in (0.8, 0.9, 0.95, 0.98):
        for correlation in (0.0, 0.1, 0.3):
            known = streams(rng, count, REFERENCE, accuracy, correlation)
            calm = streams(rng, count, MONTH, accuracy, correlation)
            right = np.concatenate(
                [calm, streams(rng, count, months * MONTH, accuracy - DROP, correlation)], axis=1
            )
            least = f", least {least_delay(accuracy):,.0f}" if not correlation else ""
            yield f"accuracy {accuracy}, correlation {correlation}{least}"
            for name, size, exact, tolerated in (
                ("requests", CYCLE, False, TOLERATED),
                ("rows", 80, False, TOLERATED),
                ("exact", CYCLE, True, TOLERATED),
                ("any loss", CYCLE, False, 0.0),
            ):
                shift = CYCLE // 2 if name == "rows" else 0  # batches cut cycles in the middle
                means = batch_means(np.roll(right, -shift, axis=1), size)
                alarms = detected(reference_of(known, size), means, exact, tolerated=tolerated)
                yield f"  {name:12} {found(*figures(alarms, size))}"
            if accuracy == 0.9 and others:
                yield from _others(known[:others], right[:others])


def _others(known: np.ndarray, right: np.ndarray) -> Iterator[str]:
    rules: dict[str, Any] = {
        "test, 10 %": lambda row: tested(known[row].astype(float), right[row].astype(float), 0.10),
        "test, 2 %": lambda row: tested(known[row].astype(float), right[row].astype(float), 0.02),
    }
    try:
        import_module("river.drift")
    except ModuleNotFoundError:
        yield "  (river is not installed: ADWIN and Page-Hinkley are left out)"
    else:
        for name in ("ADWIN", "Page-Hinkley"):
            rules[name] = lambda row, name=name: by_river(name, right[row])
    for name, rule in rules.items():
        asked = [np.asarray(rule(row)) for row in range(len(right))]
        early = np.array([bool((at <= MONTH).any()) for at in asked])
        delays = [at[at > MONTH] - MONTH for at in asked]
        yield f"  {name:12} {found(early, np.array([late[0] if len(late) else np.inf for late in delays]))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000, help="streams per line of the detector")
    parser.add_argument("--others", type=int, default=100, help="of them, those that other rules see")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--months", type=int, default=1, help="months of 20,000 rows after the loss")
    parser.add_argument("--users", action="store_true", help="rows of unequal users instead of cycles")
    given, started = parser.parse_args(), time.perf_counter()
    chosen = (
        user_lines(given.streams, given.seed)
        if given.users
        else lines(given.streams, given.others, given.seed, given.months)
    )
    for text in chosen:
        print(text, flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
