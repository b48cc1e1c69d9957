"""Effect of a release: how much better the new champion answers than the one before it, on the same requests.

Both answers to a labelled request are compared, so what makes requests easy or hard cancels out. The interval of the
mean difference is that of Student's t over batches of whole requests in order of time (`batch_means`).

The interval holds for one look. So the verdict counts when the period and the delay of the labels are over, and only
then is it recorded; before, it says how it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import scipy
from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, LedgerRow, Payload
from perennial.core.frozen import Frozen
from perennial.core.monitoring.batch_means import batch_mean

CONFIDENCE = 0.95
FEWEST_CHANGES = 10
"""Requests answered otherwise, below which a difference proves nothing: batches that mostly hold none tell no error."""
SERVING = (Event.RELEASE_SUCCEEDED, Event.EMERGENCY_ROLLBACK)
"""Kinds of entries after which another version may answer."""


class Measure(StrEnum):
    """Quality of an answer that is compared."""

    ACCURACY = "accuracy"
    LOSS = "loss"


class EffectVerdict(StrEnum):
    """Verdict on a measured difference."""

    HELPED = "helped"
    NO_GAIN = "no gain proven"
    HARMED = "harmed"
    TOO_FEW = "not enough labels"


class PairedDifference(Frozen):
    """Quality of two versions on the same labelled requests; a positive difference is better."""

    measure: Measure
    old: float
    new: float
    difference: float
    low: float
    high: float
    batches: int = Field(ge=2, description="number of batches that the interval is from")
    changes: int = Field(ge=0, description="requests on which the two differ in the measure")

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


class Effect(Frozen):
    """Measured effect of the release of a version over the champion before it."""

    model: str
    release_id: str
    version: str
    digest: str
    against: str = Field(description="version that was champion before")
    since: AwareDatetime
    until: AwareDatetime = Field(description="end of the period, exclusive")
    complete: bool = Field(description="the period and the delay of its labels are over")
    requests: int = Field(ge=0, description="requests that the version answered in the period")
    labels: int = Field(ge=0, description="answers with a label, that both versions have answered")
    left_out: int = Field(0, ge=0, description="labelled answers that the old version could not give")
    measured: PairedDifference | None = Field(description="None without enough labels")
    verdict: EffectVerdict


class EffectFact(Payload):
    """Payload of RETRAIN_EFFECT."""

    version: str
    against: str
    verdict: EffectVerdict
    measured: PairedDifference | None = None


def period(
    release_id: str, started: datetime, duration: timedelta, rows: Iterable[LedgerRow]
) -> tuple[datetime, datetime]:
    """Return begin and end of the time in which the release's version is champion, at most `duration` long.

    Args:
        started: begin, where the ledger does not tell it.
        rows: of the model, in order, with those of `SERVING`.
    """
    entries = [row.entry for row in rows if row.entry.kind in SERVING]
    places = [
        place
        for place, entry in enumerate(entries)
        if entry.kind == Event.RELEASE_SUCCEEDED and entry.release_id == release_id
    ]
    begin = entries[places[-1]].at if places else started
    later = entries[places[-1] + 1 :] if places else [entry for entry in entries if entry.at > started]
    return begin, min([begin + duration, *(entry.at for entry in later)])


def paired_difference(
    measure: Measure,
    old: np.ndarray,
    new: np.ndarray,
    request: np.ndarray,
    confidence: float = CONFIDENCE,
) -> PairedDifference | None:
    """Compare the quality of two versions on the same answers.

    Args:
        old, new: float [n] in order of time: shares of right answers, or losses.
        request: [n], the request of each answer: its answers are right or wrong together.
        confidence: of the interval.

    Returns:
        None where the requests make too few batches.
    """
    gain = old - new if measure is Measure.LOSS else new - old
    mean = batch_mean(gain, request)
    if mean is None:
        return None
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, mean.batches - 1)) * mean.error
    return PairedDifference(
        measure=measure,
        old=float(old.mean()),
        new=float(new.mean()),
        difference=mean.value,
        low=mean.value - half,
        high=mean.value + half,
        batches=mean.batches,
        changes=len(np.unique(request[gain != 0])),
    )


def judge_effect(measured: PairedDifference | None, labels: int, least: int) -> EffectVerdict:
    """Return what a difference proves.

    Args:
        least: number of labels below which nothing is judged.
    """
    if measured is None or labels < least:
        return EffectVerdict.TOO_FEW
    proves = measured.changes >= FEWEST_CHANGES
    if proves and measured.low > 0:
        return EffectVerdict.HELPED
    if proves and measured.high < 0:
        return EffectVerdict.HARMED
    return EffectVerdict.NO_GAIN


def effect_entry(effect: Effect, actor: str, now: datetime) -> Entry:
    """Return the ledger entry of a complete effect."""
    return Entry(
        at=now,
        actor=actor,
        kind=Event.RETRAIN_EFFECT,
        model=effect.model,
        release_id=effect.release_id,
        digest=effect.digest,
        payload=effect.model_dump(mode="json", exclude={"model", "release_id", "digest", "complete"}),
    )


def effect_tags(effect: Effect) -> dict[str, str]:
    """Return the tags of the new version in the registry."""
    tags = {"release.effect": effect.verdict.value, "release.effect.against": effect.against}
    if effect.measured is None:
        return tags
    return tags | {
        "release.effect.measure": effect.measured.measure.value,
        "release.effect.difference": f"{effect.measured.difference:.6f}",
        "release.effect.low": f"{effect.measured.low:.6f}",
        "release.effect.high": f"{effect.measured.high:.6f}",
    }
