"""Accuracy of each version on labelled predictions: the prediction log joined with the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release_spec import FeedbackSpec
from perennial.flows.feedback.votes import counted, known_labels, losses, right, votes
from perennial.flows.monitoring.labels_by_truth import answered, by_truth, grouped, weighed
from perennial.flows.monitoring.truths import Truths
from perennial.flows.monitoring.unlabelled import Silent, asked_by, silent_askers
from perennial.ports import FeedbackStore, PredictionLog

if TYPE_CHECKING:
    import pandas as pd

NEEDED = [
    "prediction_id", "request_id", "entity", "digest", "score", "decision", "shadow", "task", "answer", "at",
    "unit", "client", "context",
]  # fmt: skip
KEY = ["request_id", "entity", "place", "of"]
"""`of` counts the rows with the same request id and entity; `place` is the position of a row among them."""


class Span(NamedTuple):
    """Part of the log: from `began` until before `ended`; None: until now."""

    began: datetime
    ended: datetime | None = None


def accuracy(
    model: str, since: datetime, feedback: FeedbackStore, predictions: PredictionLog, policy: FeedbackSpec,
    with_mirrored: bool = True, now: datetime | None = None, delay: LabelDelay | None = None,
) -> dict[str, LabelCounts]:  # fmt: skip
    """Return the label counts by digest, for predictions and labels since then (`accuracy_by_step`)."""
    spans = [Span(since)]
    return accuracy_by_step(model, spans, feedback, predictions, policy, with_mirrored, now, delay)[0]


def accuracy_by_step(
    model: str, spans: Sequence[Span], feedback: FeedbackStore, predictions: PredictionLog, policy: FeedbackSpec,
    with_mirrored: bool = True, now: datetime | None = None, delay: LabelDelay | None = None,
) -> tuple[dict[str, LabelCounts], ...]:  # fmt: skip
    """Return the label counts by digest of the predictions of each span, by labels since the first began.

    No client knows the id of a mirrored prediction: it takes the label of the answered prediction of the same
    request, entity and place. So SHADOW compares both versions on exactly the same requests.

    The place separates the rows of a tensor request, which names no entity, and requests of a client that
    uses an id again. If the mirrored and the answered rows of an id differ in number, the missing rows are not
    known, and the mirrored rows are left out.

    All spans have the same truths, so that their counts can be added.

    Args:
        spans: in order, at least one.
        policy: whose labels count.
        with_mirrored: count mirrored predictions, too; else each labelled request counts once.
        now, delay: count only requests that are old enough; None: all of them, and the counts say that the delay
            is not known.
    """
    since = spans[0].began
    nothing: tuple[dict[str, LabelCounts], ...] = tuple({} for _ in spans)
    labels = known_labels(policy, feedback, since)
    if not labels:  # the log, which is far larger, need not be read
        return nothing
    log = predictions.read(model, since=since)
    if log.empty:
        return nothing
    import pandas as pd

    features = [f"feature:{policy.group}"] if f"feature:{policy.group}" in log else []
    log = log.reindex(columns=[*NEEDED, *features]).astype({"shadow": bool})
    if not with_mirrored:
        log = log[~log["shadow"]]
    by_prediction, parts = votes(labels), []
    for span in spans:
        asked = log["at"] >= span.began
        if span.ended is not None:
            asked &= log["at"] < span.ended
        old = None if now is None or delay is None else now - delay.span
        parts.append(_labelled(log[asked], by_prediction, policy, old))
    known = pd.concat([part.known for part in parts], ignore_index=True)
    return _counts(parts, known, policy, None if delay is None else delay.hours)


class _Labelled(NamedTuple):
    """Requests of a span: those old enough, the votes about them, and the number of others by digest.

    Attributes:
        votes: of the sources that count, all of them; known: those within the cap of each source.
        young: not old enough.
        unlabelled: left out, of askers of which hardly a label comes.
    """

    log: pd.DataFrame
    votes: pd.DataFrame
    known: pd.DataFrame
    young: Mapping[str, int]
    unlabelled: Mapping[str, int] = MappingProxyType({})

    def without(self, source: str) -> _Labelled:
        votes, known = (rows[rows["source"] != source] for rows in (self.votes, self.known))
        return self._replace(votes=votes, known=known)


def _counts(
    parts: Sequence[_Labelled], known: pd.DataFrame, policy: FeedbackSpec, hours: float | None
) -> tuple[dict[str, LabelCounts], ...]:
    """Return the counts by digest of each span, all together and without each source that may not decide alone.

    Without a source other askers may be without labels, so it is counted anew.

    Args:
        known: of all spans.
    """
    truths = Truths.of(known)
    digests = [[str(digest) for digest in part.known["digest"].unique()] for part in parts]

    def counted_of(some: Sequence[_Labelled]) -> list[dict[str, LabelCounts]]:
        spans = zip(_of_labelled_askers(some, truths), digests, strict=True)
        return [_by_digest(part, of, truths, hours) for part, of in spans]

    counts = counted_of(parts)
    alone = [str(source) for source in known["source"].unique() if source != policy.sole_source]
    without = {source: counted_of([part.without(source) for part in parts]) for source in alone}
    for place, of in enumerate(digests):
        for digest in of:
            others = {source: spans[place][digest] for source, spans in without.items()}
            counts[place][digest] = counts[place][digest].model_copy(update={"without": others})
    return tuple(counts)


def _of_labelled_askers(parts: Sequence[_Labelled], truths: Truths) -> list[_Labelled]:
    """Return the requests without those of askers of which hardly a label comes, their mirrored copies included."""
    import pandas as pd

    answered_rows = pd.concat([part.log[~part.log["shadow"]] for part in parts])
    votes_about = pd.concat([part.votes[~part.votes["shadow"]] for part in parts])
    silent = silent_askers(answered_rows, votes_about, truths)
    return [_left(part, silent) for part in parts]


def _left(part: _Labelled, silent: Silent) -> _Labelled:
    copied = ["request_id", "entity"]
    out = asked_by(part.log, silent) & ~part.log["shadow"].to_numpy()
    if not out.any():
        return part
    originals = part.log[out].set_index(copied).index
    copies = part.log["shadow"].to_numpy() & part.log.set_index(copied).index.isin(originals)
    gone = part.log[out | copies]
    stays = ~part.known["prediction_id"].isin(gone["prediction_id"])
    return part._replace(log=part.log[~(out | copies)], known=part.known[stays], unlabelled=_requests(gone))


def _requests(rows: pd.DataFrame) -> dict[str, int]:
    counts = rows.groupby("digest")["request_id"].nunique()
    return {str(digest): int(count) for digest, count in counts.items()}


def _labelled(
    log: pd.DataFrame, by_prediction: pd.DataFrame, policy: FeedbackSpec, old_until: datetime | None
) -> _Labelled:
    import pandas as pd

    old = pd.Series(True, index=log.index) if old_until is None else log["at"] <= old_until
    young = _requests(log[~old])
    # Placed before those without a label and the young ones are left out: they have a place too.
    log = pd.concat([_placed(log[~log["shadow"]]), _placed(log[log["shadow"]], "digest")]).sort_index()
    log = grouped(log[old], policy.group)
    answered_rows, mirrored = log[~log["shadow"]], log[log["shadow"]]
    known = answered_rows.merge(by_prediction, on="prediction_id")
    copies = mirrored.merge(known[[*KEY, "source", "value"]], on=KEY)
    if len(copies):
        known = pd.concat([known, copies], ignore_index=True)
    known["right"], known["loss"] = right(known), losses(known)
    sole = known["source"] == policy.sole_source
    all_votes = known[sole] if sole.any() else known
    return _Labelled(log, all_votes, counted(known, policy, "digest"), young)


def _by_digest(
    part: _Labelled, digests: Sequence[str], truths: Truths, hours: float | None
) -> dict[str, LabelCounts]:
    """Return the counts of these versions; of a version without labels, only how many of its requests are young."""
    counts = {digest: LabelCounts(young=count, maturity_hours=hours) for digest, count in part.young.items()}
    for digest in digests:
        rows = weighed(part.log[part.log["digest"] == digest])
        votes_about = part.known[part.known["digest"] == digest]
        sources = votes_about["source"].value_counts()
        sums = _sums(votes_about.merge(rows[["prediction_id", "weight"]], on="prediction_id"), truths)
        counts[digest] = sums.model_copy(
            update={
                "sources": {str(source): int(count) for source, count in sources.items()},
                "maturity_hours": hours,
                "young": part.young.get(digest, 0),
                "unlabelled": part.unlabelled.get(digest, 0),
                "answered": rows["request_id"].nunique(),
                "answers": answered(rows, truths),
            }
        )
    return counts


def _sums(rows: pd.DataFrame, truths: Truths) -> LabelCounts:
    """Count each request once, whatever its rows and its sources."""
    by_prediction = rows.groupby(["request_id", "prediction_id"])[["right", "loss"]].mean()
    by_request = by_prediction.groupby(level="request_id").mean()
    requests, loss = len(by_request), by_request["loss"].to_numpy(dtype=float)
    has_loss = requests > 0 and bool(np.isfinite(loss).all())
    return LabelCounts(
        right=min(float(by_request["right"].sum()), requests),
        requests=requests,
        labels=len(by_prediction),
        has_loss=has_loss,
        loss=float(loss.sum()) if has_loss else 0.0,
        squares=float((loss**2).sum()) if has_loss else 0.0,
        truths=by_truth(rows, truths),
    )


def _placed(rows: pd.DataFrame, *within: str) -> pd.DataFrame:
    """Return the rows with the columns `place` and `of`, counted within the columns `within` too.

    Mirrored rows are counted by version: an older candidate may have received requests with the same ids.
    """
    same = rows.groupby([*within, "request_id", "entity"])
    return rows.assign(place=same.cumcount(), of=same["prediction_id"].transform("size"))
