"""The Tuner port over Optuna: seeded, pruned, and resumable after a kill."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError

from perennial.adapters.database_address import shown
from perennial.adapters.optuna import shared_trials
from perennial.adapters.optuna.workers import optimise
from perennial.core.shared_search import SharedSearch
from perennial.core.spec import TuningSpec
from perennial.core.training.artifacts import Trial
from perennial.errors import ModelError, StoreUnavailable

Report = Callable[[int, float], None]
Objective = Callable[[dict[str, Any], Report], float]
WARM_UP_EPOCHS = 3
STARTUP_TRIALS = 4


class OptunaTuner:
    """Studies in a journal file of the folder, or in the SQL database at `url`.

    It must not be the database of MLflow: both keep their schema version in a table of the same name.
    """

    def __init__(self, url: str | None, folder: Path) -> None:
        self._url = url
        self._folder = folder

    def tune(
        self,
        study: str,
        tuning: TuningSpec,
        maximise: bool,
        suggest: Callable[[Any], dict[str, Any]],
        objective: Objective,
        done: Callable[[Trial], None],
        first: Sequence[Mapping[str, Any]] = (),
        shared: SharedSearch | None = None,
    ) -> Trial:
        """Return the best trial of a study; finished trials of an earlier, killed search count.

        Raises:
            ModelError: no trial was completed.
            StoreUnavailable: the database of the studies does not answer.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._reaching():
            if shared is not None:
                return self._lead(shared, maximise, suggest, objective, done, first)
            opened = self._open(study, tuning, maximise)
            for trial in finished(opened):
                done(as_trial(trial))
            if not opened.trials:
                for parameters in first:
                    opened.enqueue_trial(dict(parameters))
            left = tuning.trials - len(finished(opened))
            if left > 0 and tuning.workers > 1:
                evaluation = functools.partial(_evaluation, self, study, tuning.seed, suggest, objective)
                optimise(
                    opened,
                    evaluation,
                    tuning.workers,
                    left,
                    tuning.timeout.total_seconds(),
                    lambda trial: done(as_trial(trial)),
                )
            elif left > 0:
                opened.optimize(
                    lambda trial: _evaluate(trial, suggest, objective),
                    n_trials=left,
                    timeout=tuning.timeout.total_seconds(),
                    callbacks=[lambda _, trial: done(as_trial(trial))],
                )
            return _best(opened)

    def _lead(
        self,
        offer: SharedSearch,
        maximise: bool,
        suggest: Callable[[Any], dict[str, Any]],
        objective: Objective,
        done: Callable[[Trial], None],
        first: Sequence[Mapping[str, Any]],
    ) -> Trial:
        """Evaluate the trials of a search together with the processes that join it; see `tune`."""
        opened = _created(offer.study, self._shared_storage(), maximise)
        opened.pruner = _pruner()
        evaluate = _evaluator(opened, offer.tuning.seed, suggest, objective)
        seconds = offer.tuning.timeout.total_seconds()
        shared_trials.lead(opened, offer, evaluate, seconds, first, lambda trial: done(as_trial(trial)))
        return _best(opened)

    def offered(self, model: str) -> SharedSearch | None:
        with self._reaching():
            return shared_trials.offered(self._shared_storage(), model)

    def join(
        self,
        search: SharedSearch,
        suggest: Callable[[Any], dict[str, Any]],
        objective: Objective,
        done: Callable[[Trial], None],
        idle: float,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._reaching():
            opened = optuna.load_study(
                study_name=search.study, storage=self._shared_storage(), pruner=_pruner()
            )
            evaluate = _evaluator(opened, search.tuning.seed, suggest, objective)
            shared_trials.follow(opened, evaluate, idle, lambda trial: done(as_trial(trial)))

    def _shared_storage(self) -> RDBStorage:
        """Return the database of shared searches; a journal file keeps no signs of life."""
        if self._url is None:
            raise ValueError("a shared search needs an SQL database")
        self._folder.mkdir(parents=True, exist_ok=True)
        return shared_trials.storage(self._url)

    def plots(self, study: str, folder: Path) -> list[Path]:
        from optuna.visualization import plot_optimization_history, plot_param_importances

        with self._reaching():
            opened = self.opened(study)
            complete = sum(trial.state is TrialState.COMPLETE for trial in opened.trials)
        pictures = {"tuning_history.html": plot_optimization_history}
        if complete >= 2:  # a single trial has no variance to explain
            pictures["tuning_importances.html"] = plot_param_importances
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in pictures.items():
            draw(opened).write_html(folder / name, include_plotlyjs="cdn")
        return [folder / name for name in pictures]

    def _open(self, name: str, tuning: TuningSpec, maximise: bool) -> optuna.Study:
        study = _created(name, self._storage(), maximise)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            # Its process is dead, because only a single training of a model tunes at a time.
            study.tell(trial.number, state=TrialState.FAIL)
        # The seed depends on the finished trials, so that a resumed search draws other parameters.
        study.sampler = _sampler(tuning.seed + len(study.trials))
        study.pruner = _pruner()
        return study

    def opened(self, name: str) -> optuna.Study:
        """Open a study that exists."""
        return optuna.load_study(study_name=name, storage=self._storage(), pruner=_pruner())

    def _storage(self) -> BaseStorage:
        if self._url is not None:
            # A connection that the server has closed meanwhile is opened again.
            return RDBStorage(self._url, engine_kwargs={"pool_pre_ping": True})
        self._folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(self._folder / "journal.log")))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, StorageInternalError) as error:
            if self._url is None:
                raise
            cause = error if isinstance(error, DBAPIError) else error.__cause__
            raise StoreUnavailable(
                f"{shown(self._url)}: {getattr(cause, 'orig', cause)}",
                hint="check that the database runs, and PERENNIAL_TUNING_URL",
            ) from error


def _created(name: str, storage: BaseStorage, maximise: bool) -> optuna.Study:
    """Return the study of this name, new or not."""
    direction = "maximize" if maximise else "minimize"
    return optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)


def _best(study: optuna.Study) -> Trial:
    """Return the best trial; of equal ones the first.

    Raises:
        ModelError: none was completed.
    """
    if not any(trial.state is TrialState.COMPLETE for trial in study.trials):
        raise ModelError(
            f"tuning {study.study_name}: no trial was completed",
            hint="raise tuning.trials or tuning.timeout in the spec",
        )
    return as_trial(study.best_trial)


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=False)


def _pruner() -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARM_UP_EPOCHS)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed and pruned trials."""
    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def as_trial(trial: FrozenTrial) -> Trial:
    """Return Optuna's trial as ours."""
    return Trial(
        number=trial.number,
        parameters=trial.user_attrs.get("parameters", trial.params),
        value=trial.value if trial.state is TrialState.COMPLETE else None,
        curve=tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values)),
        pruned=trial.state is TrialState.PRUNED,
        failed=trial.state is TrialState.FAIL,
    )


def _evaluate(trial: optuna.Trial, suggest: Callable[[Any], dict[str, Any]], objective: Objective) -> float:
    parameters = suggest(trial)
    # The constants of the search space, which are not drawn, belong to the trial too.
    trial.set_user_attr("parameters", parameters)

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return objective(parameters, report)


def _evaluation(
    tuner: OptunaTuner,
    study: str,
    seed: int,
    suggest: Callable[[Any], dict[str, Any]],
    objective: Objective,
) -> Callable[[int], None]:
    """Return the function of a worker process that evaluates a trial; see `_evaluator`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return _evaluator(tuner.opened(study), seed, suggest, objective)


def _evaluator(
    opened: optuna.Study, seed: int, suggest: Callable[[Any], dict[str, Any]], objective: Objective
) -> Callable[[int], None]:
    """Return the function that evaluates a trial by its storage id and tells the study its result."""

    def evaluate(trial_id: int) -> None:
        given = opened._storage.get_trial(trial_id)
        # By the number of the trial, not by the worker: which worker takes a trial depends on their speed. One that
        # lost its process is tried again under a new number, and must draw the same.
        number = given.system_attrs.get("failed_trial", given.number)
        opened.sampler = _sampler(int(np.random.SeedSequence([abs(seed), number]).generate_state(1)[0]))
        trial = optuna.Trial(opened, trial_id)
        tell = functools.partial(opened.tell, trial, skip_if_finished=True)
        with get_heartbeat_thread(trial_id, opened._storage):
            try:
                value = _evaluate(trial, suggest, objective)
            except optuna.TrialPruned:
                tell(state=TrialState.PRUNED)
            except UpdateFinishedTrialError:
                return  # given up for dead meanwhile, and queued again
            except Exception:
                tell(state=TrialState.FAIL)
                raise
            else:
                tell(value)

    return evaluate
