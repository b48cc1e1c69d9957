"""The same windows over the plain functions and over Evidently: the same figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from doubles.drift import MemoryDrift

from perennial import catalog
from perennial.core.monitoring.drift import DECISION, JOINT, SCORE
from perennial.core.text_hashing import hashed
from perennial.datasets import requirement_texts
from perennial.errors import DataError
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
TEXTS = catalog.spec("requirement_triage", Settings(spec_overlay=None))
COLUMNS = [*SPEC.monitoring.columns, SCORE]


def evidently():
    from perennial.adapters.evidently_drift import EvidentlyDrift

    return EvidentlyDrift()


@pytest.fixture(scope="module", params=[MemoryDrift, evidently], ids=["plain", "evidently"])
def drift(request):
    return request.param()


def table(seed: int, rows: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(shift, 1, rows) for name in COLUMNS}
    values["recent_failures"] = rng.poisson(1 + abs(shift), rows).astype(float)
    return pd.DataFrame(values | {SPEC.evaluation.group: np.arange(rows) // 50})


def windows() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(5)
    same, far = table(1, 700), table(2, 700, shift=1.5)
    outlier, missing, rare, constant = (same.copy() for _ in range(4))
    outlier.loc[0, COLUMNS] = 1e9
    missing.loc[rng.random(700) < 0.5, COLUMNS] = np.nan
    rare[COLUMNS] = 50.0
    rare.loc[:1, COLUMNS] = -50.0
    constant[COLUMNS] = 0.0
    return {
        "same": same,
        "far": far,
        "outlier": outlier,
        "missing": missing,
        "rare": rare,
        "constant": constant,
    }


@pytest.mark.parametrize("name", list(windows()))
def test_figures_are_those_of_the_definition(drift, name):
    reference, window = table(0, 3000), windows()[name]
    expected = MemoryDrift().compare(SPEC, reference, window, None)
    found = drift.compare(SPEC, reference, window, None)
    assert [one.column for one in found] == [*COLUMNS, JOINT]
    for one, other in zip(found, expected, strict=True):
        assert one.psi == pytest.approx(other.psi, abs=1e-6)
        assert one.model_copy(update={"psi": other.psi}) == other


def test_a_bin_filled_by_one_in_ten_thousand_is_the_same_on_both_sides(drift):
    reference = table(0, 20_001)
    reference.loc[1:, "failure_rate"] = np.arange(20_000) % 2 + 1.0
    reference.loc[0, "failure_rate"] = 0.0
    window = table(1, 700).assign(failure_rate=1.0)
    expected = MemoryDrift().compare(SPEC, reference, window, None)
    found = drift.compare(SPEC, reference, window, None)
    assert [one.psi for one in found] == pytest.approx([one.psi for one in expected], abs=1e-6)


def test_what_moved_is_seen_and_what_did_not_is_not(drift):
    found = {name: drift.compare(SPEC, table(0, 3000), rows, None) for name, rows in windows().items()}
    assert all(one.excess < 0.1 for one in found["same"])
    assert all(one.excess < 0.1 for one in found["outlier"])
    assert all(one.excess > 0.3 for one in found["far"] + found["missing"])


def test_the_report_is_a_page_with_the_columns(drift, tmp_path):
    page = tmp_path / "deep" / "report.html"
    drift.compare(SPEC, table(0, 1000), table(1, 600), page)
    text = page.read_text()
    assert all(column in text for column in COLUMNS)
    assert [one.name for one in page.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("side", ["reference", "window"])
def test_a_missing_column_or_no_rows_are_clear_errors(drift, side):
    both = {"reference": table(0, 1000), "window": table(1, 600)}
    with pytest.raises(DataError, match="pass_rate_7d"):
        drift.compare(SPEC, **(both | {side: both[side].drop(columns="pass_rate_7d")}), html=None)
    with pytest.raises(DataError, match="rows"):
        drift.compare(SPEC, **(both | {side: both[side].head(0)}), html=None)


def counted(texts: list[str]) -> pd.DataFrame:
    """Return the columns of these texts, with answers that say nothing and groups of 50."""
    numbers = np.random.default_rng(3).random(len(texts))
    table = pd.DataFrame(hashed(texts, 512), columns=list(TEXTS.features.names))
    more = {SCORE: numbers, DECISION: 0.0, TEXTS.evaluation.group: np.arange(len(texts)) // 50}
    return pd.concat([table, pd.DataFrame(more)], axis=1)


def test_other_words_in_texts_of_the_same_length_are_a_drift_of_the_vocabulary(drift):
    texts = list(requirement_texts.read({})["text"])
    backwards = [" ".join(word[::-1] for word in text.split()) for text in texts[1700:]]
    found = {
        case: {
            column.column: column
            for column in drift.compare(TEXTS, counted(texts[:1700]), counted(rows), None)
        }
        for case, rows in (("same", texts[1700:]), ("other", backwards))
    }
    assert not any(column.is_proven for column in found["same"].values())
    assert found["other"]["text#vocabulary"].excess > 0.3
    assert found["other"]["text#embedding"].excess > 0.3
    assert not found["other"]["text#length"].is_proven


def test_counts_that_are_missing_are_named(drift):
    table = counted(list(requirement_texts.read({})["text"][:400]))
    with pytest.raises(DataError, match="text#7"):
        drift.compare(TEXTS, table, table.drop(columns="text#7"), None)
