"""Gaps between groups: found where they are, with intervals that hold for rows that come in cycles."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.adapters.fairlearn_groups import group_figures
from perennial.core.evaluation import fairness
from perennial.core.evaluation.fairness import Answers
from perennial.core.gate_spec import GroupMeasure
from perennial.core.verdict import Verdict

ERROR = GroupMeasure.ERROR_RATE


def sample(rates, rows=4000, per_cycle=40, seed=2, together=0.0):
    """Rows whose answer is wrong with the chance of their group, more so in bad cycles."""
    random = np.random.default_rng(seed)
    cycles = np.arange(rows) // per_cycle
    values = random.choice(list(rates), rows)
    shift = random.uniform(-together, together, cycles.max() + 1)[cycles]
    wrong = random.random(rows) < np.array([rates[value] for value in values]) + shift
    target = random.random(rows) < 0.4
    return Answers(target, target != wrong, cycles, values)


def judge(answers, limit=0.1, measure=ERROR, resamples=200, sensitive=True):
    figures = group_figures(answers, measure)
    found = fairness.gap(answers, measure, figures, resamples, np.random.default_rng(3))
    return fairness.judge_gap(measure, figures, found, limit, sensitive), found


@pytest.mark.parametrize("measure", list(GroupMeasure))
def test_figures_of_fairlearn_are_what_is_resampled(measure):
    answers = sample({"a": 0.1, "b": 0.3, "c": 0.2})
    hits, counted = answers.hits(measure), answers.counted(measure)
    figures = group_figures(answers, measure)
    assert sorted(figures) == ["a", "b", "c"]
    for name, figure in figures.items():
        mine = (answers.values == name) & counted
        assert figure == pytest.approx(hits[mine].mean(), abs=1e-12)


def test_gap_that_is_proven_fails():
    assert judge(sample({"a": 0.2, "b": 0.22}))[0].verdict is Verdict.PASS
    judged, _ = judge(sample({"a": 0.2, "b": 0.5}))
    assert judged.verdict is Verdict.FAIL
    assert "error rate gap" in judged.observed


def test_gap_that_is_large_and_not_proven_is_unsure():
    assert judge(sample({"a": 0.2, "b": 0.27}, rows=240), 0.02)[0].verdict is Verdict.UNSURE


def test_rows_that_stand_or_fall_together_prove_less():
    free = judge(sample({"a": 0.3, "b": 0.3}, rows=1600, per_cycle=80))[1]
    random = np.random.default_rng(5)
    # One cycle is one group's: its rows are all right or all wrong.
    cycles = np.arange(1600) // 80
    wrong = (random.random(20) < 0.3)[cycles]
    values = np.where(cycles % 2 == 0, "a", "b")
    clustered = judge(Answers(np.zeros(1600, bool), wrong, cycles, values))[1]
    assert clustered.high - clustered.low > 2 * (free.high - free.low)


def test_many_equal_groups_are_no_proof_of_a_gap():
    """Their sample gap is 0.1 and more by chance alone; a percentile interval would call that proven."""
    equal = dict.fromkeys("abcdefghij", 0.3)
    judged = [judge(sample(equal, rows=1500, per_cycle=15, seed=seed), 0.02)[0] for seed in range(40)]
    assert sum(one.verdict is Verdict.FAIL for one in judged) <= 4
    assert all(one.verdict is not Verdict.PASS for one in judged)


def test_interval_covers_the_true_gap():
    covered = 0
    for seed in range(60):
        found = judge(sample({"a": 0.2, "b": 0.3}, rows=2000, seed=seed, together=0.15))[1]
        covered += found.low <= 0.1 <= found.high
    assert covered >= 54


def rare(failing, cycles=300, per_cycle=40, base=0.0, gap=1.0, together=0.0, seed=1):
    """Failures in a few of many cycles, which are missed more often in group b."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(cycles), per_cycle)
    values = random.choice(["a", "b"], len(group))
    target = np.isin(group, random.choice(cycles, failing, replace=False))
    shift = random.uniform(-together, together, (2, cycles))[(values == "b").astype(int), group]
    missed = random.random(len(group)) < base + gap * (values == "b") + shift
    return Answers(target, target & ~missed, group, values)


MISSED = GroupMeasure.FALSE_NEGATIVE_RATE


def test_failures_in_few_cycles_prove_a_gap_of_everything():
    judged, gap = judge(rare(5), measure=MISSED)
    assert judged.verdict is Verdict.FAIL
    assert (gap.value, gap.low) == (1.0, 1.0)


def test_failures_in_few_cycles_rarely_prove_what_is_not_there():
    at_the_limit = (rare(5, 20, base=0.3, gap=0.1, together=0.15, seed=seed) for seed in range(80))
    proven = [judge(answers, measure=MISSED)[0].verdict is Verdict.FAIL for answers in at_the_limit]
    assert sum(proven) <= 6, "nominal 2 of 80"


def test_too_few_rows_or_cycles_say_nothing():
    answers = sample({"a": 0.2, "b": 0.5}, rows=150)
    assert fairness.comparable(answers, ERROR, 10, 2) == ["a", "b"]
    assert fairness.comparable(answers, ERROR, 100, 2) == []
    assert fairness.comparable(answers, ERROR, 10, 5) == []
    few = fairness.too_few(answers, ERROR, 0.1, sensitive=True)
    assert (few.verdict, "too few to say" in few.observed) == (Verdict.UNSURE, True)
    assert fairness.too_few(answers, ERROR, 0.1, sensitive=False).verdict is Verdict.PASS


def test_only_failing_tests_count_for_missed_ones():
    answers = sample({"a": 0.2, "b": 0.5}, rows=400)
    rare = Answers(answers.target & (answers.values == "a"), answers.answer, answers.group, answers.values)
    assert fairness.comparable(rare, GroupMeasure.FALSE_NEGATIVE_RATE, 20, 2) == ["a"]


def test_worst_measure_of_a_column_counts():
    good, bad = judge(sample({"a": 0.2, "b": 0.5}), 0.9)[0], judge(sample({"a": 0.2, "b": 0.5}), 0.1)[0]
    rule = fairness.together("team", [good, bad])
    assert (rule.rule, rule.verdict) == ("fairness_team", Verdict.FAIL)


def test_gap_between_segments_is_shown_not_judged():
    """A test without history is harder to predict for every model: the champion has the same gap."""
    judged, _ = judge(sample({"new": 0.7, "long": 0.1}), sensitive=False)
    assert (judged.verdict, judged.needed) == (Verdict.PASS, "shown: no sensitive column")
    assert "new 0." in judged.observed
