"""The side of a split that the router drew a request to, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from starlette.requests import cookie_parser

from perennial.serving import headers


@dataclass(frozen=True)
class Assigned:
    """Attributes:
    experiment: the salt of the draw.
    arm: version that the request is for, whichever answers it (a fallback does not change sides).
    unit: who the draw went by, as a pseudonym.
    """

    experiment: str
    arm: str
    unit: str


def read(given: Mapping[str, str]) -> Assigned | None:
    """What the router's headers say; None of a request that was drawn to no side."""
    experiment, arm = given.get(headers.EXPERIMENT), given.get(headers.ARM)
    if experiment is None or arm is None:
        return None
    named = given.get(headers.UNIT_COOKIE)
    unit = given.get(headers.UNIT) if named is None else cookie_parser(given.get("cookie", "")).get(named)
    return None if unit is None else Assigned(experiment, arm, pseudonym(experiment, unit))


def pseudonym(experiment: str, unit: str) -> str:
    """24 hex digits: the log tells the users of an experiment apart without their names, and not who was
    also in another one. Whoever has a list of all users can still find them in it."""
    return blake2b(unit.encode(), key=experiment.encode(), digest_size=12).hexdigest()
