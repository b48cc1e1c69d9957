"""Counts of several serving machines: one with broken or made-up counts decides for no candidate alone."""

from __future__ import annotations

import functools

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.core.machine import joined
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.over_machines import bounded, judge_over_machines
from perennial.core.release.status import LabelCounts
from perennial.core.release.traffic import Counters
from perennial.core.release_spec import CriteriaSpec
from perennial.core.verdict import Judgement, Verdict

INF = float("inf")
CRITERIA = CriteriaSpec(
    min_requests=500, error_rate_max=0.1, error_rate_increase=0.02, latency_p95_ratio=2.0, latency_p95_floor_ms=50.0,
    accuracy_drop=0.1, min_labels=50, confidence=0.95, max_errors_in_a_row=5,
)  # fmt: skip
JUDGE = functools.partial(
    judge_traffic, CRITERIA, candidate_labels=LabelCounts(), champion_labels=LabelCounts()
)


def counted(requests: int, errors: int = 0) -> Counters:
    return Counters(requests=requests, errors=errors, buckets=((10.0, requests), (INF, requests)))


def both(**machines: Counters) -> Counters:
    by_machine = {name: {"canary": counters} for name, counters in machines.items()}
    return joined(by_machine, ["canary"], by_machine)["canary"]


def judged(candidate: Counters, champion: Counters) -> dict[str, Judgement]:
    judgements = judge_over_machines(JUDGE, *bounded(candidate, champion))
    return {judgement.rule: judgement for judgement in judgements}


HEALTHY = both(a=counted(9000), b=counted(9000))


def test_two_machines_that_agree_are_judged_as_one():
    candidate = both(a=counted(300, 1), b=counted(280, 1))
    assert judged(candidate, HEALTHY)["requests"].verdict is Verdict.PASS
    assert bounded(candidate, HEALTHY)[0].requests == 560, "the larger part counts as the smaller one"
    alone = judge_over_machines(JUDGE, counted(600, 1), counted(9000))
    assert alone == JUDGE(counted(600, 1), counted(9000))


def test_invented_requests_are_no_evidence_that_a_candidate_was_tried_enough():
    made_up = judged(both(a=counted(60), b=counted(1_000_000)), HEALTHY)
    assert made_up["requests"].verdict is Verdict.UNSURE
    assert made_up["requests"].observed.startswith("120 to the candidate")


def test_invented_successes_do_not_hide_what_the_others_see():
    """Also none that stay below the bound."""
    for invented in (1_000_000, 2000):
        rule = judged(both(a=counted(2000, 60), b=counted(invented)), HEALTHY)["error_increase"]
        assert rule.verdict is not Verdict.PASS
    assert (
        judged(both(a=counted(2000, 50), b=counted(2000)), HEALTHY)["error_increase"].verdict
        is Verdict.UNSURE
    )


def test_a_machine_that_alone_sees_harm_ends_the_release_and_is_named():
    rule = judged(both(a=counted(2000), b=counted(2000, 400)), HEALTHY)["error_increase"]
    assert rule.verdict is Verdict.FAIL
    assert rule.observed.endswith("not without the counts of b")


def test_a_machine_that_answers_alone_counts_in_full():
    """The others get no requests at all, or are lost: there is nothing to compare with."""
    idle = both(a=counted(600), b=Counters())
    assert bounded(idle, both(a=counted(9000), b=Counters()))[0].requests == 600
    lost = joined({"a": {"canary": counted(600)}, "b": {"canary": counted(40)}}, ["canary"], ["a"])["canary"]
    assert (lost.requests, lost.parts) == (640, {})
    assert bounded(idle, HEALTHY)[0].requests == 0, "b has the champion's traffic and none of the candidate's"


PARTS = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.integers(0, 3000), st.integers(0, 50)), min_size=2
)


@settings(max_examples=examples(200), deadline=None)
@given(PARTS, st.integers(0, 10_000_000))
def test_no_counts_of_one_machine_weigh_more_than_those_of_all_others(parts, invented):
    machines = {name: counted(max(n, e), e) for name, (n, e) in parts.items()}
    liar = sorted(machines)[0]
    honest = sum(part.requests for name, part in machines.items() if name != liar)
    candidate, _ = bounded(
        both(**{**machines, liar: counted(invented)}), both(**dict.fromkeys(machines, counted(5)))
    )
    assert candidate.requests <= 2 * honest
    assert candidate.without(liar).requests <= honest


@pytest.mark.parametrize("refused", [0, 40])
def test_the_rest_is_what_the_others_have_counted(refused):
    part = counted(100, 3).model_copy(update={"refused": refused})
    total = both(a=part, b=counted(50, 1)).evidence()
    assert (total.without("a").requests, total.without("a").errors) == (50, 1)
    assert total.plus(Counters()).parts["b"] == counted(50, 1)
    assert Counters.model_validate_json(total.model_dump_json()) == total
    assert "parts" not in counted(5).model_dump_json()
