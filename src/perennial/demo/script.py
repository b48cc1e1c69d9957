"""The order of the demo: bootstrap a champion, replay, shift, watch the loop close."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from perennial import catalog
from perennial.core.events import Event
from perennial.core.payloads import RetrainRequest
from perennial.core.release.status import Phase
from perennial.core.spec import ModelSpec, Reason
from perennial.demo import picture, report
from perennial.demo.airflow_watch import AirflowWatch
from perennial.demo.approver import approve
from perennial.demo.events import EventLog
from perennial.demo.release_observer import ReleaseObserver
from perennial.demo.replay import RequestReplay
from perennial.demo.report import DemoResult
from perennial.demo.scenario import Arrivals, DemoScenario, choose_scenario
from perennial.errors import PerennialError, ReleaseError, ToolError
from perennial.history import datasets
from perennial.history.simulator import Scenario
from perennial.history.store import HistoryStore
from perennial.local import supervisor
from perennial.settings import Settings
from perennial.wiring import database, monitoring, releasing, traffic, training

MODEL = "test_failure_predictor"


class DemoRun:
    """One run of the demo over a fresh state folder."""

    def __init__(self, settings: Settings, rate: float, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.rate = rate
        self.say = say
        self.spec: ModelSpec = catalog.spec(MODEL, settings)
        self.store = database.store(settings)
        self.password = monitoring.airflow_password(settings)
        self.airflow = AirflowWatch(settings, self.password)
        self.events = EventLog(say)
        self.answered: set[str] = set()

    def run(self, scenario: DemoScenario) -> DemoResult:
        """Play everything; raises the error that ended it early."""
        features = training.features(self.settings)
        arrivals = Arrivals(scenario, self.spec, HistoryStore(self.settings.history_dir), features)
        try:
            added = arrivals.first()
            self.events.note(
                f"history up to cycle {scenario.known_until}: {added} executions of {scenario.source}"
            )
            with ReleaseObserver(
                MODEL, self.store.releases, traffic.router(self.settings), self.events
            ) as observer:
                self._bootstrap(observer)
                return self._close_the_loop(scenario, arrivals, observer)
        finally:
            arrivals.close()

    def _bootstrap(self, observer: ReleaseObserver) -> None:
        train, release = f"train_{MODEL}", f"release_{MODEL}"
        self.airflow.wait_parsed([train, release], timeout=90)
        run = monitoring.scheduler(self.settings).trigger(
            train, {"reason": Reason.BOOTSTRAP.value, "text": "the first champion"}
        )
        self.events.note("training of the first champion triggered through Airflow's REST API", "bootstrap")
        self.airflow.follow(train, run, self.events.note, timeout=900)
        self._wait_champion(observer, previous=None, timeout=600)

    def _close_the_loop(
        self, scenario: DemoScenario, arrivals: Arrivals, observer: ReleaseObserver
    ) -> DemoResult:
        first = observer.status()
        replay = RequestReplay(self.settings.envoy_url, MODEL, scenario.examples, self.rate, arrivals.cycle)
        self.events.note(
            f"replay of later cycles through Envoy starts, {self.rate:g} requests a second", "replay"
        )
        replay.start()
        try:
            self._wait(
                lambda: scenario.shifted_from <= replay.tally.cycle,
                240,
                "the shifted cycles",
                replay,
                arrivals,
            )
            shift = replay.cycle_started[replay.tally.cycle]
            self.events.note(f"cycle {replay.tally.cycle}: the failures shift", "shift", shift)
            seen = self._wait(self._drift_row, 240, "the monitor to see the drift", replay, arrivals)
            text = RetrainRequest.read(seen.entry).text
            # The entry's time is when the look began; the window was read a little later.
            alarm = self.events.note(f"the monitor raises a retraining: {text}", "drift")
            retrained = self._retraining(replay, arrivals)
            status = self._wait_champion(observer, first, 600, replay, arrivals)
            time.sleep(5.0)  # so that the picture shows the new champion alone
        finally:
            replay.stop()
        return DemoResult(
            source=scenario.source,
            why=scenario.why,
            champion=status.candidate.version,
            shift_began=shift,
            drift_seen=alarm.at,
            drift_text=text,
            retrained=retrained,
            steps=observer.steps,
            tally=replay.tally,
        )

    def _drift_row(self):
        rows = [row for row in self.store.ledger.rows(MODEL) if row.entry.kind == Event.RETRAIN_REQUESTED]
        return rows[-1] if rows else None

    def _retraining(self, replay: RequestReplay, arrivals: Arrivals) -> datetime:
        """Follow the run that the asset event started; returns when it ended."""
        train = f"train_{MODEL}"

        def started():
            runs = [run for run in self.airflow.runs(train) if run["run_type"].startswith("asset")]
            return runs[0]["dag_run_id"] if runs else None

        run = self._wait(started, 60, "Airflow to start the training", replay, arrivals)
        self.events.note("Airflow starts the training on the asset event", "retraining")
        self.airflow.follow(train, run, self.events.note, timeout=900)
        return datetime.now(UTC)

    def _wait_champion(self, observer: ReleaseObserver, previous, timeout: float, replay=None, arrivals=None):
        """Until the next release has succeeded; a question to a person is answered on the way."""

        def done():
            status = observer.status()
            if status is None or (previous is not None and status.release_id == previous.release_id):
                return None
            if status.phase is Phase.AWAITING_APPROVAL:
                self._approve(status)
            if status.phase.is_final() and status.phase is not Phase.SUCCEEDED:
                raise ReleaseError(
                    f"release of {status.candidate.version} ended {status.phase.value}: {status.note}",
                    hint="perennial release status, perennial ledger show",
                )
            return status if status.phase is Phase.SUCCEEDED else None

        return self._wait(done, timeout, "the release", replay, arrivals)

    def _approve(self, status) -> None:
        if status.release_id in self.answered:
            return
        self.answered.add(status.release_id)
        name = approve(self.settings, status.candidate)
        told = f"{status.candidate.version} ({status.candidate.digest[:12]})"
        self.events.note(f"the demo, as the account {name}, approves {told} in MLflow")

    def _wait(self, condition: Callable, timeout: float, what: str, replay=None, arrivals=None):
        """Poll until the condition gives something true; a thread's error ends the wait."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            for thread in (replay, arrivals):
                if thread is not None and thread.error is not None:
                    raise thread.error
            if time.monotonic() > deadline:
                raise ToolError(
                    f"waited {timeout:.0f} s for {what}", hint=f"logs: {self.settings.state / 'logs'}"
                )
            time.sleep(0.5)
        return found


def run(settings: Settings, rate: float, say: Callable[[str], None]) -> DemoResult:
    """The whole demo: fresh state, processes up, the demo, the report. Stops the processes on any error."""
    if supervisor.running(settings):
        say("an earlier demo still runs: stopping it")
        supervisor.down(settings, say)
    supervisor.check_ports(settings)
    scenario = choose_scenario(lambda: _fetch(settings), Scenario())
    say(f"history for this demo: {scenario.source}; {scenario.why}")
    if settings.state.exists():
        shutil.rmtree(settings.state)
    try:
        supervisor.up(settings, say)
        demo = DemoRun(settings, rate, say)
        outcome = demo.run(scenario)
        finish(demo, outcome)
    except (PerennialError, KeyboardInterrupt):
        say("stopping all processes")
        supervisor.down(settings, say)
        raise
    return outcome


def finish(demo: DemoRun, outcome: DemoResult) -> None:
    """Picture, JSON file and table."""
    import pandas as pd

    folder = demo.settings.reports / "demo"
    log = releasing.prediction_log(demo.settings).read(MODEL)
    labels = pd.Series(dict(demo.store.feedback.labels()), dtype=float)
    first = log["at"].min().floor("us").to_pydatetime()
    title = f"{MODEL}: {outcome.source}, {outcome.tally.sent} requests, {outcome.tally.failed} failed"
    picture.draw(
        folder / "loop.png", log, labels, demo.events.events, first, demo.spec.target.threshold, title
    )
    report.write(folder / "report.json", outcome)
    report.show(outcome, demo.events, folder / "loop.png", demo.settings, demo.password)


def _fetch(settings: Settings) -> Path:
    """The real data set, kept outside the demo's state so that it is fetched once."""
    kept = settings.model_copy(update={"home": settings.home.parent})
    entry = datasets.find(datasets.catalogue(settings.configs / "datasets.yaml"), "iofrol")
    return training.dataset_files(kept).fetch(entry, lambda done, total: None)
