"""Demo over CI histories: which test will fail? Real test executions, or simulated ones."""

from __future__ import annotations

import shutil
from pathlib import Path

from perennial import catalog
from perennial.demo import stage
from perennial.demo.arrivals import Arrivals
from perennial.demo.cycles import CycleRequests
from perennial.demo.plan import DemoPlan
from perennial.demo.report import DemoResult
from perennial.demo.scenario import SIMULATED, choose_scenario
from perennial.history import datasets
from perennial.history.store import HistoryStore
from perennial.settings import Settings
from perennial.wiring import training

MODEL = "test_failure_predictor"
WINDOW = 500
"""Labelled predictions per point of the picture: many, because CI cycles differ much from each other."""

MEANWHILE = 0.25
"""Share of the rate during a training: the recorded cycles are some minutes of requests."""


def run(settings: Settings, rate: float, say: stage.Say, by_person: bool = False) -> DemoResult:
    """Run the whole demo from fresh state to the report; the arguments are those of `stage.play`."""
    stage.clear(settings, say)
    scenario = choose_scenario(lambda: _fetch(settings), SIMULATED)
    say(f"history for this demo: {scenario.source}; {scenario.why}")
    if settings.state.exists():
        shutil.rmtree(settings.state)
    started: list[Arrivals] = []

    def plan() -> DemoPlan:
        history = HistoryStore(settings.history_dir)
        arrivals = Arrivals(scenario, catalog.spec(MODEL, settings), history, training.features(settings))
        started.append(arrivals)
        requests = CycleRequests(scenario.examples, scenario.kept_from, arrivals.wait_published)

        def sample() -> str:
            arrivals.trainings_ended = True
            return requests.sample()

        added = arrivals.first()
        say(f"history up to cycle {scenario.known_until}: {added} executions of {scenario.source}")
        return DemoPlan(
            model=MODEL,
            label_source="ci",
            data=scenario.source,
            why=scenario.why,
            batches=requests.batches(),
            finished=arrivals.cycle,
            shifted_from=scenario.shifted_from,
            shift=scenario.shift,
            window=WINDOW,
            sample=sample,
            meanwhile=MEANWHILE,
            problem=lambda: arrivals.error,
        )

    try:
        return stage.play(settings, rate, say, plan, by_person)
    finally:
        for arrivals in started:
            arrivals.close()


def _fetch(settings: Settings) -> Path:
    """Download the real data set to a folder outside the demo's state, so that it is downloaded only once."""
    outside = settings.model_copy(update={"home": settings.home.parent})
    entry = datasets.find(datasets.catalogue(settings.shipped("configs/datasets.yaml")), "iofrol")
    return training.dataset_files(outside).fetch(entry, lambda done, total: None)
