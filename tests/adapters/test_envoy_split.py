"""The assignment of users to variants by a real Envoy."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from envoy_split_stack import CANARY, STABLE, SplitStack, split

from perennial.core.release.traffic import Assignment

pytestmark = pytest.mark.server
USERS = [{"x-user-id": f"user-{number}"} for number in range(10_000)]
BY_HEADER = Assignment(experiment="first", header="x-user-id")
BY_COOKIE = Assignment(experiment="first", header="x-user-id", cookie="unit")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("split")) as running:
        yield running


def is_canary(answers: list[dict[str, str]]) -> np.ndarray:
    """Return for each request whether the router drew the candidate.

    The pool that answered may be the other one: on a loaded machine a late health check lets the champion stand in.
    """
    assert {answer["meant"] for answer in answers} <= {STABLE.version, CANARY.version}
    return np.array([answer["meant"] == CANARY.version for answer in answers])


def to_canary_of(stack, weight: float, assignment: Assignment, requests) -> np.ndarray:
    stack.router.apply(split(weight, assignment))
    return is_canary(stack.ask(requests))


def assert_share(to_canary: np.ndarray, share: float) -> None:
    error = math.sqrt(share * (1 - share) / len(to_canary))
    assert abs(to_canary.mean() - share) < 3.5 * error, f"{to_canary.mean():.4f}, asked for {share}"


def test_ten_thousand_users_get_their_shares_and_keep_their_variants_as_the_weight_grows(stack):
    before = np.zeros(len(USERS), bool)
    for weight in (5.0, 20.0, 50.0):
        to_canary = to_canary_of(stack, weight, BY_HEADER, USERS)
        assert_share(to_canary, weight / 100)
        assert not (before & ~to_canary).any(), "nobody leaves the candidate when its share grows"
        before = to_canary
    again = to_canary_of(stack, 50.0, BY_HEADER, USERS[:1000] * 2)
    assert (again == np.tile(before[:1000], 2)).all(), "nobody moves when asking again"


def test_two_experiments_are_independent(stack):
    first = to_canary_of(stack, 50.0, BY_HEADER, USERS[:5000])
    second = to_canary_of(stack, 50.0, BY_HEADER.model_copy(update={"experiment": "second"}), USERS[:5000])
    assert_share(second, 0.5)
    assert abs(np.corrcoef(first, second)[0, 1]) < 3.5 / math.sqrt(5000)


def test_cookie_is_minted_once_and_keeps_the_variant(stack):
    stack.router.apply(split(20.0, BY_COOKIE))
    first = stack.ask([{}] * 1000)
    cookies = [re.match(r"unit=([0-9a-f-]{36});", answer["set-cookie"]).group(1) for answer in first]
    assert cookies == [answer["unit"] for answer in first], "the server gets the same unit"
    assert len(set(cookies)) == 1000
    assert_share(is_canary(first), 0.2)
    again = stack.ask([{"cookie": f"a=1; unit={cookie}; b=2"} for cookie in cookies])
    assert (is_canary(again) == is_canary(first)).all()
    assert not any("set-cookie" in answer for answer in again)


def test_user_header_stands_before_the_cookie(stack):
    stack.router.apply(split(50.0, BY_COOKIE))
    plain = stack.ask(USERS[:300])
    with_cookie = stack.ask([{**user, "cookie": f"unit={number}"} for number, user in enumerate(USERS[:300])])
    assert (is_canary(plain) == is_canary(with_cookie)).all()
    assert not any("set-cookie" in answer for answer in plain)
    empty = stack.ask([{"x-user-id": ""}] * 100)
    assert set(is_canary(empty)) == {False, True}, "an empty header names nobody"


def test_without_header_and_cookie_each_request_stands_alone(stack):
    assert_share(to_canary_of(stack, 5.0, BY_HEADER, [{}] * 5000), 0.05)
    same_id = {"x-request-id": "1e9a7a3c-0000-4000-8000-000000000001"}
    answers = stack.ask([same_id] * 5000)
    assert_share(is_canary(answers), 0.05)
    assert not any("set-cookie" in answer for answer in answers)


@pytest.mark.parametrize("assignment", [None, BY_HEADER])
def test_no_client_chooses_a_version_by_the_request_id(stack, assignment):
    """Envoy picks by the request id, so that one id would always reach the same version."""
    stack.router.apply(split(50.0, assignment))
    answers = stack.ask([{"x-request-id": "1e9a7a3c-0000-4000-8000-000000000001"}] * 100)
    assert {answer["arm"] for answer in answers} == {"stable", "canary"}


def test_server_gets_the_variant_and_a_client_cannot_set_it(stack):
    stack.router.apply(split(50.0, BY_HEADER))
    forged = {"x-perennial-arm": "9.9.9", "x-perennial-unit": "me"}
    for answer in stack.ask([{**user, **forged} for user in USERS[:50]]):
        assert answer["meant"] == {"stable": "1.0.0", "canary": "1.1.0"}[answer["arm"]]
        assert answer["unit"].startswith("user-")
    stack.router.apply(split(50.0, None))
    assert all("meant" not in answer or answer["meant"] in ("", "-") for answer in stack.ask([forged] * 20))
