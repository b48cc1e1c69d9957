"""Figures of a variant: what few rows prove, when it counts as faster, and the rules of the gate."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from training_world import SPEC

from perennial.core.evaluation.metrics import Estimate
from perennial.core.evaluation.variant_figures import (
    VariantFigures,
    agreement,
    judge_variant,
    latency_ratio,
)
from perennial.core.gate_spec import VariantsSpec
from perennial.core.tasks import Ranking
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Verdict
from perennial.core.version import Change, VersionRef, next_version

TASK = Ranking(kind="ranking", threshold=0.5)
GATE = SPEC.gate.model_copy(update={"variants": VariantsSpec(agreement=0.98, quality_drop=0.01)})


def scored(score):
    rows = len(score)
    return TASK.scored(np.arange(rows) % 2, np.asarray(score, np.float32), np.arange(rows) // 4)


def near(value: float, width: float = 0.0) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width)


def figures(*ratios: Estimate) -> VariantFigures:
    return VariantFigures(
        agreement=near(1.0),
        gain=near(0.0),
        latency=dict(zip((1, 64), ratios, strict=True)),
        milliseconds={1: 1.0, 64: 1.0},
        bytes=1,
        parent_bytes=2,
    )


@pytest.mark.parametrize(("rows", "low"), [(40, 0.91), (400, 0.99), (4000, 0.999)])
def test_rows_that_all_agree_prove_only_so_much(rows, low):
    same = scored(np.linspace(0, 1, rows))
    estimate = agreement(same, same, 50, 7)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(low, abs=2e-3)


def test_disagreement_in_whole_groups_widens_the_interval():
    parent = np.full(400, 0.9)
    scattered, in_groups = parent.copy(), parent.copy()
    scattered[::20] = 0.1
    in_groups[:20] = 0.1
    wide, narrow = (agreement(scored(parent), scored(other), 300, 7) for other in (in_groups, scattered))
    assert wide.value == narrow.value == pytest.approx(0.95)
    assert wide.low < narrow.low < 0.95


def test_a_ratio_is_of_medians_over_the_same_rounds():
    shared = np.random.default_rng(1).lognormal(size=100)
    ratio = latency_ratio(shared, shared * 0.5, 300, 7)
    assert ratio == Estimate(value=0.5, low=0.5, high=0.5), "what the machine does meets both alike"


@pytest.mark.parametrize(
    ("one", "many", "faster"),
    [
        (near(0.8, 0.1), near(1.0, 0.1), True),
        (near(0.8, 0.3), near(0.9, 0.2), False),
        (near(0.5, 0.1), near(1.3, 0.1), False),
        (near(1.0), near(1.0), False),
    ],
)
def test_faster_is_proven_for_a_size_and_refuted_for_none(one, many, faster):
    assert figures(one, many).is_faster is faster


def test_the_gate_asks_for_the_lower_bounds():
    ref = VersionRef(model="m", version="1.0.1", key="2", digest="d" * 64, capsule="c" * 64)

    def judged(gate=GATE, **metrics):
        record = VersionRecord(ref=ref, run_id="r", created=datetime(2026, 1, 1, tzinfo=UTC), metrics=metrics)
        return [judgement.verdict for judgement in judge_variant(gate, record)]

    good = {"variant.agreement": 0.99, "variant.agreement.low": 0.985, "variant.agreement.high": 1.0,
            "variant.gain": 0.0, "variant.gain.low": -0.005, "variant.gain.high": 0.005}  # fmt: skip
    assert judged(**good) == [Verdict.PASS, Verdict.PASS]
    assert judged(**{**good, "variant.agreement.low": 0.97})[0] is Verdict.FAIL
    assert judged(**{**good, "variant.gain.low": -0.02})[1] is Verdict.FAIL
    assert judged() == [Verdict.ERROR, Verdict.ERROR]
    assert judged(SPEC.gate, **good) == [Verdict.ERROR], "the spec says nothing about variants"


def test_a_spec_without_the_key_keeps_its_digest():
    assert "variants" not in SPEC.gate.model_dump()
    assert GATE.model_dump()["variants"] == {"agreement": 0.98, "quality_drop": 0.01}


def test_a_patch_counts_within_its_minor_version():
    known = ["1.0.0", "1.1.0", "2.0.0", "1.0.1"]
    assert str(next_version(known, Change.REPACKAGED, "1.0.0")) == "1.0.2"
    assert str(next_version(known, Change.REPACKAGED, "1.1.0")) == "1.1.1"
    assert str(next_version(known, Change.REPACKAGED)) == "2.0.1"
