"""The variant of an experiment that the router assigned a request to, read from its headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from starlette.requests import cookie_parser

from perennial.serving import headers


@dataclass(frozen=True)
class Assigned:
    """The assignment of one request.

    Attributes:
        experiment: salt of the assignment.
        arm: the assigned version. It stays the same when a fallback answers.
        unit: pseudonym of the user, or of the request where there is no user.
    """

    experiment: str
    arm: str
    unit: str


def read(given: Mapping[str, str]) -> Assigned | None:
    """Return the assignment in the router's headers, or None for a request outside any experiment."""
    experiment, arm = given.get(headers.EXPERIMENT), given.get(headers.ARM)
    if experiment is None or arm is None:
        return None
    cookie = given.get(headers.UNIT_COOKIE)
    unit = given.get(headers.UNIT) if cookie is None else cookie_parser(given.get("cookie", "")).get(cookie)
    return None if unit is None else Assigned(experiment, arm, pseudonym(experiment, unit))


def pseudonym(experiment: str, unit: str) -> str:
    """Return the keyed hash of a user, 24 hex digits.

    The key is the experiment: the log separates the users of one experiment, but does not connect a user across
    experiments. Somebody with a list of all users can still compute the hashes.
    """
    return blake2b(unit.encode(), key=experiment.encode(), digest_size=12).hexdigest()
