"""The kind forecast: windows without the future, figures of scikit-learn, and refusals with row and value."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.core.evaluation.evaluation import MODEL, evaluate_scores
from perennial.core.evaluation.metrics import estimates
from perennial.core.tasks import TASK, Forecast
from perennial.core.tasks.naive import scale_of
from perennial.core.tasks.windows import Frequency, Windows, frequency_of
from perennial.errors import DataError, MalformedInput, WrongAnswer, WrongTarget

TASK_KEYS = {
    "kind": "forecast", "unit": "EUR", "frequency": "month", "horizon": 3, "past": 5, "season": 4,
    "quantiles": (0.1, 0.5, 0.9),
}  # fmt: skip
FORECAST = TASK.validate_python(TASK_KEYS)


def rows(seed: int, size: int = 300, skill: float = 0.5):
    """Random walks: target, quantiles (skill 0: an unrelated value, 1: the target), groups and features."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(size=(size, 8)), axis=1)
    step = random.integers(1, 4, size)
    features = np.column_stack([walk[:, 4::-1], step, random.integers(0, 4, size)]).astype(float)
    target = walk[np.arange(size), 4 + step]
    middle = skill * target + (1 - skill) * random.normal(0, 3, size)
    answer = middle[:, None] + np.array([-1.0, 0.0, 1.0]) * random.uniform(0.5, 1.5, (size, 1))
    return target, answer, random.integers(0, 12, size), features


def expected(target, answer, features, weight) -> dict[str, float]:
    known = {"sample_weight": weight}
    scale = np.abs(np.diff(features[:, :5], axis=1)).mean(axis=1)
    losses = [
        sk.mean_pinball_loss(target, answer[:, place], alpha=level, **known)
        for place, level in enumerate(FORECAST.quantiles)
    ]
    scaled = [
        sk.mean_pinball_loss(target / scale, answer[:, place] / scale, alpha=level, **known)
        for place, level in enumerate(FORECAST.quantiles)
    ]
    inside = (answer[:, 0] <= target) & (target <= answer[:, 2])
    third = features[:, 5] == 3
    return {
        "pinball": np.mean(losses),
        "scaled_pinball": np.mean(scaled),
        "mae": sk.mean_absolute_error(target, answer[:, 1], **known),
        "mase": sk.mean_absolute_error(target / scale, answer[:, 1] / scale, **known),
        "coverage": np.average(inside, weights=weight),
        "interval_width": np.average(answer[:, 2] - answer[:, 0], weights=weight),
        "coverage_3": np.average(inside[third], weights=weight[third]),
        "mase_3": np.average((np.abs(answer[:, 1] - target) / scale)[third], weights=weight[third]),
    }


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_scikit_learn(seed):
    target, answer, group, features = rows(seed)
    scored = FORECAST.scored(target, answer, group, features)
    assert set(scored.measure()) == set(FORECAST.metrics)
    for weights in (
        np.ones(len(scored.groups)),
        np.random.default_rng(seed).integers(1, 4, len(scored.groups)),
    ):
        wanted = expected(target, answer, features, weights[np.searchsorted(scored.groups, group)])
        measured = scored.measure(weights.astype(float))
        assert {name: measured[name] for name in wanted} == pytest.approx(wanted)


@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.floats(0, 1))
@settings(deadline=None, max_examples=examples(60))
def test_no_figure_leaves_its_range(seed, size, skill):
    target, answer, group, features = rows(seed, size, skill)
    features[0, :5] = 2.0  # a constant past has no scale
    scored = FORECAST.scored(target, answer, group, features)
    weights = np.random.default_rng(seed).integers(0, 3, len(scored.groups)).astype(float)
    if not weights.any():
        return
    for name, value in scored.measure(weights).items():
        assert np.isnan(value) or (value >= 0 and (not name.startswith("coverage") or value <= 1 + 1e-12))


def test_an_interval_counts_groups_and_not_rows():
    target, answer, _, features = rows(2, 60)
    target, answer, features = target.repeat(10), answer.repeat(10, axis=0), features.repeat(10, axis=0)
    widths = []
    for group in (np.arange(60).repeat(10), np.arange(600)):
        found = estimates({"a": FORECAST.scored(target, answer, group, features)}, None, 100, 1)[0]["a"][
            "mase"
        ]
        widths.append(found.high - found.low)
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, "3", None, True, 1e39])
def test_a_target_outside_the_kind_is_refused_with_its_row_and_value(bad):
    with pytest.raises(WrongTarget) as refused:
        FORECAST.targets(np.array([1.5, 2, bad], dtype=object), "price")
    assert f"row 2: {bad!r}" in refused.value.message
    assert "'price'" in refused.value.message


def test_crossing_or_missing_quantiles_and_other_shapes_are_refused():
    target, answer, group, features = rows(1)
    broken = answer.copy()
    broken[7] = np.nan
    for other in (broken, answer[:, ::-1], answer[:, 0], answer[:, :2], np.full_like(answer, np.inf)):
        with pytest.raises(WrongAnswer):
            FORECAST.scored(target, other, group, features)


@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.integers(1, 6), st.integers(2, 6), st.floats(0, 0.3))
@settings(deadline=None, max_examples=examples(60))
def test_a_window_never_holds_a_value_of_its_origin_s_future(seed, length, horizon, past, gone):
    """Values tell their own period, so each lag can be checked; periods are missing at random."""
    random = np.random.default_rng(seed)
    period = np.flatnonzero(random.random(length) >= gone) + 100
    series = random.choice(["a", "b"], len(period))
    windows = Windows(Frequency.MONTH, past, horizon, 4)
    try:
        made = windows.rows(series, period, period.astype(float) + 1000 * (series == "b"))
    except DataError:
        return
    shift = 1000 * (made["series"] == "b")
    origin = made["period"] - made["step"]
    assert (made["target"] == made["period"] + shift).all()
    for number in range(1, past + 1):
        assert (made[f"lag_{number}"] == origin - number + 1 + shift).all()
    assert (made["phase"] == made["period"] % 4).all()
    assert ((made["step"] >= 1) & (made["step"] <= horizon)).all()


def test_two_values_of_a_period_are_refused_with_their_rows():
    windows = Windows(Frequency.DAY, 2, 1, 1)
    with pytest.raises(MalformedInput, match="rows 1 and 3: series x has two values in the same day"):
        windows.rows(np.array(["x"] * 4), np.array([1, 2, 3, 2]), np.arange(4.0))
    with pytest.raises(DataError, match="no series has 3 values in a row: the longest has 2"):
        windows.rows(np.array(["x", "x"]), np.array([1, 2]), np.arange(2.0))


def test_a_request_becomes_a_row_for_each_step():
    several = {"series": "A", "time": "2030-11-30T23:00:00-05:00", "past": [1, 2, 3, 4, 5]}
    named, inputs = FORECAST.windows.expand([several], several=True)
    assert named[0] == {"series": "A", "time": several["time"], "step": 1}
    assert [row["step"] for row in inputs] == [1, 2, 3]
    assert (inputs[0]["lag_1"], inputs[0]["lag_5"], inputs[0]["series"]) == (5, 1, "A")
    december = (2030 - 1970) * 12 + 11  # 30 November in New York is December in UTC
    assert [row["phase"] for row in inputs] == [(december + step) % 4 for step in (1, 2, 3)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"past": [1, 2]}, "past has 2 values"),
        ({"past": "12345"}, "past has no values"),
        ({"time": 7}, "time is '7'"),
        ({"time": "soon"}, "time is 'soon'"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_request_of_another_form_is_refused_with_its_row(change, why):
    good = {"time": "2030-01-01", "past": [1, 2, 3, 4, 5]}
    with pytest.raises(MalformedInput, match="row 1.*" + why):
        FORECAST.windows.expand([good, good | change], several=False)


def test_the_baselines_repeat_the_last_value_and_the_last_season():
    target, _, _, features = rows(3)
    answers = FORECAST.baselines(target, len(features), features, features)
    assert answers["last_value"][:, 1] == pytest.approx(features[:, 0])
    lag = {1: 3, 2: 2, 3: 1}  # 4 periods before origin + step
    wanted = [row[lag[int(row[5])]] for row in features]
    assert answers["seasonal_naive"][:, 1] == pytest.approx(wanted)
    for answer in answers.values():
        assert not FORECAST.invalid(answer).any()
    covered = FORECAST.scored(target, answers["last_value"], np.arange(300), features).measure()
    assert covered["coverage"] == pytest.approx(0.8, abs=0.03)
    assert covered["mase"] == pytest.approx(
        np.mean(np.abs(target - features[:, 0]) / scale_of(5, features)), rel=1e-9
    )


def test_a_good_forecast_passes_its_bound_and_a_wrong_one_fails():
    """The bound is that of `perennial init`: a tenth above the better naive forecast."""
    target, good, group, features = rows(5, 800, skill=0.9)
    _, bad, _, _ = rows(5, 800, skill=0.0)
    naive = FORECAST.baselines(target, 800, features, features)
    measured = {
        name: FORECAST.scored(target, answer, group, features).measure()["mase"]
        for name, answer in {"good": good, "bad": bad, **naive}.items()
    }
    bound = 1.1 * min(measured[name] for name in naive)
    assert measured["good"] < bound < measured["bad"]
    scores = {MODEL: FORECAST.scored(target, good, group, features)}
    flat = evaluate_scores("d" * 64, scores, {}, "mase", 10, 50, 1).flat()
    assert flat["holdout.mase"] == pytest.approx(measured["good"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quantiles": (0.1, 0.9, 0.5)}, "rise"),
        ({"quantiles": (0.1, 0.4, 0.9)}, "0.5"),
        ({"quantiles": (0.5, 0.9, 0.95)}, "0.5"),
        ({"past": 4}, "hold no season"),
        ({"horizon": 0}, "horizon"),
        ({"frequency": "decade"}, "frequency"),
    ],
)
def test_a_wrong_task_is_refused(change, why):
    with pytest.raises(ValidationError, match=why):
        TASK.validate_python(TASK_KEYS | change)


def test_the_frequency_is_the_longest_period_that_keeps_the_values_apart():
    days = np.datetime64("2024-01-01") + np.arange(0, 400)
    assert frequency_of(days) is Frequency.DAY
    assert frequency_of(days[::7]) is Frequency.WEEK
    assert frequency_of(days.astype("datetime64[M]")) is Frequency.MONTH
    assert frequency_of(np.array(["2020-06-30", "2021-06-30"], dtype="datetime64[D]")) is Frequency.YEAR
    with pytest.raises(DataError, match="less than an hour apart"):
        frequency_of(np.array(["2020-01-01T00:01", "2020-01-01T00:02"], dtype="datetime64[s]"))


def test_a_task_reads_what_it_writes_and_says_its_rule():
    assert TASK.validate_json(FORECAST.model_dump_json()) == FORECAST
    assert isinstance(FORECAST, Forecast)
    assert "next 3 months" in FORECAST.rule("price")
