"""Parts of a batch: what a row is refused for, and columns that mean the same as the fields of an answer."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.batch.scoring import score_rows
from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Binary, Multiclass, Ranking, Regression
from perennial.errors import VersionFailed

NUMBER = {"size": InputSpec(type="float", missing="allow")}
TASK = Binary(positive=1, negative=0, threshold=0.5)


def squared(features):
    with np.errstate(over="ignore"):
        return features[:, 0] * features[:, 0]


def test_a_value_without_a_finite_answer_is_the_row_s_fault_only_where_it_is_huge():
    values = np.array([0.5, 1e30, 0.25])
    scored = score_rows(NUMBER, TASK, squared, {"size": values}, 3)
    assert scored.rows.tolist() == [0, 2]
    assert scored.columns["score"].tolist() == [0.25, 0.0625]
    (fault,) = scored.faults
    assert (fault.row, fault.column) == (1, "size")
    assert "larger than 1e+15" in fault.reason
    with pytest.raises(VersionFailed, match="within range"):
        score_rows(NUMBER, TASK, squared, {"size": np.array([0.5, np.nan])}, 2)


def test_a_part_without_a_sound_row_has_no_answer():
    inputs = {"size": InputSpec(type="float", missing="refuse")}
    scored = score_rows(inputs, TASK, squared, {"size": np.array([np.nan])}, 1)
    assert len(scored.rows) == len(scored.columns["score"]) == 0
    assert len(scored.faults) == 1


def flat(fields, path=()):
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flat(value, (*path, name))
        else:
            yield ".".join((*path, name)), value


@pytest.mark.parametrize(
    "task",
    [
        Ranking(threshold=0.5),
        TASK,
        Multiclass(classes=("a", "b", "c")),
        Multiclass(classes=(3, 1)),
        Regression(unit="h", tolerance=1.0),
        Regression(unit="h", tolerance=1.0, interval=0.9, half_width=0.5),
    ],
    ids=lambda task: f"{task.kind}-{task.width()}",
)
def test_columns_are_the_fields_of_each_answer(task):
    width = task.width()
    answer = np.random.default_rng(1).random((5,) if width is None else (5, width), dtype=np.float32)
    columns = task.columns(answer)
    for place, fields in enumerate(task.fields(answer)):
        assert dict(flat(fields)) == {name: values[place] for name, values in columns.items()}
