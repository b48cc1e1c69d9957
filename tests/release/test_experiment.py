"""Which stretch of a release is an experiment, and when its split is not to be trusted."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from perennial.core.release.analysis.sample_ratio import judge_split
from perennial.core.release.traffic import UserCounts
from perennial.core.verdict import Verdict
from perennial.flows.experiment import gather as flow

HOURS = timedelta(hours=1)


def judged(control: int, treatment: int, weight: float = 50.0, crossed: int = 0):
    units = UserCounts(by_variant={"1.0.0": control, "1.1.0": treatment}, crossed=crossed)
    return judge_split(units, "1.0.0", "1.1.0", weight, alpha=0.001)


@pytest.mark.parametrize(
    ("control", "treatment", "weight", "verdict"),
    [
        (0, 0, 50, Verdict.PASS),
        (520, 480, 50, Verdict.PASS),
        (5000, 4400, 50, Verdict.UNSURE),
        (9500, 500, 5, Verdict.PASS),
        (9300, 700, 5, Verdict.UNSURE),
    ],
)
def test_split_is_trusted_until_refuted(control, treatment, weight, verdict):
    assert judged(control, treatment, weight).verdict is verdict


def test_users_on_both_sides_are_told():
    assert "3 on both sides" in judged(50, 50, crossed=3).observed


@pytest.mark.slow
def test_honest_split_is_refuted_as_rarely_as_said():
    """400 experiments, each looked at after every user up to 2,000."""
    drawn = np.random.default_rng(5).random((400, 2000)) < 0.2
    looks = range(10, 2001, 10)
    counts = drawn.cumsum(axis=1)

    @cache  # experiments meet the same counts
    def alarmed(n: int, k: int) -> bool:
        users = UserCounts(by_variant={"a": n - k, "b": k})
        return judge_split(users, "a", "b", 20.0, 0.05).verdict is Verdict.UNSURE

    alarms = sum(any(alarmed(n, int(row[n - 1])) for n in looks) for row in counts)
    assert alarms / 400 <= 0.05


def test_last_fixed_split_is_the_experiment(world):
    world.release_first()
    world.use("canary", shadow=None)
    status = world.open_second()
    find = lambda: flow.find_experiment(  # noqa: E731
        status.model, None, world.store.releases, world.store.ledger, world.now
    )
    first = find()
    assert (first.weight, first.running, first.name) == (5, True, status.release_id)
    assert (first.control, first.treatment, first.until) == ("1.0.0", "1.1.0", world.now)
    world.serve(3000, 6000)
    world.passes(status.release_id, 1, 6 * 3600)
    second = find()
    assert (second.weight, second.since) == (20, world.now)
    world.serve(3000, 6000)
    world.passes(status.release_id, 1, 12 * 3600)
    third, begun = find(), world.now
    world.serve(6000, 6000)
    world.passes(status.release_id, 2, 24 * 3600)
    ended = find()
    assert (third.weight, ended.weight, ended.running) == (50, 50, False)
    assert (ended.since, ended.until - begun) == (begun, 24 * HOURS)
