"""The performance report: what a reader of the page must be able to trust."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.feedback import Labels
from doubles.routing import MemoryRouter

from perennial import catalog
from perennial.adapters.business_query import business_metric
from perennial.adapters.documents.markdown_page import page
from perennial.adapters.documents.performance_figures import draw_performance
from perennial.adapters.fairlearn_groups import group_figures
from perennial.core.governance.document import Picture
from perennial.core.monitoring_spec import BusinessSpec
from perennial.core.performance.anomalies import anomalies
from perennial.core.performance.cluster_mean import ClusterMean, runs_of_time
from perennial.core.performance.figures import Direction
from perennial.core.performance.report import PerformanceReport, make_document
from perennial.core.performance.trend import trend
from perennial.core.release.traffic import Route, Target
from perennial.errors import SpecError
from perennial.flows.monitoring.performance import ReportPorts, performance_report
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
NOW = datetime(2025, 6, 30, 12, tzinfo=UTC)
DAYS = 28
CHAMPION = Target(version="1.0.0", digest="a" * 64, release_id="r1")
TASK = '{"kind": "ranking", "threshold": 0.5}'


@dataclass
class World:
    """Answers of requests of 20 rows, and their labels."""

    log: pd.DataFrame
    feedback: Labels
    router: MemoryRouter = field(default_factory=MemoryRouter)

    def read(self, model, since=None):
        return self.log[self.log["at"] >= since]

    def rows(self, model=None):
        return []

    def report(self, spec=SPEC) -> PerformanceReport:
        ports = ReportPorts(self.router, self, self.feedback, self, group_figures, business_metric)
        return performance_report(spec, ports, NOW - timedelta(days=DAYS), NOW)


def world(seed: int = 1, wrong: float = 0.1, wrong_later: float | None = None, requests: int = 600) -> World:
    """Requests are wrong together in part: each has an own share around `wrong`."""
    rng = np.random.default_rng(seed)
    count = requests * 20
    at = np.sort(rng.uniform(0, DAYS * 86400, requests))
    request = np.repeat(np.arange(requests), 20)
    late = at[request] > DAYS * 43200
    rate = np.where(late, wrong if wrong_later is None else wrong_later, wrong)
    own = rng.beta(5, 5 / rate.mean() - 5, requests) / rate.mean()
    label = (rng.random(count) < 0.3).astype(float)
    mistaken = rng.random(count) < np.clip(rate * own[request], 0, 1)
    score = np.where((label > 0) ^ mistaken, 0.8, 0.2)
    when = pd.Timestamp(NOW - timedelta(days=DAYS)) + pd.to_timedelta(at[request], unit="s")
    frame = pd.DataFrame(
        {
            "prediction_id": [f"p{number}" for number in range(count)],
            "request_id": [f"q{number}" for number in request],
            "at": pd.DatetimeIndex(when).as_unit("ns"),
            "version": "1.0.0", "digest": CHAMPION.digest, "shadow": False, "score": score,
            "decision": (score >= 0.5).astype(int), "task": TASK, "answer": None, "names": "[]",
            "latency_ms": rng.lognormal(3, 0.3, requests)[request], "client": "c1",
            "entity": "{}", "context": [f'{{"cycle_size": {20 + number % 3}}}' for number in request],
        }
    )  # fmt: skip
    features = {f"feature:{name}": rng.normal(size=count) for name in SPEC.monitoring.columns}
    labels = Labels()
    labels.put(dict(zip(frame["prediction_id"], label, strict=True)), NOW, "ci")
    made = World(frame.assign(**features), labels)
    made.router.apply(Route(model=SPEC.name, stable=CHAMPION))
    made.router.answered(SPEC.name, "stable", requests=600, errors=3, refused=7)
    return made


def test_a_loss_of_accuracy_is_told_with_its_interval_and_a_healthy_model_calls_for_nothing():
    fell = world(wrong=0.1, wrong_later=0.16).report()
    assert fell.degradation is not None
    assert fell.degradation.low < -0.06 < fell.degradation.high < 0
    assert any("perennial retrain test_failure_predictor" in advice.text for advice in fell.recommendations)
    healthy = [world(seed).report() for seed in range(2, 7)]
    assert sum(bool(report.recommendations) for report in healthy) <= 1
    assert fell.predictions == 12_000 == fell.labelled
    assert fell.champion == "1.0.0"
    assert fell.traffic is not None
    assert [(part.requests, part.errors, part.refused) for part in fell.traffic] == [(600, 3, 7)]


def test_periods_have_no_gaps_and_hold_every_answer():
    report = world().report()
    assert all(
        before.end == after.begin for before, after in zip(report.periods, report.periods[1:], strict=False)
    )
    assert len(report.periods) == DAYS + 1
    assert sum(period.requests for period in report.periods) == 600


def test_a_model_of_some_minutes_has_periods_of_minutes_but_no_trend():
    made = world()
    young = NOW - timedelta(minutes=9)
    made.log = made.log.assign(at=young + (made.log["at"] - made.log["at"].iloc[0]) / (DAYS * 160 + 1))
    report = made.report()
    assert {period.end - period.begin for period in report.periods} == {timedelta(minutes=1)}
    assert 9 <= len(report.periods) <= 11
    assert sum(period.requests for period in report.periods) == 600
    assert (report.trends, report.anomalies) == ((), ())


def test_a_slice_that_is_worse_is_proven_and_its_neighbours_are_not():
    made = world(requests=1200)
    bad = made.log["feature:flakiness_score"] > 0.7
    flipped = np.where(bad & (np.arange(len(bad)) % 4 == 0), 1 - made.log["score"], made.log["score"])
    made.log = made.log.assign(score=flipped, decision=(flipped >= 0.5).astype(int))
    worse = [part for part in made.report().slices if part.is_proven_worse]
    assert {part.column for part in worse} == {"flakiness_score"}
    assert worse[0].value.endswith("inf)")


def test_fairness_is_measured_where_a_column_of_the_log_has_groups():
    made = world()
    spec = SPEC.model_copy(update={"data": SPEC.data.model_copy(update={"sensitive": ("cycle_size",)})})
    report = made.report(spec)
    assert {part.column for part in report.fairness} == {"cycle_size"}
    assert {name for part in report.fairness for name in part.groups} == {"20", "21", "22"}
    assert len({part.begin for part in report.fairness}) == 4


def test_a_period_unlike_all_others_is_named_with_what_is_off():
    rng = np.random.default_rng(4)
    begins = [NOW + timedelta(days=day) for day in range(40)]

    def figures(p95_of_30: float) -> dict[str, list[float | None]]:
        p95 = rng.normal(30, 2, 40)
        p95[30] = p95_of_30
        return {
            "latency p95": p95.tolist(),
            "requests": rng.normal(900, 50, 40).tolist(),
            "right": [None] * 40,
        }

    (odd,) = anomalies(begins, figures(90.0), seed=7)
    assert (odd.begin, list(odd.figures)) == (begins[30], ["latency p95"])
    assert sum(len(anomalies(begins, figures(30.0), seed=7)) for _ in range(8)) <= 1
    assert anomalies(begins[:10], {"requests": [1.0] * 9 + [99.0]}, seed=7) == ()


@pytest.mark.parametrize(
    ("slope", "noise", "direction"),
    [(0.5, 0.2, Direction.RISING), (-0.5, 0.2, Direction.FALLING), (0.0, 1.0, Direction.NOT_PROVEN)],
)
def test_a_trend_is_named_where_it_is_proven(slope, noise, direction):
    days = np.arange(20.0)
    values = slope * days + np.random.default_rng(3).normal(0, noise, 20)
    values[7] = 400.0  # one odd day moves nothing
    found = trend("latency p95", days.tolist(), values.tolist())
    assert found is not None
    assert found.direction is direction
    assert found.per_day.low <= slope <= found.per_day.high


def test_an_interval_by_requests_holds_its_promise_where_rows_are_alike():
    rng, held, narrow = np.random.default_rng(5), 0, 0
    for _ in range(400):
        rate = rng.beta(1, 4, 40)  # a request's own share of mistakes; 0.2 on average
        values, cluster = (
            (rng.random((40, 20)) < rate[:, None]).astype(float).ravel(),
            np.repeat(np.arange(40), 20),
        )
        interval = ClusterMean.of(values, cluster).estimate()
        alone = ClusterMean.of(values, np.arange(800)).estimate()
        held += interval.low <= 0.2 <= interval.high
        narrow += alone.low <= 0.2 <= alone.high
    assert held / 400 > 0.92
    assert narrow / 400 < 0.75
    assert not ClusterMean.of(np.ones(9), np.zeros(9)).estimate().is_bounded


def test_an_interval_by_runs_of_time_holds_its_promise_where_requests_that_follow_each_other_are_alike():
    rng, held, narrow = np.random.default_rng(6), 0, 0
    request = np.arange(4000)
    for _ in range(400):
        rate = rng.beta(1, 4, 100)  # a cycle's own share of mistakes
        values = (rng.random((100, 40)) < rate[:, None]).astype(float).ravel()
        interval = ClusterMean.of(values, runs_of_time(request)).estimate()
        alone = ClusterMean.of(values, request).estimate()
        held += interval.low <= 0.2 <= interval.high
        narrow += alone.low <= 0.2 <= alone.high
    assert held / 400 > 0.92
    assert narrow / 400 < 0.75
    assert len(set(runs_of_time(request))) == 20
    assert len(set(runs_of_time(np.repeat(np.arange(5), 9)))) == 5


def test_a_business_metric_is_a_query_over_the_answers_and_sees_nothing_else(tmp_path):
    rows = world(requests=5).log.assign(label=1.0, right=1.0, loss=np.nan)

    def asked(sql):
        return business_metric(rows, BusinessSpec(sql=sql, unit="EUR"))

    assert asked("SELECT 12.5 * count(*) FROM answers WHERE decision = 1 AND label = 1") == 12.5 * (
        rows["decision"].sum()
    )
    assert asked("SELECT avg(feature_flakiness_score) FROM answers WHERE false") is None
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for wrong in (
        "SELECT nothing FROM answers", "SELECT score FROM answers", "SELECT 'text'", "SELECT 1, 2",
        f"FROM read_csv('{tmp_path / 'secret.csv'}')", f"COPY answers TO '{tmp_path / 'out.csv'}'",
    ):  # fmt: skip
        with pytest.raises(SpecError):
            asked(wrong)
    assert not (tmp_path / "out.csv").exists()


def test_the_page_shows_every_figure_and_the_json_comes_back(tmp_path):
    business = {"saved": BusinessSpec(sql="SELECT sum(label) FROM answers", unit="h")}
    watched = SPEC.monitoring.model_copy(update={"business": business})
    report = world().report(SPEC.model_copy(update={"monitoring": watched}))
    draw_performance(report, tmp_path / "picture.png")
    picture = Picture(file="picture.png", shows="usage")
    document = make_document(report, (picture,))
    text = page(document.title, document.markdown(), {"picture.png": tmp_path / "picture.png"})
    for expected in (
        "Performance of test_failure_predictor",
        "data:image/png;base64,",
        "saved [h]",
        "Slices",
    ):
        assert expected in text
    assert PerformanceReport.model_validate_json(report.model_dump_json()) == report


def test_a_model_that_nobody_asks_is_told_so():
    empty = world(requests=5)
    empty.log = empty.log[:0]
    empty.router.down = True
    report = empty.report()
    assert (report.predictions, report.traffic, report.periods) == (0, None, ())
    assert "nothing asks" not in make_document(report, ()).title
    assert "perennial router show" in report.recommendations[0].text
