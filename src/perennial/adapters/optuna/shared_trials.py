"""Trials of one study in processes of several machines, which share nothing but the SQL database of the study.

The training leads: it alone queues trials, repeats those whose process died, and decides when the search has ended. So
the number of finished trials is exact, whoever follows, leaves or dies.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from perennial.core.shared_search import SharedSearch
from perennial.errors import MalformedInput, WorkerLost

RETRIES = 2
"""How often a trial whose process died is tried again."""
HEARTBEAT, GRACE = 10, 60
"""Seconds between two signs of life of a trial, and without one until its process counts as dead."""
POLL = 1.0
"""Seconds between two looks for a trial."""
OFFER = "perennial.shared_search"
"""Attribute of a study: a SharedSearch as JSON while it may be joined, else null."""


def storage(url: str) -> RDBStorage:
    """Return the database of shared studies, which keeps a sign of life of each trial that runs."""
    # A writer of SQLite waits for the others.
    waiting = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True, **waiting},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_again,
        )


def offered(database: RDBStorage, model: str) -> SharedSearch | None:
    """Return the newest search of a model that may be joined; None: there is none.

    Raises:
        MalformedInput: its offer cannot be read.
    """
    for study in sorted(database.get_all_studies(), key=lambda study: study._study_id, reverse=True):
        offer = study.user_attrs.get(OFFER)
        if offer is not None and study.study_name.startswith(f"{model}-"):
            try:
                return SharedSearch.model_validate(offer)
            except ValidationError as error:
                raise MalformedInput(
                    f"study {study.study_name}: {error}",
                    hint="train and join with the same version of Perennial",
                ) from error
    return None


def lead(
    study: Study,
    offer: SharedSearch,
    evaluate: Callable[[int], None],
    seconds: float,
    first: Sequence[Mapping[str, Any]],
    done: Callable[[FrozenTrial], None],
) -> None:
    """Offer a search, evaluate its trials together with those who follow, and end when each trial has ended.

    At the end of the time, trials that nobody has begun are withdrawn.

    Args:
        evaluate: evaluates the trial of a storage id and tells the study its result.
        first: parts of parameters that the first trials of a new study must have.
        done: called for each finished trial.

    Raises:
        WorkerLost: a trial has lost its process again and again.
    """
    until, trials = time.monotonic() + seconds, offer.tuning.trials
    reported: set[int] = set()
    seen: set[int] = set()
    if not study.get_trials(deepcopy=False):
        for parameters in first[:trials]:
            study.enqueue_trial(dict(parameters))
    study.set_user_attr(OFFER, offer.model_dump(mode="json"))
    try:
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                fail_stale_trials(study)
            known = study.get_trials(deepcopy=False)
            states = Counter(trial.state for trial in known)
            finished = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
            begun, waiting = states[TrialState.RUNNING], states[TrialState.WAITING]
            for trial in known:
                if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.number not in reported:
                    reported.add(trial.number)
                    done(trial)
                if trial.state is TrialState.RUNNING and trial.number not in seen:
                    seen.add(trial.number)
                    # Its process may have died before its own first sign of life.
                    study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
            late = time.monotonic() >= until
            if begun == waiting == 0 and (late or finished >= trials):
                return
            if not late:
                for _ in range(trials - finished - begun - waiting):
                    study.enqueue_trial({})
            trial_id = study._pop_waiting_trial_id()
            if trial_id is None:
                time.sleep(POLL)
            elif late:
                study._storage.set_trial_state_values(trial_id, TrialState.FAIL)
            else:
                evaluate(trial_id)
    finally:
        study.set_user_attr(OFFER, None)


def follow(
    study: Study, evaluate: Callable[[int], None], idle: float, done: Callable[[FrozenTrial], None]
) -> None:
    """Evaluate trials that wait until the search ends, or none has waited for `idle` seconds; see `lead`."""
    until = time.monotonic() + idle
    while True:
        trial_id = study._pop_waiting_trial_id()
        if trial_id is not None:
            evaluate(trial_id)
            done(study._storage.get_trial(trial_id))
            until = time.monotonic() + idle
        elif study.user_attrs.get(OFFER) is None or time.monotonic() >= until:
            return
        else:
            time.sleep(POLL)


def _again(study: Study, trial: FrozenTrial) -> None:
    """Queue the trial of a dead process again, with its parameters.

    Raises:
        WorkerLost: it was tried often enough.
    """
    if len(RetryHeartbeatStaleTrialCallback.retry_history(trial)) >= RETRIES:
        raise WorkerLost(
            f"the process of trial {trial.number} died {RETRIES + 1} times with the parameters {trial.params}",
            hint="most often memory is short on the machines that join: bring more of it",
        )
    RetryHeartbeatStaleTrialCallback()(study, trial)
