"""Trials of one study in several processes of this machine.

The process of the training asks the study for each trial and hands it to a worker, so that the budget is never exceeded
and a trial whose worker died is known at once, without a heartbeat. Each worker is a pool of its own: the end of one
breaks no other.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack

import cloudpickle
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from perennial.adapters.child_process import end_with_parent
from perennial.errors import WorkerLost

RETRIES = 2
"""How often a trial whose worker died is tried again."""
EVALUATE: list[Callable[[int], None]] = []
"""Function of a worker that evaluates the trial of a storage id and tells the study its result."""


def optimise(
    study: optuna.Study,
    evaluation: Callable[[], Callable[[int], None]],
    workers: int,
    trials: int,
    seconds: float,
    done: Callable[[FrozenTrial], None],
) -> None:
    """Run trials of a study in worker processes; at the end of the time, the running ones are finished.

    Args:
        evaluation: called once in each worker; returns the function that evaluates the trial of a storage id and tells
            the study its result.
        trials: number of further trials.
        done: called here for each finished trial, in the order of their ends.

    Raises:
        WorkerLost: a trial has lost its worker again and again.
        Others: what the evaluation of a trial raises, once the running trials have ended.
    """
    content, until = cloudpickle.dumps(evaluation), time.monotonic() + seconds
    with ExitStack() as stack:

        def worker() -> ProcessPoolExecutor:
            spawned = multiprocessing.get_context("spawn")  # a fork of threads that compute may wait forever
            pool = ProcessPoolExecutor(1, mp_context=spawned, initializer=_start, initargs=(content,))
            return stack.enter_context(pool)

        idle = [worker() for _ in range(min(workers, trials))]
        running: dict[Future[None], tuple[ProcessPoolExecutor, FrozenTrial]] = {}
        while True:
            while idle and trials and time.monotonic() < until:
                trial = study.ask()
                try:
                    future = idle[-1].submit(_run, trial._trial_id)
                except BrokenProcessPool:  # it died between two trials
                    idle[-1] = worker()
                    future = idle[-1].submit(_run, trial._trial_id)
                running[future] = (idle.pop(), trial)
                trials -= 1
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pool, trial = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool:
                    pool = worker()
                    trials += _lost(study, trial.number)
                idle.append(pool)
                finished = study.get_trials(deepcopy=False)[trial.number]
                if finished.state in (TrialState.COMPLETE, TrialState.PRUNED):
                    done(finished)


def _lost(study: optuna.Study, number: int) -> int:
    """Queue the trial of a dead worker again, with its parameters; return the number of queued trials.

    Raises:
        WorkerLost: it was tried often enough.
    """
    trial = study.get_trials()[number]
    if trial.state is not TrialState.RUNNING:  # the worker died after it had stored the result
        return 0
    study.tell(number, state=TrialState.FAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if len(RetryHeartbeatStaleTrialCallback.retry_history(trial)) >= RETRIES:
            raise WorkerLost(
                f"the worker of trial {number} died {RETRIES + 1} times with the parameters {trial.params}",
                hint="most often memory is short: lower tuning.workers in the spec, or bring more of it",
            )
        RetryHeartbeatStaleTrialCallback()(study, trial)
    return 1


def _start(content: bytes) -> None:
    """Prepare a worker process."""
    end_with_parent()
    EVALUATE[:] = [cloudpickle.loads(content)()]  # sent by the parent process


def _run(trial_id: int) -> None:
    EVALUATE[0](trial_id)
