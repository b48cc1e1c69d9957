"""Rule by which new labels alone start a retraining: enough of them, outside of the cooldown, once per champion."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from perennial.core.assets import Reason
from perennial.core.monitoring.retraining import ASK_AGAIN, Hold, Retrain, RetrainingRequest
from perennial.core.monitoring.worth.reluctance import cooldown
from perennial.core.monitoring_spec import RetrainingSpec


def decide_on_labels(
    spec: RetrainingSpec,
    labels: int,
    digest: str,
    past: Iterable[RetrainingRequest],
    fruitless: int,
    now: datetime,
) -> Retrain | Hold:
    """Decide if the labels since the champion's training request the next one.

    Args:
        digest: of the champion.
        past: all earlier requests.
        fruitless: retrainings in a row that brought nothing.
    """
    if spec.enough_labels is None:
        return Hold(why="`retraining.enough_labels` is not set: labels alone start no retraining")
    if labels < spec.enough_labels:
        return Hold(
            why=f"{labels} labels since the champion's training, {spec.enough_labels} start a retraining"
        )
    past = list(past)
    asked = [request.at for request in past if (request.reason, request.digest) == (Reason.LABELS, digest)]
    if asked and now < max(asked) + ASK_AGAIN:
        return Hold(
            why=f"the labels of this champion asked at {max(asked):%Y-%m-%d %H:%M:%S} UTC; "
            f"next after {max(asked) + ASK_AGAIN:%Y-%m-%d %H:%M:%S} UTC"
        )
    quiet = max((request.at for request in past), default=None)
    if quiet is not None and now < (until := quiet + cooldown(spec, fruitless)):
        return Hold(
            why=f"a retraining was requested at {quiet:%Y-%m-%d %H:%M:%S} UTC; "
            f"quiet until {until:%Y-%m-%d %H:%M:%S} UTC"
        )
    text = f"{labels} labels came since the champion's training ({spec.enough_labels} are enough)"
    return Retrain(reason=Reason.LABELS, text=text)
