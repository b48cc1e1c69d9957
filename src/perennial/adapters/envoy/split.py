"""How Envoy knows whose request it is, so that a user keeps a side of a split: by header, cookie, request id.

Envoy draws a side by a hash of one text modulo the total weight (`use_hash_policy`). The text is
`<experiment>:<user>`: salted, so that who is in one experiment says nothing about the next. There is a route
for each way to know the user, in this order, and each hashes one header:

1. the user header, where it is not empty;
2. the cookie, cut out of the `cookie` header;
3. the request's own id, which is sent back as the cookie: the next request hashes the very same text.

So no filter runs for it, and a route without a split is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from perennial.adapters.envoy.config import Json
from perennial.core.release.traffic import Assignment
from perennial.serving import headers


@dataclass(frozen=True)
class UnitSource:
    """One way to know the user.

    Attributes:
        match: further conditions of the route.
        hashed: Envoy's hash policy.
        told: headers for the model server.
        answer: what the route does to the answer.
    """

    match: Json
    hashed: Json
    told: Mapping[str, str]
    answer: Json = field(default_factory=dict)


def unit_sources(assignment: Assignment) -> Iterator[UnitSource]:
    """In the order in which they are tried; the last one knows every request."""
    told = {headers.EXPERIMENT: assignment.experiment}
    name = assignment.header
    if name is not None:
        by_header = {**told, headers.UNIT: f"%REQ({name})%"}
        yield UnitSource(_matching(name, ".+"), _hashed(name, "^(.*)$", assignment), by_header)
    cookie, answer = assignment.cookie, {}
    if cookie is not None:
        # Cut at the first `;`: the value of a cookie has none.
        pattern = rf"^(?:.*;\s*)?{cookie}=([^;]+).*$"
        by_cookie = {**told, headers.UNIT_COOKIE: cookie}
        yield UnitSource(_matching("cookie", pattern), _hashed("cookie", pattern, assignment), by_cookie)
        answer = {"response_headers_to_add": [_set_cookie(cookie, assignment)]}
    by_request = {**told, headers.UNIT: f"%REQ({headers.REQUEST_ID})%"}
    yield UnitSource({}, _hashed(headers.REQUEST_ID, "^(.*)$", assignment), by_request, answer)


def _matching(name: str, pattern: str) -> Json:
    return {"headers": [{"name": name, "string_match": {"safe_regex": {"regex": pattern}}}]}


def _hashed(name: str, pattern: str, assignment: Assignment) -> Json:
    salted = {"pattern": {"regex": pattern}, "substitution": rf"{assignment.experiment}:\1"}
    return {"header": {"header_name": name, "regex_rewrite": salted}}


def _set_cookie(name: str, assignment: Assignment) -> Json:
    age = int(assignment.cookie_age.total_seconds())
    value = f"{name}=%REQ({headers.REQUEST_ID})%; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"
    return {"header": {"key": "set-cookie", "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
