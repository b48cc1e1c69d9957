"""Back-test the champion and request a retraining for enough new labels, both over its labelled answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from perennial.core.assets import Reason
from perennial.core.events import SystemActor
from perennial.core.monitoring.enough_labels import decide_on_labels
from perennial.core.monitoring.retraining import (
    ASK_AGAIN,
    Hold,
    Retrain,
    retraining_event,
    retraining_requests,
)
from perennial.core.monitoring.worth.prospects import (
    Backtest,
    Withheld,
    still_withheld,
    unpromising,
    withheld_before,
    withheld_entry,
)
from perennial.core.monitoring.worth.reluctance import fruitless_in_a_row, retrainings
from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.errors import DataError
from perennial.flows.feedback.labelled_answers import labelled_answers
from perennial.flows.monitoring.monitor import MonitorPorts
from perennial.flows.monitoring.prospects import back_test, look_back, newest_labelled, since_training
from perennial.flows.monitoring.retrain import raise_and_record
from perennial.ports import FeedbackStore, PredictionLog, Reference, Router


@dataclass(frozen=True)
class BackTestPorts:
    router: Router
    predictions: PredictionLog
    feedback: FeedbackStore
    references: Callable[[Task], Mapping[str, Reference]]


def back_test_champion(spec: ModelSpec, ports: BackTestPorts | MonitorPorts, now: datetime) -> Backtest:
    """Back-test the champion on its newest labelled answers; nothing is recorded and nothing is started.

    Raises:
        DataError: no version has traffic, or the spec has no back-test.
    """
    target = _champion(spec, ports)
    rows = spec.retraining.prospects.backtest_rows
    if not rows:
        raise DataError(
            f"{spec.name} has no back-test", hint="set retraining.prospects.backtest_rows above 0 in its spec"
        )
    known = newest_labelled(spec, target.digest, look_back(now), ports.predictions, ports.feedback, now)
    return back_test(spec, target, known.tail(rows), ports.references, now)


def request_for_labels(spec: ModelSpec, ports: MonitorPorts, now: datetime) -> Retrain | Hold:
    """Request a retraining where enough labels came since the champion's training.

    Where the spec wants a gain and the back-test shows none, no training starts, and a person is alerted; these labels
    ask again after a week, as they would have done after a training.

    Raises:
        DataError: no version has traffic.
        SchedulerUnavailable: nothing was started and nothing is recorded.
    """
    target = _champion(spec, ports)
    past = ports.ledger.rows(spec.name)
    trained = since_training(past, target.digest, now)
    known = labelled_answers(spec, target.digest, trained, ports.predictions, ports.feedback)
    decision = decide_on_labels(
        spec.retraining,
        len(known),
        target.digest,
        retraining_requests(past),
        fruitless_in_a_row(retrainings(past)),
        now,
    )
    if isinstance(decision, Hold):
        return decision
    if alert := still_withheld(
        past, target.digest, Reason.LABELS, max(spec.retraining.cooldown, ASK_AGAIN), now
    ):
        return Hold(why=withheld_before(alert))
    policy = spec.retraining.prospects
    rows = policy.backtest_rows
    backtest = back_test(spec, target, known.tail(rows), ports.references, now) if rows else None
    # The same key until it is recorded: a call that was killed before costs no second training.
    key = f"labels-{target.digest[:12]}-{len(retraining_requests(past))}"
    if backtest is not None and (doubt := unpromising(backtest, policy)):
        entry = withheld_entry(
            spec.name, SystemActor.MONITOR, target.digest, key, decision.reason, decision.text, [doubt], backtest,
            now,
        )  # fmt: skip
        ports.ledger.append(entry)
        return Hold(why=f"withheld: {Withheld.read(entry).why}")
    extra = retraining_event(
        decision.reason,
        decision.text,
        who=SystemActor.MONITOR,
        key=key,
        digest=target.digest,
        backtest=backtest,
    )
    raise_and_record(spec.name, extra, SystemActor.MONITOR, ports.ledger, ports.scheduler, now)
    return decision


def _champion(spec: ModelSpec, ports: BackTestPorts | MonitorPorts) -> Target:
    route = ports.router.route(spec.name)
    if route is None:
        raise DataError(f"no version of {spec.name} has traffic", hint=f"perennial release start {spec.name}")
    return route.stable
