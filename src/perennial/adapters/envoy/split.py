"""Sticky assignment in Envoy: a user keeps the variant, identified by header, cookie or request id.

Envoy assigns a variant by a hash of `<experiment>:<user>` modulo the total weight (`use_hash_policy`). The salt
makes the assignments of two experiments independent. There is a route per source of the user, in this order, and
each hashes a single header:

1. the user header, when it is not empty;
2. the cookie, cut out of the `cookie` header;
3. the request id, which is sent back as the cookie, so that the next request hashes the same text.

No filter runs for this, and a route without an experiment does not change.

The share of each variant is cut into buckets. The bucket of a user depends on the same hash, so that it stays as long
as the shares do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from perennial.adapters.envoy.config import Json
from perennial.core.release.counted.user_buckets import MOST_BUCKETS
from perennial.core.release.traffic import Assignment
from perennial.serving import headers


@dataclass(frozen=True)
class UnitSource:
    """A source of the unit of assignment.

    Attributes:
        match: further conditions of the route.
        hashed: Envoy's hash policy.
        sent: headers for the model server.
        answer: changes of the route to the answer.
    """

    match: Json
    hashed: Json
    sent: Mapping[str, str]
    answer: Json = field(default_factory=dict)


def unit_sources(assignment: Assignment) -> Iterator[UnitSource]:
    """Yield the sources in the order of their routes; the last source matches every request."""
    experiment = {headers.EXPERIMENT: assignment.experiment}
    name = assignment.header
    if name is not None:
        by_header = {**experiment, headers.UNIT: f"%REQ({name})%"}
        yield UnitSource(_matching(name, ".+"), _hashed(name, "^(.*)$", assignment), by_header)
    cookie, answer = assignment.cookie, {}
    if cookie is not None:
        # The value of a cookie contains no `;`.
        pattern = rf"^(?:.*;\s*)?{cookie}=([^;]+).*$"
        by_cookie = {**experiment, headers.UNIT_COOKIE: cookie}
        yield UnitSource(_matching("cookie", pattern), _hashed("cookie", pattern, assignment), by_cookie)
        answer = {"response_headers_to_add": [_set_cookie(cookie, assignment)]}
    by_request = {**experiment, headers.UNIT: f"%REQ({headers.REQUEST_ID})%"}
    yield UnitSource({}, _hashed(headers.REQUEST_ID, "^(.*)$", assignment), by_request, answer)


def bucket_weights(weight: int) -> list[int]:
    """Return the weights of the buckets of a share: as equal as whole numbers can be, none of them 0."""
    count = min(MOST_BUCKETS, weight)
    return [weight * (number + 1) // count - weight * number // count for number in range(count)]


def _matching(name: str, pattern: str) -> Json:
    return {"headers": [{"name": name, "string_match": {"safe_regex": {"regex": pattern}}}]}


def _hashed(name: str, pattern: str, assignment: Assignment) -> Json:
    salted = {"pattern": {"regex": pattern}, "substitution": rf"{assignment.experiment}:\1"}
    return {"header": {"header_name": name, "regex_rewrite": salted}}


def _set_cookie(name: str, assignment: Assignment) -> Json:
    age = int(assignment.cookie_age.total_seconds())
    value = f"{name}=%REQ({headers.REQUEST_ID})%; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"
    return {"header": {"key": "set-cookie", "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
