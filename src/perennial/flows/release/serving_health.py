"""Collect the health of the servers behind a model's traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perennial.core.events import Event
from perennial.core.release.traffic import BACKUP
from perennial.errors import RouterUnavailable
from perennial.ports import Ledger, Router


@dataclass(frozen=True)
class ServingHealth:
    """Health of the serving of a model.

    Attributes:
        backup_answered: requests in place of the champion since the router's start; None: not known.
        failover_since: ISO time of the begin of a failover; None: there is none.
        problems: problems of Envoy and the model servers, each with its server.
    """

    backup_answered: int | None
    failover_since: str | None
    problems: tuple[str, ...]


def serving_health(
    model: str, router: Router, ledger: Ledger, problems: Mapping[str, Sequence[str]]
) -> ServingHealth:
    """Return the health of a model's serving; a router that is down counts nothing.

    Args:
        problems: name of a model server -> its problems.
    """
    try:
        counted, foreign = router.counters(model)[BACKUP], router.differences()
        answered: int | None = counted.requests - counted.errors
    except RouterUnavailable:
        answered, foreign = None, ()
    rows = ledger.rows(model, kinds=(Event.FAILOVER_BEGAN, Event.FAILOVER_ENDED), newest=1)
    last = rows[-1].entry if rows else None
    since = last.at.isoformat() if last is not None and last.kind == Event.FAILOVER_BEGAN else None
    lines = [f"{server}: {problem}" for server, known in problems.items() for problem in known]
    lines += [f"Envoy differs from the confirmed routes: {text}" for text in foreign]
    return ServingHealth(answered, since, tuple(lines))
