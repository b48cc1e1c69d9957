"""Reluctance after retrainings that brought nothing: each one in a row makes the cooldown longer, up to a bound.

What a request for a retraining led to is read from the ledger: of the releases that were opened after it and before the
next request, the newest outcome counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.assets import Reason
from perennial.core.events import Entry, Event, LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.monitoring.worth.effect import EffectFact, EffectVerdict
from perennial.core.monitoring_spec import RetrainingSpec
from perennial.core.payloads import RetrainRequest

ENDED = (Event.RELEASE_REJECTED, Event.RELEASE_ROLLED_BACK)
KINDS = (Event.RETRAIN_REQUESTED, Event.RECALIBRATED, Event.RELEASE_OPENED, Event.RETRAIN_EFFECT, *ENDED)
"""Kinds of entries that tell what retrainings led to."""
PROVEN = {EffectVerdict.HELPED: True, EffectVerdict.NO_GAIN: False, EffectVerdict.HARMED: False}


class Outcome(StrEnum):
    """End of a requested retraining."""

    OPEN = "not known"
    """No training or release has ended yet, or the effect is not measured, or on too few labels."""
    HELPED = "helped"
    FRUITLESS = "brought nothing"


class Retraining(Frozen):
    """A request for a retraining, and what it led to."""

    at: AwareDatetime
    reason: Reason
    text: str = ""
    likely: str = Field("", description="gain that its back-test said was likely, in words")
    release_id: str | None = Field(None, description="newest release that followed it")
    outcome: Outcome = Outcome.OPEN
    why: str = ""


def retrainings(rows: Iterable[LedgerRow]) -> list[Retraining]:
    """Return the retrainings of a model with their outcomes, oldest first.

    Args:
        rows: of the model, in order, with those of `KINDS`.
    """
    requests: list[Retraining] = []
    place_of: dict[str, int] = {}
    recalibrated: set[str | None] = set()
    for entry in (row.entry for row in rows):
        if entry.kind == Event.RETRAIN_REQUESTED:
            request = RetrainRequest.read(entry)
            requests.append(
                Retraining(at=entry.at, reason=request.reason, text=request.text, likely=request.likely)
            )
        elif entry.kind == Event.RECALIBRATED:
            recalibrated.add(entry.digest)
        elif entry.release_id is None or not requests or entry.digest in recalibrated:
            continue  # a release of a recalibration tells nothing about a retraining
        elif entry.kind == Event.RELEASE_OPENED:
            place_of[entry.release_id] = len(requests) - 1
            requests[-1] = requests[-1].model_copy(update={"release_id": entry.release_id})
        elif entry.release_id in place_of and (ended := _outcome(entry)) is not None:
            outcome, why = ended
            place = place_of[entry.release_id]
            requests[place] = requests[place].model_copy(update={"outcome": outcome, "why": why})
    return requests


def _outcome(entry: Entry) -> tuple[Outcome, str] | None:
    if entry.kind in ENDED:
        how = "rejected" if entry.kind == Event.RELEASE_REJECTED else "rolled back"
        return Outcome.FRUITLESS, f"its release was {how}"
    if entry.kind != Event.RETRAIN_EFFECT:
        return None
    verdict = EffectFact.read(entry).verdict
    proven = PROVEN.get(verdict)
    if proven is None:
        return Outcome.OPEN, f"effect: {verdict.value}"
    return Outcome.HELPED if proven else Outcome.FRUITLESS, f"effect: {verdict.value}"


def fruitless_in_a_row(past: Iterable[Retraining]) -> int:
    """Return how many of the last retrainings brought nothing, since one that helped; those not known do not count."""
    return sum(1 for _ in _since_one_helped(past))


def _since_one_helped(past: Iterable[Retraining]) -> Iterator[Retraining]:
    for retraining in reversed(list(past)):
        if retraining.outcome is Outcome.HELPED:
            return
        if retraining.outcome is Outcome.FRUITLESS:
            yield retraining


def cooldown(spec: RetrainingSpec, fruitless: int) -> timedelta:
    """Return the cooldown after so many fruitless retrainings in a row."""
    longest = max(spec.cooldown, spec.reluctance.longest)
    grown = spec.cooldown.total_seconds()
    for _ in range(fruitless):
        grown = min(grown * spec.reluctance.factor, longest.total_seconds())
    return timedelta(seconds=grown)


def reluctant(spec: RetrainingSpec, fruitless: int) -> RetrainingSpec:
    """Return the limits of retraining with the cooldown after so many fruitless retrainings in a row."""
    return spec.model_copy(update={"cooldown": cooldown(spec, fruitless)})


def quiet_until(spec: RetrainingSpec, past: Iterable[Retraining]) -> datetime | None:
    """Return when the cooldown of the newest request ends; None without requests."""
    past = list(past)
    if not past:
        return None
    return max(retraining.at for retraining in past) + cooldown(spec, fruitless_in_a_row(past))


def why_longer(spec: RetrainingSpec, fruitless: int) -> str:
    """Return why the cooldown is longer than that of the spec; empty where it is not."""
    grown = cooldown(spec, fruitless)
    if grown == spec.cooldown:
        return ""
    times = "retraining" if fruitless == 1 else f"{fruitless} retrainings"
    return f"the last {times} brought nothing, so the cooldown is {grown} instead of {spec.cooldown}"
