"""Consent and licences as rules of the gate."""

from __future__ import annotations

import pytest

from perennial.core.governance import licensing as terms
from perennial.core.governance.licensing import Consent, ConsentState, LicenceStatus, Licensed, Terms
from perennial.core.verdict import Verdict


def stated(state=ConsentState.GIVEN):
    return Terms(licence="MIT", consent=Consent(state=state, by="Ann", why="asked on paper"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("iofrol", ["iofrol"]),
        ("simulator (seed 7)", ["simulator"]),
        ("simulator, seed 7", ["simulator"]),
        ("iofrol + simulator (seed 7) + iofrol", ["iofrol", "simulator"]),
        ("", []),
    ],
)
def test_sources(text, names):
    assert terms.sources_of(text) == names


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (ConsentState.GIVEN, Verdict.PASS),
        (ConsentState.NOT_NEEDED, Verdict.PASS),
        (ConsentState.REFUSED, Verdict.FAIL),
    ],
)
def test_consent(state, verdict):
    judged = terms.judge_consent(["a", "b"], {"a": stated(), "b": stated(state)})
    assert judged.verdict is verdict
    assert "says Ann (asked on paper)" in judged.observed


def test_consent_that_nobody_stated_fails():
    assert terms.judge_consent(["a", "b"], {"a": stated()}).verdict is Verdict.FAIL
    assert terms.judge_consent([], {"a": stated()}).verdict is Verdict.FAIL


def licensed(*statuses):
    return [Licensed(name=f"p{place}", licence="X", status=status) for place, status in enumerate(statuses)]


@pytest.mark.parametrize("judge", [terms.judge_data_licence, terms.judge_dependencies])
def test_unknown_asks_a_person_and_forbidden_fails(judge):
    assert judge(licensed(LicenceStatus.ALLOWED)).verdict is Verdict.PASS
    unknown = judge(licensed(LicenceStatus.ALLOWED, LicenceStatus.UNKNOWN))
    assert (unknown.verdict, "p1: X (unknown)" in unknown.observed) == (Verdict.UNSURE, True)
    both = judge(licensed(LicenceStatus.UNKNOWN, LicenceStatus.FORBIDDEN))
    assert (both.verdict, "p1: X (forbidden)" in both.observed) == (Verdict.FAIL, True)


def test_data_without_a_source_is_unknown():
    assert terms.judge_data_licence([]).verdict is Verdict.UNSURE


def test_long_lists_are_cut_and_the_forbidden_come_first():
    judged = terms.judge_dependencies(licensed(*[LicenceStatus.UNKNOWN] * 20, LicenceStatus.FORBIDDEN))
    assert judged.observed.startswith("p20")
    assert "and 13 more" in judged.observed
