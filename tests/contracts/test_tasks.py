"""Every kind of task: what it refuses, that its figures are scikit-learn's, and that a bad model fails its gate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
import sklearn.metrics as sk
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial import catalog
from perennial.core.evaluation.evaluation import MODEL, evaluate_scores
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.evaluation.metrics import estimates
from perennial.core.gate_spec import Bound
from perennial.core.release.gate import judge
from perennial.core.spec import ModelSpec
from perennial.core.tasks import TASK, Binary, Multiclass, Ranking, Regression, Task
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Verdict
from perennial.core.version import VersionRef
from perennial.errors import DataError, WrongAnswer, WrongTarget

RANKING = Ranking(threshold=0.5)
BINARY = Binary(threshold=0.4, positive="malignant", negative="benign")
MULTICLASS = Multiclass(classes=("setosa", "versicolor", "virginica"))
REGRESSION = Regression(unit="mg/dl", tolerance=0.5)
INTERVAL = Regression(unit="mg/dl", interval=0.9, half_width=1.5)
KINDS = [RANKING, BINARY, MULTICLASS, REGRESSION, INTERVAL]
every_kind = pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
SPEC = catalog.spec("test_failure_predictor")
BOUNDED = ("r2",)
"""Metrics without a lower end."""


def targets(task: Task, random: np.random.Generator, size: int) -> np.ndarray:
    if isinstance(task, Regression):
        return random.normal(3.0, 2.0, size)
    count = len(task.classes) if isinstance(task, Multiclass) else 2
    return np.concatenate([np.arange(count), random.integers(0, count, size - count)]).astype(float)


def answers(task: Task, target: np.ndarray, random: np.random.Generator, skill: float) -> np.ndarray:
    """Answers between noise (skill 0) and the target (1)."""
    if isinstance(task, Regression):
        return skill * target + (1 - skill) * random.normal(3.0, 2.0, len(target))
    if isinstance(task, Multiclass):
        noise = random.dirichlet(np.ones(len(task.classes)), len(target))
        return skill * np.eye(len(task.classes))[target.astype(int)] + (1 - skill) * noise
    return skill * target + (1 - skill) * random.random(len(target))


def rows(task: Task, seed: int, size: int = 300, skill: float = 0.3):
    random = np.random.default_rng(seed)
    target = targets(task, random, size)
    return target, answers(task, target, random, skill), random.integers(0, 12, size)


def by_scikit_learn(task: Task, target, answer, weight) -> dict[str, float]:
    """The same figures; `weight` counts rows."""
    known = {"sample_weight": weight}
    if isinstance(task, Regression):
        inside = np.average(np.abs(target - answer) <= task.reach, weights=weight)
        shares = {"within_tolerance": inside} if task.interval is None else {"coverage": inside}
        return shares | {
            "mae": sk.mean_absolute_error(target, answer, **known),
            "rmse": sk.root_mean_squared_error(target, answer, **known),
            "r2": sk.r2_score(target, answer, **known),
        }
    if isinstance(task, Multiclass):
        decided, places = answer.argmax(axis=1), np.arange(len(task.classes))
        recalls = sk.recall_score(target, decided, labels=places, average=None, **known)
        return {
            "log_loss": sk.log_loss(target, answer, labels=places, **known),
            "macro_f1": sk.f1_score(target, decided, average="macro", **known),
            "accuracy": sk.accuracy_score(target, decided, **known),
            **dict(zip(task.recall_names, recalls, strict=True)),
        }
    figures = {
        "roc_auc": sk.roc_auc_score(target, answer, **known),
        "pr_auc": sk.average_precision_score(target, answer, **known),
        "brier": sk.brier_score_loss(target, answer, **known),
    }
    if isinstance(task, Binary):
        decided = answer >= task.threshold
        figures |= {
            "log_loss": sk.log_loss(target, answer, **known),
            "f1": sk.f1_score(target, decided, **known),
            "accuracy": sk.accuracy_score(target, decided, **known),
        }
    return figures


@every_kind
@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(task, seed):
    target, answer, group = rows(task, seed)
    scored = task.scored(target, answer, group)
    expected = by_scikit_learn(task, target, answer, np.ones(len(target)))
    assert set(expected) | {"napfd", "interval_width"} >= set(task.metrics)
    measured = scored.measure()
    assert {name: measured[name] for name in expected} == pytest.approx(expected)
    weights = np.random.default_rng(seed).integers(1, 4, len(scored.groups)).astype(float)
    weighted = scored.measure(weights)
    expected = by_scikit_learn(task, target, answer, weights[np.searchsorted(scored.groups, group)])
    assert {name: weighted[name] for name in expected} == pytest.approx(expected)


@every_kind
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.floats(0, 1))
@settings(deadline=None, max_examples=examples(60))
def test_no_figure_leaves_its_range(task, seed, size, skill):
    target, answer, group = rows(task, seed, size, skill)
    scored = task.scored(target, answer, group)
    weights = np.random.default_rng(seed).integers(0, 3, len(scored.groups)).astype(float)
    if not weights.any():
        return
    for name, value in scored.measure(weights).items():
        if name in ("log_loss", "mae", "rmse", "interval_width"):
            assert np.isnan(value) or value >= 0
        else:
            assert np.isnan(value) or ((name in BOUNDED or value >= 0) and value <= 1 + 1e-12)


BAD_TARGETS = {
    "ranking": [2, -1, 0.5, np.nan, "1"],
    "binary": ["malign", 1, None, ""],
    "multiclass": ["Setosa", 0, np.nan],
    "regression": [np.nan, np.inf, "3", 1e39],
}
GOOD_TARGETS = {
    "ranking": [0, 1, True, 1.0],
    "binary": ["malignant", "benign"],
    "multiclass": ["setosa", "virginica"],
    "regression": [0, -1.5, 300],
}


@every_kind
def test_a_target_outside_the_kind_is_refused_with_its_row_and_value(task):
    good = GOOD_TARGETS[task.kind]
    assert len(task.targets(np.array(good, dtype=object), "y")) == len(good)
    for bad in BAD_TARGETS[task.kind]:
        values = np.array([*good, bad], dtype=object)
        with pytest.raises(WrongTarget) as refused:
            task.targets(values, "y")
        assert f"row {len(good)}: {bad!r}" in refused.value.message
        assert "'y'" in refused.value.message


@every_kind
def test_an_answer_of_another_shape_or_range_is_refused(task):
    target, answer, group = rows(task, 1)
    broken = answer.copy()
    broken[7] = np.nan
    wrong = [
        broken,
        np.stack([answer, answer], axis=1),
        answer[:, 0] if answer.ndim == 2 else answer[:, None],
    ]
    if not isinstance(task, Regression):
        wrong += [answer * 1.5, answer - 0.5]
    for other in wrong:
        with pytest.raises(WrongAnswer):
            task.scored(target, other, group)


@every_kind
def test_an_interval_counts_groups_and_not_rows(task):
    target, answer, _ = rows(task, 2, 60)
    target, answer = target.repeat(10), answer.repeat(10, axis=0)  # the rows of a group are the same
    grouped = estimates({"a": task.scored(target, answer, np.arange(60).repeat(10))}, None, 100, 1)[0]["a"]
    alone = estimates({"a": task.scored(target, answer, np.arange(600))}, None, 100, 1)[0]["a"]
    name = "brier" if "brier" in task.metrics else "log_loss" if "log_loss" in task.metrics else "r2"
    assert grouped[name].high - grouped[name].low > 2 * (alone[name].high - alone[name].low)


@dataclass(frozen=True)
class Planted:
    """A gate, a good and a bad model of a kind."""

    metric: str
    bound: Bound


GATES = {
    "ranking": Planted("roc_auc", Bound(min=0.7)),
    "binary": Planted("log_loss", Bound(max=0.5)),
    "multiclass": Planted("macro_f1", Bound(min=0.7)),
    "regression": Planted("r2", Bound(min=0.5)),
}


def verdict(task: Task, answer: np.ndarray, target: np.ndarray, group: np.ndarray) -> Verdict:
    """The gate's verdict on the metric, over the way that a real evaluation takes."""
    planted = GATES[task.kind]
    scores = {MODEL: task.scored(target, answer, group)}
    evaluation = evaluate_scores("d" * 64, scores, {}, planted.metric, 10, 50, 1)
    metrics = evaluation.flat() | {"parity.max_abs": 0.0}
    record = VersionRecord(
        ref=VersionRef(model="m", version="1.0.0", key="1", digest="d" * 64, capsule="c"),
        run_id="r",
        created=datetime(2030, 1, 1, tzinfo=UTC),
        tags={"data_checks": "passed", "figures_hash": figures_hash(metrics)},
        metrics=metrics,
    )
    gate = SPEC.gate.model_copy(update={"metrics": {planted.metric: planted.bound}})
    report = judge(gate, record, None, [1.0])
    (rule,) = [rule for rule in report.rules if rule.rule == planted.metric]
    assert report.verdict is rule.verdict
    return rule.verdict


@every_kind
def test_a_good_model_passes_its_gate_and_a_bad_one_fails(task):
    random = np.random.default_rng(5)
    target, group = targets(task, random, 800), np.arange(800) // 20
    assert verdict(task, answers(task, target, random, 0.8), target, group) is Verdict.PASS
    assert verdict(task, answers(task, target, random, 0.0), target, group) is Verdict.FAIL
    for baseline in task.baselines(target, 800).values():
        assert verdict(task, baseline, target, group) is Verdict.FAIL


def test_class_numbers_are_no_answer_and_no_score():
    """Such a model was once registered with a ROC-AUC of 4.85."""
    target, _, group = rows(MULTICLASS, 3)
    for task in (MULTICLASS, BINARY, RANKING):
        with pytest.raises(WrongAnswer):
            task.scored(target, target, group)
    with pytest.raises(WrongTarget):
        RANKING.targets(target, "class")


def test_a_class_without_rows_has_no_recall_and_is_no_error():
    task = Multiclass(classes=("a", "b", ">50K", "<50K"))
    target = np.array([0, 1, 2, 0, 1, 2] * 10, dtype=float)
    answer = np.full((60, 4), 0.25)
    figures = estimates({"a": task.scored(target, answer, np.arange(60))}, None, 20, 1)[0]["a"]
    assert set(figures) == {"log_loss", "macro_f1", "accuracy", "recall_a", "recall_b", "recall__50K_2"}


@every_kind
def test_undefined_figures_are_refused(task):
    target, answer, group = rows(task, 4)
    same = np.full(len(target), target[0])
    if not isinstance(task, Multiclass):  # its figures are defined on a single class
        with pytest.raises(DataError, match="same target"):
            estimates({"a": task.scored(same, answer, group)}, None, 10, 1)


@every_kind
def test_change_and_difference_are_in_the_units_of_the_kind(task):
    target, answer, _ = rows(task, 6)
    scale = task.scale(target)
    assert not task.change(answer, answer, scale).any()
    other = answers(task, target, np.random.default_rng(9), 0.1)
    moved = task.change(answer, other, scale)
    assert moved.shape == (len(target),)
    summaries = [task.summary(one) for one in (answer, other)]
    decisions = [task.decisions(one) for one in (answer, other)]
    differs = task.differs(summaries[0], decisions[0], summaries[1], decisions[1])
    assert 0 < differs.mean() < 1
    right = task.right(summaries[0], decisions[0], target)
    assert 0 < right.mean() < 1
    assert task.valid_summary(summaries[0]).all()
    if not isinstance(task, Regression):
        assert moved.max() <= 1
    else:  # the same change in another unit is the same change
        assert task.change(answer * 100, other * 100, task.scale(target * 100)) == pytest.approx(moved)


@every_kind
def test_a_task_reads_what_it_writes(task):
    assert TASK.validate_json(task.model_dump_json()) == task


def spec_with(task: Task, **gate) -> ModelSpec:
    content = SPEC.model_dump()
    metric = next(iter(task.metrics))
    reproduction = {"evidence": "optional", "tolerance": {metric: 0.01}}
    content["gate"] |= {
        "metrics": {metric: {"min": 0.1}},
        "improvement": {"metric": metric, "min_delta": 0.0},
        "reproduction": reproduction,
        "fairness": {"gaps": {"error_rate": 0.3}, "min_groups": 5},
        "behaviour": None,
    }
    content["gate"] |= gate
    content["task"] = task.as_specified().model_dump()
    content["evaluation"]["baselines"] = {}
    return ModelSpec.model_validate(content)


@every_kind
def test_a_spec_names_only_what_its_kind_has(task):
    spec_with(task)
    known = ", ".join(task.metrics)
    for gate in (
        {"metrics": {"auc": {"min": 0.5}}},
        {"improvement": {"metric": "auc", "min_delta": 0.0}},
        {"reproduction": {"evidence": "optional", "tolerance": {"auc": 0.1}}},
    ):
        with pytest.raises(ValidationError, match=f"{task.kind} has no metric auc; it has {known}"):
            spec_with(task, **gate)
    if "false_positive_rate" not in task.fairness:
        with pytest.raises(ValidationError, match="has no false_positive_rate; it has error_rate"):
            spec_with(task, fairness={"gaps": {"false_positive_rate": 0.1}, "min_groups": 5})
    if not task.one_number:
        with pytest.raises(ValidationError, match="no single number"):
            spec_with(task, behaviour="a.b:C")


@every_kind
def test_the_explained_numbers_are_of_the_answer(task):
    _, answer, _ = rows(task, 8)
    numbers = task.explained_numbers(answer)
    assert numbers.shape == (len(answer), len(task.explained_classes) or 1)
    assert np.array_equal(numbers.max(axis=1), task.summary(answer))
    if task.explained_classes:  # without a wish, the class of the answer is explained
        assert np.array_equal(numbers.argmax(axis=1), task.decisions(answer))


def test_an_explanation_of_too_few_coalitions_is_an_error_of_the_spec():
    content = SPEC.model_dump()
    content["explanation"]["coalitions"] = 33
    with pytest.raises(ValidationError, match="33 sets cannot explain 17 features: at least 34"):
        ModelSpec.model_validate(content)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"kind": "policy"}, "kind"),
        ({"kind": "ranking"}, "threshold"),
        ({"kind": "ranking", "threshold": 1.5}, "threshold"),
        ({"kind": "binary", "threshold": 0.5, "positive": 1, "negative": True}, "both"),
        ({"kind": "multiclass", "classes": ["a"]}, "classes"),
        ({"kind": "multiclass", "classes": ["a", "b", "a"]}, "twice"),
        ({"kind": "regression", "unit": "kg"}, "tolerance"),
        ({"kind": "regression", "unit": "kg", "tolerance": 0}, "tolerance"),
        ({"kind": "regression", "unit": "kg", "interval": 1.0}, "interval"),
        ({"kind": "regression", "unit": "kg", "tolerance": 1, "half_width": 1}, "belongs to an interval"),
    ],
)
def test_a_wrong_task_is_refused(given, why):
    with pytest.raises(ValidationError, match=why):
        TASK.validate_python(given)


@pytest.mark.parametrize("rows", [1, 3, 9])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_scores_are_decided_as_many_are(threshold, dtype, rows):
    task = Ranking(threshold=threshold)
    edge = dtype(threshold)
    answer = np.resize([edge, np.nextafter(edge, dtype(2)), np.nextafter(edge, dtype(-1))], rows).astype(
        dtype
    )
    assert task.decided(answer) == task.decisions(answer).tolist()
