"""Script of the demo: train the first champion, replay requests, shift, retrain, release again."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perennial import catalog
from perennial.core.assets import Reason
from perennial.core.events import Event, LedgerRow, SystemActor
from perennial.core.governance.client_keys import Right
from perennial.core.payloads import RetrainRequest
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.spec import ModelSpec
from perennial.demo import picture, report
from perennial.demo.airflow_watch import AirflowWatch
from perennial.demo.approver import approve
from perennial.demo.events import EventLog
from perennial.demo.release_observer import ReleaseObserver
from perennial.demo.replay import RequestReplay
from perennial.demo.report import DemoResult
from perennial.demo.scenario import Arrivals, DemoScenario, choose_scenario
from perennial.errors import PerennialError, ReleaseError, ToolError
from perennial.flows.feedback.sources import add_source
from perennial.flows.governance.client_keys import add_key
from perennial.history import datasets
from perennial.history.simulator import SimulationScenario
from perennial.history.store import HistoryStore
from perennial.local import supervisor, supervisord
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.evidence.sources import FeedbackSources
from perennial.settings import Settings
from perennial.wiring import database, monitoring, releasing, traffic, training

MODEL = "test_failure_predictor"
SOURCE = "ci"
"""Source of labels that the model's spec trusts."""
CLIENT = "pipeline"
"""Name of the demo as a client."""


class DemoRun:
    """A run of the demo over a fresh state folder."""

    def __init__(
        self,
        settings: Settings,
        scenario: DemoScenario,
        rate: float,
        say: Callable[[str], None],
        by_person: bool = False,
    ) -> None:
        self.settings = settings
        self.by_person = by_person
        self.scenario = scenario
        self.spec: ModelSpec = catalog.spec(MODEL, settings)
        self.store = database.store(settings)
        self.password = monitoring.airflow_password(settings)
        self.airflow = AirflowWatch(
            settings.airflow_url, settings.airflow_user, self.password, settings.verify
        )
        self.events = EventLog(say)
        self.observer = ReleaseObserver(MODEL, self.store.releases, traffic.router(settings), self.events)
        history = HistoryStore(settings.history_dir)
        self.arrivals = Arrivals(scenario, self.spec, history, training.features(settings))
        self.replay = RequestReplay(
            settings.envoy_url,
            MODEL,
            scenario.examples,
            rate,
            self.arrivals.cycle,
            self._feedback_key(),
            self._client_key(),
            settings.verify,
        )
        self.approved: set[str] = set()

    def run(self) -> DemoResult:
        """Run the whole scenario and return its measurements."""
        try:
            added, scenario = self.arrivals.first(), self.scenario
            self.events.note(
                f"history up to cycle {scenario.known_until}: {added} executions of {scenario.source}"
            )
            with self.observer:
                self._bootstrap()
                return self._close_the_loop()
        finally:
            self.arrivals.close()

    def _feedback_key(self) -> str:
        """Make the demo a source of labels: the CI system whose results it replays."""
        return add_source(
            SOURCE, [MODEL], SystemActor.RELEASE, FeedbackSources(self.settings.feedback_sources),
            self.store.ledger, datetime.now(UTC), secrets.token_hex,
            taken=ClientKeys(self.settings.client_keys).all(),
        )  # fmt: skip

    def _client_key(self) -> str:
        """Make the demo a client, where clients need a key."""
        if not self.settings.keys_required:
            return ""
        return add_key(
            CLIENT, [Right.PREDICT], [MODEL], None, SystemActor.RELEASE, ClientKeys(self.settings.client_keys),
            self.store.ledger, datetime.now(UTC), secrets.token_hex,
            taken=FeedbackSources(self.settings.feedback_sources).all(),
        )  # fmt: skip

    def _bootstrap(self) -> None:
        train, release = f"train_{MODEL}", f"release_{MODEL}"
        self.airflow.wait_parsed([train, release], timeout=90)
        run = self.airflow.trigger(train, {"reason": Reason.BOOTSTRAP.value, "text": "the first champion"})
        self.events.note("training of the first champion triggered through Airflow's REST API", "bootstrap")
        self.airflow.follow(train, run, self.events.note, timeout=900)
        self._wait_champion(previous=None)

    def _close_the_loop(self) -> DemoResult:
        first, replay = self.observer.status(), self.replay
        self.events.note(
            f"replay of later cycles through Envoy starts, {replay.rate:g} requests a second", "replay"
        )
        replay.start()
        try:
            self._wait(lambda: self.scenario.shifted_from <= replay.counts.cycle, 240, "the shifted cycles")
            shift = replay.cycle_started[replay.counts.cycle]
            self.events.note(f"cycle {replay.counts.cycle}: the failures shift", "shift", shift)
            text = RetrainRequest.read(self._wait(self._drift_row, 240, "the drift alarm").entry).text
            # Not the entry's time: that is the start of the monitor's pass, before it read the window.
            alarm = self.events.note(f"the monitor raises a retraining: {text}", "drift")
            retrained = self._retraining()
            status = self._wait_champion(first)
            time.sleep(5.0)  # so that the picture shows the new champion alone
        finally:
            replay.stop()
        return DemoResult(
            source=self.scenario.source,
            why=self.scenario.why,
            champion=status.candidate.version,
            shift_began=shift,
            drift_seen=alarm.at,
            drift_text=text,
            retrained=retrained,
            steps=self.observer.steps,
            counts=replay.counts,
        )

    def _drift_row(self) -> LedgerRow | None:
        rows = [row for row in self.store.ledger.rows(MODEL) if row.entry.kind == Event.RETRAIN_REQUESTED]
        return rows[-1] if rows else None

    def _retraining(self) -> datetime:
        """Follow the DAG run of the asset event; returns its end time."""
        train = f"train_{MODEL}"

        def started() -> str | None:
            runs = [run for run in self.airflow.runs(train) if run["run_type"].startswith("asset")]
            return runs[0]["dag_run_id"] if runs else None

        run = self._wait(started, 60, "Airflow to start the training")
        self.events.note("Airflow starts the training on the asset event", "retraining")
        self.airflow.follow(train, run, self.events.note, timeout=900)
        return datetime.now(UTC)

    def _wait_champion(self, previous: ReleaseStatus | None) -> ReleaseStatus:
        """Wait until the next release has succeeded; approves it, unless a person is to approve all but the first."""

        def done() -> ReleaseStatus | None:
            status = self.observer.status()
            if status is None or (previous is not None and status.release_id == previous.release_id):
                return None
            if status.phase is Phase.AWAITING_APPROVAL:
                self._approve(status, by_person=self.by_person and previous is not None)
            if status.phase.is_final() and status.phase is not Phase.SUCCEEDED:
                raise ReleaseError(
                    f"release of {status.candidate.version} ended {status.phase.value}: {status.note}",
                    hint="perennial release status, perennial ledger show",
                )
            return status if status.phase is Phase.SUCCEEDED else None

        return self._wait(done, 600, "the release")

    def _approve(self, status: ReleaseStatus, by_person: bool) -> None:
        if status.release_id in self.approved:
            return
        self.approved.add(status.release_id)
        candidate = f"{status.candidate.version} ({status.candidate.digest[:12]})"
        if by_person:
            self.events.note(f"{candidate} waits for a person: perennial release approve {MODEL} --help")
            return
        name = approve(self.settings, status.candidate)
        self.events.note(f"the demo approves {candidate} in MLflow with the account {name}")

    def _wait(self, condition: Callable[[], Any], timeout: float, what: str) -> Any:
        """Poll until the condition returns a true value, and return it; raises the error of a thread."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            for error in (self.replay.error, self.arrivals.error):
                if error is not None:
                    raise error
            if time.monotonic() > deadline:
                raise ToolError(
                    f"waited {timeout:.0f} s for {what}", hint=f"logs: {self.settings.state / 'logs'}"
                )
            time.sleep(0.5)
        return value


def run(settings: Settings, rate: float, say: Callable[[str], None], by_person: bool = False) -> DemoResult:
    """Run the whole demo from fresh state to the report; stops the processes on an error.

    Args:
        rate: requests per second of the replay.
        say: called with each line of text.
        by_person: whether the release after the retraining waits for a person's approval.
    """
    if supervisord.running(settings):
        say("stopping an earlier demo")
        supervisor.down(settings, say)
    supervisor.check_ports(settings)
    scenario = choose_scenario(lambda: _fetch(settings), SimulationScenario())
    say(f"history for this demo: {scenario.source}; {scenario.why}")
    if settings.state.exists():
        shutil.rmtree(settings.state)
    try:
        supervisor.up(settings, say)
        demo = DemoRun(settings, scenario, rate, say, by_person)
        result = demo.run()
        finish(demo, result)
    except (PerennialError, KeyboardInterrupt):
        say("stopping all processes")
        supervisor.down(settings, say)
        raise
    return result


def finish(demo: DemoRun, result: DemoResult) -> None:
    """Write the picture and the JSON file, and print the report."""
    import pandas as pd

    folder = demo.settings.reports / "demo"
    log = releasing.prediction_log(demo.settings).read(MODEL)
    labels = pd.Series(dict(demo.store.feedback.labels().get(SOURCE, {})), dtype=float)
    first = log["at"].min().floor("us").to_pydatetime()
    title = f"{MODEL}: {result.source}, {result.counts.sent} requests, {result.counts.failed} failed"
    picture.draw(folder / "loop.png", log, labels, demo.events.events, first, demo.spec.task.threshold, title)
    report.write(folder / "report.json", result)
    report.show(result, demo.events, folder / "loop.png", demo.settings, demo.password)


def _fetch(settings: Settings) -> Path:
    """Download the real data set to a folder outside the demo's state, so that it is downloaded only once."""
    outside = settings.model_copy(update={"home": settings.home.parent})
    entry = datasets.find(datasets.catalogue(settings.shipped("configs/datasets.yaml")), "iofrol")
    return training.dataset_files(outside).fetch(entry, lambda done, total: None)
