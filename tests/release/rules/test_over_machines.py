"""Counts of several serving machines: one with broken or made-up counts decides for no candidate alone."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from some_release import a_release

from perennial.core.machine import VALUES, CallName, Tally, joined
from perennial.core.release.analysis.clusters import independent
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.over_machines import bounded, judge_over_machines
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.observation import Observation
from perennial.core.release.phase import Phase
from perennial.core.release.step_analysis import step_counters
from perennial.core.release.traffic import Counters
from perennial.core.release.transition import Transition
from perennial.core.release_spec import CriteriaSpec
from perennial.core.verdict import Judgement, Verdict

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
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


def judged(candidate: Counters, champion: Counters, reporting=("a", "b")) -> dict[str, Judgement]:
    judgements = judge_over_machines(JUDGE, *bounded(candidate, champion, reporting), independent)
    return {judgement.rule: judgement for judgement in judgements}


HEALTHY = both(a=counted(9000), b=counted(9000))


def test_two_machines_that_agree_are_judged_as_one():
    candidate = both(a=counted(300, 1), b=counted(280, 1))
    assert judged(candidate, HEALTHY)["requests"].verdict is Verdict.PASS
    assert bounded(candidate, HEALTHY, "ab")[0].requests == 560, "the larger part counts as the smaller one"
    alone = judge_over_machines(JUDGE, counted(600, 1), counted(9000), independent)
    assert alone == JUDGE(counted(600, 1), counted(9000), clusters=independent)


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
    assert bounded(idle, both(a=counted(9000), b=Counters()), "ab")[0].requests == 600
    assert bounded(both(a=counted(600), b=counted(40)), HEALTHY, "a")[0].requests == 640
    assert bounded(idle, HEALTHY, "ab")[0].requests == 0, (
        "b has the champion's traffic and none of the candidate's"
    )


def test_a_machine_that_lies_and_falls_silent_weighs_no_more_than_the_others():
    candidate = both(a=counted(600, 30), b=counted(1_000_000))
    assert bounded(candidate, HEALTHY, "a")[0].requests == 1200
    assert judged(candidate, HEALTHY, "a")["error_increase"].verdict is not Verdict.PASS


def test_machines_of_one_role_are_one():
    """A role may report up to 200 machines, named role.name."""
    puppets = {f"b.{number}": counted(600) for number in range(20)}
    assert bounded(both(a=counted(600, 30), **puppets), HEALTHY, ["a", *puppets])[0].requests == 1200


def test_counts_that_no_router_has_are_refused():
    """Those of a machine that answers so are left out; a number that no float holds would end each pass."""
    huge = "1" + "0" * 400
    for counters in (
        f'{{"requests": {huge}}}', f'{{"errors": {huge}}}', f'{{"buckets": [[10, {huge}]]}}',
        '{"buckets": [[10, -1]]}', '{"parts": {"a": {"requests": 5}}}',
    ):  # fmt: skip
        for kind in (VALUES[CallName.COUNTERS], TypeAdapter(Tally)):
            pools = f'{{"canary": {counters}}}'
            with pytest.raises(ValidationError):
                kind.validate_json(pools if kind is VALUES[CallName.COUNTERS] else f'{{"last": {pools}}}')


def after(*looks: dict[str, Counters]) -> tuple[int, int]:
    """Return requests and errors of the candidate in a step that looks so often at the machines that answer.

    A name in upper case is a machine that does not answer, with what it has stored.
    """
    status, passes = a_release(NOW, Phase.CANARY), 0
    for machines in looks:
        by_machine = {name.lower(): {"canary": counters} for name, counters in machines.items()}
        answering = [name for name in machines if name.islower()]
        seen = Observation(counters=joined(by_machine, ["canary", "stable"], answering))
        begin = {"baseline": seen.counters} if not passes else {}
        transition = Transition(status.model_copy(update=begin), seen, NOW)
        candidate, _ = step_counters(transition)
        status, passes = transition.status, passes + 1
    return candidate.requests, candidate.errors


def test_what_a_machine_stores_that_does_not_answer_is_no_evidence():
    """It need not answer: the rows of its counters are its own."""
    first, last = {"a": counted(100), "B": counted(10)}, {"a": counted(160, 9), "B": counted(1_000_000)}
    assert after(first, last) == (60, 9)
    back = {"a": counted(160, 9), "b": counted(1_000_000)}
    assert after(first, back) == (60, 9), "what it has counted before it is back says nothing of this step"
    assert after(first, back, {"a": counted(200, 9), "b": counted(1_000_100)}) == (200, 9)


def test_a_machine_whose_counters_fall_makes_no_old_answers_of_the_others_new():
    """The candidate got what earlier candidates were good for."""
    history = {"a": counted(50_000), "b": counted(50_000)}
    fallen = {"a": counted(50_060, 9), "b": counted(0)}
    assert after(history, fallen, {"a": counted(50_120, 18), "b": counted(120)}) == (240, 18)


def test_a_machine_that_is_lost_keeps_what_it_counted_in_the_step():
    begin, both_answer = {"a": counted(0), "b": counted(0)}, {"a": counted(40), "b": counted(40, 4)}
    assert after(begin, both_answer, {"a": counted(600), "B": counted(40, 4)}) == (640, 4)


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
        both(**{**machines, liar: counted(invented)}), both(**dict.fromkeys(machines, counted(5))), machines
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
