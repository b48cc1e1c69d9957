"""Calibrations: bounded for every input, the same in the served file, and what fitting finds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from onnx import TensorProto, helper
from onnxruntime import InferenceSession
from scipy.special import expit, softmax

from perennial.adapters.variants.calibrated import write_calibrated
from perennial.core.recalibration.calibration import Calibration, Form, fit, losses
from perennial.errors import NotRecalibrable

PARAMETERS = {
    "slope": some.floats(0.2, 5.0),
    "shift": some.lists(some.floats(-10.0, 10.0), min_size=3, max_size=3),
    "largest": some.floats(0.001, 0.5),
}
EDGES = np.array([0.0, 1e-9, 1e-6, 0.3, 0.5, 0.999999, 1.0])


def drawn(rng, count=4000, prior=0.1):
    """Scores that are right about a share of positives of 10 %, with labels of another share."""
    label = (rng.random(count) < prior).astype(float)
    evidence = rng.normal(np.where(label > 0, 1.0, -1.0), 1.2)
    odds = np.exp(2 * evidence / 1.2**2) * 0.1 / 0.9
    return odds / (1 + odds), label


@given(**PARAMETERS)
@settings(max_examples=60, deadline=None)
def test_a_score_moves_by_no_more_than_the_bound_stays_valid_and_keeps_its_order(slope, shift, largest):
    scores = np.sort(np.concatenate([EDGES, np.linspace(0, 1, 201)]))
    mapped = Calibration(form=Form.SCORE, slope=slope, shift=shift[:1], largest=largest).apply(scores)
    assert np.abs(mapped - scores).max() <= largest + 1e-12
    assert ((mapped >= 0) & (mapped <= 1)).all()
    assert (np.diff(mapped) >= -1e-12).all()


@pytest.mark.parametrize(("slope", "shift"), [(0.2, 0.0), (0.3, -2.5), (1.0, -8.0), (2.0, 1.0)])
def test_the_last_digit_of_a_score_moves_a_calibrated_one_by_less_than_an_explanation_may_miss(slope, shift):
    """The answer to a row differs in it with the rows of the request."""
    scores = np.concatenate([EDGES, 1 - 2.0 ** -np.arange(1, 24), np.linspace(0, 1, 301)]).astype(np.float32)
    next_to = np.nextafter(scores, np.float32(0))
    known = Calibration(form=Form.SCORE, slope=slope, shift=(shift,), largest=0.5)
    assert np.abs(known.apply(scores) - known.apply(next_to)).max() < 1e-4


@given(**PARAMETERS)
@settings(max_examples=60, deadline=None)
def test_probabilities_move_by_no_more_than_the_bound_and_stay_probabilities(slope, shift, largest):
    rng = np.random.default_rng(1)
    rows = np.vstack([np.eye(3), rng.dirichlet([0.3] * 3, 100)])
    mapped = Calibration(form=Form.CLASSES, slope=slope, shift=shift, largest=largest).apply(rows)
    assert (np.abs(mapped - rows).sum(axis=1) / 2).max() <= largest + 1e-12
    assert mapped.min() >= 0
    assert mapped.sum(axis=1) == pytest.approx(1.0)


def identity(path, output, shape):
    kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("features", output)]
    nodes = [
        helper.make_node("Identity", ["features"], ["inner"]),
        helper.make_node("Identity", ["inner"], [output]),
    ]
    graph = helper.make_graph(nodes, "identity", kinds[:1], kinds[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))


@pytest.mark.parametrize(
    ("form", "shape", "calibration"),
    [
        (Form.SCORE, ["batch"], {"slope": 1.7, "shift": (2.0,), "largest": 0.2}),
        (Form.SCORE, ["batch"], {"slope": 0.4, "shift": (-1.0,), "largest": 0.5}),
        (Form.CLASSES, ["batch", 3], {"slope": 0.8, "shift": (0.0, 3.0, -1.0), "largest": 0.1}),
        (Form.NUMBER, ["batch"], {"shift": (-3.5,), "largest": 4.0}),
    ],
)
def test_the_served_file_answers_as_the_calibration_says(tmp_path, form, shape, calibration):
    rng = np.random.default_rng(2)
    answers = np.vstack([np.eye(3), rng.dirichlet([1.0] * 3, 60)]) if form is Form.CLASSES else np.concatenate(
        [EDGES, rng.random(60)]
    )  # fmt: skip
    identity(tmp_path / "model.onnx", "answer", shape)
    known = Calibration(form=form, **calibration)
    write_calibrated(tmp_path / "model.onnx", known, "answer", tmp_path / "new.onnx")
    session = InferenceSession(str(tmp_path / "new.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["features"]
    assert [value.name for value in session.get_outputs()] == ["answer"]
    given_rows = answers.astype(np.float32)
    (served,) = session.run(None, {"features": given_rows})
    assert served == pytest.approx(known.apply(given_rows), abs=3e-6)
    assert served.shape == given_rows.shape


def test_a_file_of_an_old_opset_or_with_another_output_is_refused(tmp_path):
    identity(tmp_path / "model.onnx", "answer", ["batch"])
    known = Calibration(form=Form.NUMBER, shift=(1.0,), largest=1.0)
    with pytest.raises(NotRecalibrable, match="outputs"):
        write_calibrated(tmp_path / "model.onnx", known, "score", tmp_path / "new.onnx")
    old = onnx.load(str(tmp_path / "model.onnx"))
    old.opset_import[0].version = 11
    onnx.save(old, str(tmp_path / "old.onnx"))
    with pytest.raises(NotRecalibrable, match="opset 11"):
        write_calibrated(tmp_path / "old.onnx", known, "answer", tmp_path / "new.onnx")


def test_a_shift_of_the_prior_is_found_and_a_right_calibration_stays():
    rng = np.random.default_rng(3)
    moved = fit(Form.SCORE, *drawn(rng, prior=0.5), largest=0.5)
    assert (moved.slope, moved.shift[0]) == (pytest.approx(1.0, abs=0.15), pytest.approx(np.log(9), abs=0.25))
    same = fit(Form.SCORE, *drawn(rng), largest=0.5)
    assert (same.slope, same.shift[0]) == (pytest.approx(1.0, abs=0.15), pytest.approx(0.0, abs=0.25))


def test_classes_that_became_frequent_are_found():
    rng = np.random.default_rng(4)
    truth = rng.choice(3, 6000, p=[0.6, 0.3, 0.1])
    logits = rng.normal(0, 1, (6000, 3)) + 2 * np.eye(3)[truth]
    uniform = softmax(2 * logits, axis=1)  # right where the three are as frequent
    found = fit(Form.CLASSES, uniform, truth, largest=0.5)
    shift = np.array(found.shift) - np.mean(found.shift)
    wanted = np.log([0.6, 0.3, 0.1])
    assert shift == pytest.approx(wanted - wanted.mean(), abs=0.25)
    before, after = (losses(Form.CLASSES, rows, truth).mean() for rows in (uniform, found.apply(uniform)))
    assert after < before


def test_a_class_without_labels_and_labels_of_chance_move_nothing_far():
    rng = np.random.default_rng(5)
    rows = rng.dirichlet([1.0] * 3, 600)
    found = fit(Form.CLASSES, rows, np.zeros(600, dtype=int), largest=0.05)
    assert np.isfinite(found.shift).all()
    assert (np.abs(found.apply(rows) - rows).sum(axis=1) / 2).max() <= 0.05 + 1e-9


@pytest.mark.parametrize(
    ("offset", "largest", "wanted"), [(2.0, 5.0, 2.0), (2.0, 0.5, 0.5), (-9.0, 1.0, -1.0)]
)
def test_the_offset_of_a_number_is_the_median_of_the_errors_within_the_bound(offset, largest, wanted):
    value = np.arange(200.0)
    label = value + offset
    label[:20] += 1000  # a few that are wildly wrong
    found = fit(Form.NUMBER, value, label, largest)
    assert found.shift[0] == pytest.approx(wanted)


def test_a_source_that_is_not_sure_counts_by_its_share():
    scores = expit(np.linspace(-2, 2, 400))
    found = fit(Form.SCORE, scores, np.full(400, 0.5), largest=0.5)
    assert found.shift[0] == pytest.approx(0.0, abs=0.01)
    assert np.abs(found.apply(scores) - 0.5).max() < np.abs(scores - 0.5).max() / 2
