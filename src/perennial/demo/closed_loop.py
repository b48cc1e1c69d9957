"""The closed loop over any model: first champion, requests, shift, retraining, second champion."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from perennial import catalog
from perennial.core.assets import Reason
from perennial.core.certificates.roles import ProcessRole
from perennial.core.events import LedgerRow, SystemActor
from perennial.core.governance.client_keys import Right
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.spec import ModelSpec
from perennial.demo.airflow_watch import AirflowWatch
from perennial.demo.approver import approve
from perennial.demo.events import EventLog, TimedEvent
from perennial.demo.plan import DemoPlan
from perennial.demo.release_observer import ReleaseObserver
from perennial.demo.replay import RequestReplay
from perennial.demo.report import DemoResult, NextRetraining
from perennial.demo.retraining_watch import RetrainingWatch, in_words
from perennial.errors import ReleaseError, ToolError
from perennial.flows.feedback.sources import add_source
from perennial.flows.governance.client_keys import add_key
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.evidence.sources import FeedbackSources
from perennial.settings import Settings
from perennial.wiring import database, monitoring, traffic
from perennial.wiring.certificates import page_verify

MEASURED = 600
"""Labels after the second promotion where the batches go on: enough for the effect, and for a back-test of the next
retraining."""
CARRYING = (Phase.SHADOW, Phase.CANARY, Phase.PROMOTING)
"""Phases of a release that need requests."""
CLIENT = "pipeline"
"""Name of the demo as a client."""


class ClosedLoop:
    """A run of a demo over a running stack with fresh state."""

    def __init__(
        self,
        settings: Settings,
        plan: DemoPlan,
        rate: float,
        say: Callable[[str], None],
        by_person: bool = False,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.by_person = by_person
        self.rate = rate
        self.spec: ModelSpec = catalog.spec(plan.model, settings)
        self.store = database.store(settings)
        self.password = monitoring.airflow_password(settings)
        self.airflow = AirflowWatch(
            settings.airflow_url,
            settings.airflow_user,
            self.password,
            page_verify(settings, ProcessRole.AIRFLOW),
        )
        self.events = EventLog(say)
        self.retrainings = RetrainingWatch(self.spec, settings, self.store.ledger)
        self.observer = ReleaseObserver(
            plan.model, self.store.releases, traffic.router(settings), self.events
        )
        self.replay = RequestReplay(
            settings.envoy_url,
            plan.model,
            plan.batches,
            rate,
            plan.finished,
            self._feedback_key(),
            self._client_key(),
            settings.verify,
        )
        self.approved: set[str] = set()

    def run(self) -> DemoResult:
        """Run the whole loop and return its measurements."""
        with self.observer:
            return self._close_the_loop(self._bootstrap())

    def _feedback_key(self) -> str:
        """Make the demo a source of labels: the system whose results it replays."""
        return add_source(
            self.plan.label_source, [self.plan.model], SystemActor.RELEASE,
            FeedbackSources(self.settings.feedback_sources), self.store.ledger, datetime.now(UTC),
            secrets.token_hex, taken=ClientKeys(self.settings.client_keys).all(),
        )  # fmt: skip

    def _client_key(self) -> str:
        """Make the demo a client, where clients need a key."""
        if not self.settings.keys_required:
            return ""
        return add_key(
            CLIENT, [Right.PREDICT], [self.plan.model], None, SystemActor.RELEASE,
            ClientKeys(self.settings.client_keys), self.store.ledger, datetime.now(UTC), secrets.token_hex,
            taken=FeedbackSources(self.settings.feedback_sources).all(),
        )  # fmt: skip

    def _bootstrap(self) -> ReleaseStatus:
        train, release = f"train_{self.plan.model}", f"release_{self.plan.model}"
        self.airflow.wait_parsed([train, release], timeout=90)
        run = self.airflow.trigger(train, {"reason": Reason.BOOTSTRAP.value, "text": "the first champion"})
        self.events.note("training of the first champion triggered through Airflow's REST API", "bootstrap")
        self.airflow.follow(train, run, self.events.note, timeout=900)
        return self._wait_champion(previous=None)

    def _close_the_loop(self, first: ReleaseStatus) -> DemoResult:
        replay, plan = self.replay, self.plan
        self.events.note(
            f"requests through Envoy start, {replay.rate:g} a second; their labels follow", "replay"
        )
        replay.start()
        try:
            self._wait(lambda: plan.shifted_from <= replay.counts.batch, 600, "the shifted batches")
            shift = replay.batch_started[replay.counts.batch]
            self.events.note(f"batch {replay.counts.batch}: {plan.shift}", "shift", shift)
            # Not the entry's time: that is the start of the monitor's pass, before it read the window.
            text, alarm = self._asked_for_retraining()
            retrained = self._retraining()
            status = self._wait_champion(first)
            further = self._further_retraining(status)
        finally:
            replay.stop()
        return DemoResult(
            source=plan.data,
            why=plan.why,
            first=first.candidate.version,
            champion=status.candidate.version,
            shift_began=shift,
            drift_seen=alarm.at,
            drift_text=text,
            retrained=retrained,
            steps=self.observer.steps,
            counts=replay.counts,
            gate=status.gate,
            further=further,
        )

    def _labels_since(self, since: datetime) -> int:
        return len(self.store.feedback.labels(since=since).get(self.plan.label_source, {}))

    def _asked_for_retraining(self) -> tuple[str, TimedEvent]:
        """Wait until enough labels came, or harm is proven, and return why a retraining is made."""
        if (enough := self.spec.retraining.enough_labels) is None:
            return self._alarmed()

        def asked() -> LedgerRow | str | None:
            if self.replay.counts.labels >= enough:
                self.retrainings.ask_for_labels()
            rows = self.retrainings.requests()
            return rows[-1] if rows else self.retrainings.withheld(self._champion())

        answer = self._wait(asked, 600, "enough labels for a retraining")
        if isinstance(answer, LedgerRow):
            text = in_words(answer)
            return text, self.events.note(f"a retraining is requested: {text}", "enough labels")
        text = f"the demo shows a release all the same, though {answer}"
        noted = self.events.note(f"the demo asks for a retraining as a person: {text}", "a person asks")
        self.retrainings.ask_as_person(text, CLIENT)
        return text, noted

    def _champion(self) -> str:
        """Return the digest of the newest release, which has succeeded."""
        status = self.observer.status()
        return status.candidate.digest if status is not None else ""

    def _alarmed(self) -> tuple[str, TimedEvent]:
        """Wait until the monitor has proven harm, or has warned for a while; then ask as a person."""
        watch = self.retrainings
        self._wait(lambda: watch.requests() or watch.warning(), 240, "an alarm or a warning")
        deadline = time.monotonic() + self.plan.patience
        self._wait(lambda: watch.requests() or time.monotonic() > deadline, 240, "an alarm")
        if rows := watch.requests():
            text = in_words(rows[-1])
            return text, self.events.note(f"the monitor raises a retraining: {text}", "drift")
        text = f"the monitor warns: {'; '.join(watch.warning() or ())}"
        noted = self.events.note(f"the demo asks for a retraining as a person: {text}", "drift")
        watch.ask_as_person(text, CLIENT)
        return text, noted

    def _further_retraining(self, status: ReleaseStatus) -> NextRetraining | None:
        """Wait for labels of the new champion; return what became of the retraining that they ask for, if they do."""
        promoted, enough = datetime.now(UTC), self.spec.retraining.enough_labels
        if self.plan.sample is not None:
            self.events.note(f"the effect is counted on {self.plan.sample()}", "effect")
            self._wait(lambda: self.replay.has_ended, 600, "the requests that count the effect")
        if enough is None:
            self._wait(lambda: self._labels_since(promoted) >= MEASURED, 240, "labels of the new champion")
            return None

        def decided() -> NextRetraining | None:
            if self._labels_since(status.entered_at) >= enough:
                self.retrainings.ask_for_labels()
            if why := self.retrainings.withheld(status.candidate.digest):
                return NextRetraining(made=False, why=why)
            asked = self.retrainings.requests()[1:]
            return NextRetraining(made=True, why=in_words(asked[-1])) if asked else None

        further = self._wait(decided, 600, "labels of the new champion")
        made = "is requested" if further.made else "is not made"
        self.events.note(f"a further retraining {made}: {further.why}", "" if further.made else "withheld")
        return further

    def _retraining(self) -> datetime:
        """Follow the DAG run of the asset event; returns its end time."""
        train = f"train_{self.plan.model}"
        self.replay.rate = self.rate * self.plan.meanwhile

        def started() -> str | None:
            runs = [run for run in self.airflow.runs(train) if run["run_type"].startswith("asset")]
            return runs[0]["dag_run_id"] if runs else None

        run = self._wait(started, 300, "Airflow to start the training")
        self.events.note("Airflow starts the training on the asset event", "retraining")
        self.airflow.follow(train, run, self.events.note, timeout=900)
        return datetime.now(UTC)

    def _wait_champion(self, previous: ReleaseStatus | None) -> ReleaseStatus:
        """Wait until the next release has succeeded; approves it, unless a person is to approve all but the first."""

        def done() -> ReleaseStatus | None:
            status = self.observer.status()
            carrying = status is not None and status.phase in CARRYING
            self.replay.rate = self.rate * (1.0 if carrying else self.plan.meanwhile)
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

        try:
            return self._wait(done, 600, "the release")
        finally:
            self.replay.rate = self.rate

    def _approve(self, status: ReleaseStatus, by_person: bool) -> None:
        if status.release_id in self.approved:
            return
        self.approved.add(status.release_id)
        candidate = f"{status.candidate.version} ({status.candidate.digest[:12]})"
        if by_person:
            waits = f"perennial release approve {self.plan.model} --help"
            self.events.note(f"{candidate} waits for a person: {waits}")
            return
        name = approve(self.settings, status.candidate)
        self.events.note(f"the demo approves {candidate} in MLflow with the account {name}")

    def _wait(self, condition: Callable[[], Any], timeout: float, what: str) -> Any:
        """Poll until the condition returns a true value, and return it; raises the error of a thread."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            for error in (self.replay.error, self.plan.problem()):
                if error is not None:
                    raise error
            if time.monotonic() > deadline:
                raise ToolError(
                    f"waited {timeout:.0f} s for {what}", hint=f"logs: {self.settings.state / 'logs'}"
                )
            time.sleep(0.5)
        return value
