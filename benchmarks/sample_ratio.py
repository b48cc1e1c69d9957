"""Simulated false alarms of the sample ratio rule, and its delay for a real mismatch.

    python benchmarks/sample_ratio.py [--experiments 10000]

Every experiment is tested after every 10th of its first 1,000 users and every 100th of 20,000; an alarm at any
look counts. The plain chi-square at the same level and looks is shown too; it is valid for a single look only.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import gammaln
from scipy.stats import chi2

from perennial.core.release.analysis.sample_ratio import CONCENTRATION, sample_ratio

LOOKS = np.array([*range(10, 1000, 10), *range(1000, 20_001, 100)])


def p_values(treated: np.ndarray, total: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sequential and chi-square p-values of all experiments, as `core.release.analysis.sample_ratio` does.

    Args:
        treated: [experiments, looks], users of the candidate.
        total: [looks], all users.
    """
    counts = np.stack([total - treated, treated])
    shares = np.array([1 - share, share])[:, None, None]
    prior = CONCENTRATION * shares
    factor = (
        gammaln(CONCENTRATION)
        - gammaln(CONCENTRATION + total)
        + (gammaln(prior + counts) - gammaln(prior)).sum(axis=0)
        - (counts * np.log(shares)).sum(axis=0)
    )
    statistic = ((counts - total * shares) ** 2 / (total * shares)).sum(axis=0)
    return np.exp(np.minimum(0.0, -factor)), chi2.sf(statistic, 1)


def simulate(asked: float, true: float, experiments: int, rng: np.random.Generator):
    """Return the p-values of both tests, [experiments, looks]."""
    new = np.diff(LOOKS, prepend=0)
    treated = rng.binomial(new, true, (experiments, len(LOOKS))).cumsum(axis=1)
    sequential, plain = p_values(treated, LOOKS, asked)
    end = int(treated[0, -1])
    ratio = sample_ratio((int(LOOKS[-1]) - end, end), (1 - asked, asked), 0.01)
    if not np.allclose([ratio.sequential_p, ratio.p_value], [sequential[0, -1], plain[0, -1]]):
        raise AssertionError("the simulation differs from the rule")
    return sequential, plain


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=10_000)
    count = parser.parse_args().experiments
    rng = np.random.default_rng(11)
    print(f"{'intended':>9} {'level':>6} {'false alarms':>13} {'chi-square, same looks':>23}")
    for asked in (0.05, 0.2, 0.5):
        sequential, plain = simulate(asked, asked, count, rng)
        for level in (0.05, 0.01, 0.001):
            rates = [(p.min(axis=1) <= level).mean() for p in (sequential, plain)]
            print(f"{asked:9.0%} {level:6g} {rates[0]:13.2%} {rates[1]:23.1%}")
    print(f"\n{'intended':>9} {'true':>6} {'alarms':>7} {'users until then, median':>25}   (level 0.001)")
    for asked, true in ((0.5, 0.52), (0.5, 0.55), (0.2, 0.22), (0.05, 0.07)):
        sequential, _ = simulate(asked, true, count // 4, rng)
        alarmed = (sequential <= 0.001).any(axis=1)
        first = LOOKS[(sequential <= 0.001).argmax(axis=1)][alarmed]
        median = f"{np.median(first):.0f}" if alarmed.any() else "-"
        print(f"{asked:9.0%} {true:6.0%} {alarmed.mean():7.1%} {median:>25}")


if __name__ == "__main__":
    main()
