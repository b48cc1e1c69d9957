"""Compare a candidate's answers to mirrored requests in SHADOW with the champion's answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.evaluation.disagreement import (
    AnswerDisagreement,
    PairedAnswers,
    latency,
    measure_disagreement,
)
from perennial.core.events import Entry
from perennial.core.payloads import ShadowResult
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.tasks.stored import logged_task
from perennial.errors import DataError, ReleaseError
from perennial.ports import Ledger, PredictionLog

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 10
"""Number of the largest differences that are kept; few, since the ledger stores them."""
ON_THE_WAY = timedelta(seconds=5)
"""Age up to which the copy of a request may still be answered."""
PAYLOAD = "shadow"
"""Key of the evidence in the ledger entry that ends SHADOW."""
KEY = ["request_id", "entity", "place"]


def observe_shadow(status: ReleaseStatus, predictions: PredictionLog, now: datetime) -> AnswerDisagreement:
    """Compare the answers since the release's phase began.

    Raises:
        MalformedInput: the prediction log cannot be read.
    """
    champion = status.champion.digest if status.champion is not None else ""
    log = predictions.read(status.model, since=status.entered_at)
    return compare_log(log, champion, status.candidate.digest, status.policy.criteria.confidence, now)


def compare_log(
    log: pd.DataFrame, champion: str, candidate: str, confidence: float, now: datetime
) -> AnswerDisagreement:
    """Pair mirrored rows with the answered rows of the same request and entity, and measure the differences.

    An entity that occurs several times in a request, or a request by tensor (which names no entity), is paired
    by its place in the request: both versions log the rows in the order of the request.

    Args:
        log: as returned by `ports.PredictionLog.read`.
        champion, candidate: digests; rows of other versions are left out.
        now: copies of requests of the last seconds may still be answered and do not count as missing.
    """
    if log.empty:  # most passes of a model that nobody asks: without joining nothing to nothing
        nothing = np.empty(0)
        pairs = PairedAnswers([], [], nothing, nothing, nothing, nothing, task=logged_task(""))
        return measure_disagreement(pairs, confidence, EXAMPLES)
    shadow = log["shadow"].astype(bool)
    answered = _placed(log[~shadow & (log["digest"] == champion)])
    mirrored = _placed(log[shadow & (log["digest"] == candidate)])
    both = answered.merge(mirrored, on=KEY, suffixes=("", "_candidate"))
    due = answered[answered["at"] <= now - ON_THE_WAY] if len(answered) else answered
    pairs = PairedAnswers(
        request_id=both["request_id"].tolist(),
        entity=both["entity"].tolist(),
        champion=both["score"].to_numpy(dtype=float),
        candidate=both["score_candidate"].to_numpy(dtype=float),
        champion_decision=both["decision"].to_numpy(dtype=np.int64),
        candidate_decision=both["decision_candidate"].to_numpy(dtype=np.int64),
        task=logged_task(both["task_candidate"].iloc[-1] if len(both) else ""),
    )
    shared = both.drop_duplicates("request_id")
    return measure_disagreement(
        pairs,
        confidence,
        EXAMPLES,
        unanswered=len(set(due["request_id"]) - set(mirrored["request_id"])),
        champion_latency=latency(shared["latency_ms"].to_numpy(dtype=float)),
        candidate_latency=latency(shared["latency_ms_candidate"].to_numpy(dtype=float)),
    )


def with_evidence(
    before: ReleaseStatus,
    after: ReleaseStatus,
    entries: Sequence[Entry],
    predictions: PredictionLog,
    now: datetime,
) -> tuple[Entry, ...]:
    """Return the entries of a pass, with the comparison of answers added to the entry that ends SHADOW.

    A log that cannot be read becomes an error in that entry: it must not hold up what has been decided.
    """
    if before.phase is not Phase.SHADOW or after.phase is Phase.SHADOW:
        return tuple(entries)
    try:
        evidence: dict[str, Any] = observe_shadow(before, predictions, now).model_dump(mode="json")
    except (DataError, OSError) as error:
        evidence = {"error": f"the answers could not be compared: {error}"}
    return tuple(
        _with_payload(entry, evidence) if entry.kind == after.phase.event else entry for entry in entries
    )


def shadow_of(
    status: ReleaseStatus, predictions: PredictionLog, ledger: Ledger, now: datetime
) -> AnswerDisagreement:
    """Return the comparison of a release in SHADOW as of now, or of a later release as the ledger keeps it.

    Raises:
        ReleaseError: it was never in SHADOW, or its answers could not be compared when it left.
    """
    if status.phase is Phase.SHADOW:
        return observe_shadow(status, predictions, now)
    kept = [
        shadow
        for row in ledger.rows(status.model)
        if row.entry.release_id == status.release_id
        and (shadow := ShadowResult.read(row.entry).shadow) is not None
    ]
    if not kept:
        raise ReleaseError(
            f"release {status.release_id} of {status.candidate.version} has not been in SHADOW "
            f"({status.phase.value})",
            hint=f"perennial release replay {status.model} {status.candidate.version}",
        )
    if "error" in kept[-1]:
        raise ReleaseError(kept[-1]["error"], hint="look at the prediction log")
    return AnswerDisagreement.model_validate(kept[-1])


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    wanted = ["at", "request_id", "entity", "score", "decision", "task", "latency_ms"]
    return rows[wanted].assign(place=rows.groupby(["request_id", "entity"]).cumcount())


def _with_payload(entry: Entry, evidence: dict[str, Any]) -> Entry:
    return entry.model_copy(update={"payload": {**entry.payload, PAYLOAD: evidence}})
