"""Who is sent to which side of a split, asked of a real Envoy."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from envoy_split_stack import SplitStack, split

from perennial.core.release.traffic import Assignment

pytestmark = pytest.mark.server
USERS = [{"x-user-id": f"user-{number}"} for number in range(10_000)]
BY_HEADER = Assignment(experiment="first", header="x-user-id")
BY_COOKIE = Assignment(experiment="first", header="x-user-id", cookie="unit")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("split")) as running:
        yield running


def sides(stack, weight: float, assignment: Assignment | None, requests) -> np.ndarray:
    stack.router.apply(split(weight, assignment))
    return np.array(stack.sides(requests))


def assert_share(found: np.ndarray, share: float) -> None:
    error = math.sqrt(share * (1 - share) / len(found))
    assert abs(found.mean() - share) < 3.5 * error, f"{found.mean():.4f}, asked for {share}"


def test_ten_thousand_users_get_their_shares_and_keep_their_sides_as_the_weight_grows(stack):
    before = np.zeros(len(USERS), bool)
    for weight in (5.0, 20.0, 50.0):
        found = sides(stack, weight, BY_HEADER, USERS)
        assert_share(found, weight / 100)
        assert not (before & ~found).any(), "nobody leaves the candidate when its share grows"
        before = found
    again = sides(stack, 50.0, BY_HEADER, USERS[:1000] * 2)
    assert (again == np.tile(before[:1000], 2)).all(), "nobody moves when asking again"


def test_two_experiments_are_independent(stack):
    first = sides(stack, 50.0, BY_HEADER, USERS[:5000])
    second = sides(stack, 50.0, BY_HEADER.model_copy(update={"experiment": "second"}), USERS[:5000])
    assert_share(second, 0.5)
    assert abs(np.corrcoef(first, second)[0, 1]) < 3.5 / math.sqrt(5000)


def test_cookie_is_minted_once_and_keeps_the_side(stack):
    stack.router.apply(split(20.0, BY_COOKIE))
    first = stack.ask([{}] * 1000)
    cookies = [re.match(r"unit=([0-9a-f-]{36});", one["set-cookie"]).group(1) for one in first]
    assert cookies == [one["unit"] for one in first], "the server is told who it was"
    assert len(set(cookies)) == 1000
    assert_share(np.array([one["arm"] == "canary" for one in first]), 0.2)
    again = stack.ask([{"cookie": f"a=1; unit={one}; b=2"} for one in cookies])
    assert [one["arm"] for one in again] == [one["arm"] for one in first]
    assert not any("set-cookie" in one for one in again)


def test_user_header_stands_before_the_cookie(stack):
    stack.router.apply(split(50.0, BY_COOKIE))
    plain = stack.ask(USERS[:300])
    with_cookie = stack.ask([{**one, "cookie": f"unit={number}"} for number, one in enumerate(USERS[:300])])
    assert [one["arm"] for one in plain] == [one["arm"] for one in with_cookie]
    assert not any("set-cookie" in one for one in plain)
    empty = stack.ask([{"x-user-id": ""}] * 100)
    assert {one["arm"] for one in empty} == {"stable", "canary"}, "an empty header names nobody"


def test_without_header_and_cookie_each_request_stands_alone(stack):
    assert_share(sides(stack, 5.0, BY_HEADER, [{}] * 5000), 0.05)
    one_id = [{"x-request-id": f"1e9a7a3c-0000-4000-8000-{number:012d}"} for number in range(200)]
    answers = stack.ask(one_id)
    assert [one["arm"] for one in answers] == [one["arm"] for one in stack.ask(one_id)], "by the request's id"
    assert not any("set-cookie" in one for one in answers)


def test_server_is_told_the_side_and_a_client_cannot(stack):
    stack.router.apply(split(50.0, BY_HEADER))
    forged = {"x-perennial-arm": "9.9.9", "x-perennial-unit": "me"}
    for one in stack.ask([{**user, **forged} for user in USERS[:50]]):
        assert one["meant"] == {"stable": "1.0.0", "canary": "1.1.0"}[one["arm"]]
        assert one["unit"].startswith("user-")
    stack.router.apply(split(50.0, None))
    assert all("meant" not in one or one["meant"] in ("", "-") for one in stack.ask([forged] * 20))
