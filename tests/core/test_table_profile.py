"""What a table is taken for: each conclusion has a reason, and what is unclear is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from perennial.core.input_spec import InputKind
from perennial.core.training.drafts.column_roles import Role
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType
from perennial.core.training.drafts.table_profile import Given, conclude
from perennial.core.training.leakage import future_times, telling_columns
from perennial.errors import DataError

ROWS = 1000


def column(name, type="float", distinct=500, **more):
    numbers = {"minimum": 0.0, "maximum": 10.0, "mean": 5.0, "deviation": 2.0}
    given = numbers if type in ("int", "float") else {}
    return ColumnSummary(
        name=name, type=ColumnType(type), rows=ROWS, distinct=distinct, **({"missing": 0} | given | more)
    )


TARGET = column("y", "text", 2, values=("no", "yes"), counts=(700, 300))
SIZE = column("size")
TIME = column(
    "at", "timestamp", 900, minimum=datetime(2024, 1, 1, tzinfo=UTC), maximum=datetime(2024, 3, 1, tzinfo=UTC)
)


def concluded(*columns, **given):
    return conclude([*columns, SIZE, TARGET], Given("y", **given))


def of(profile, name):
    return next(one for one in profile.columns if one.column.name == name)


@pytest.mark.parametrize(
    ("target", "task", "labels"),
    [
        (TARGET, "binary", ("no", "yes")),
        (column("y", "bool", 2, values=(False, True), counts=(1, 999)), "binary", (False, True)),
        (column("y", "float", 2, whole=True, values=(0.0, 1.0), counts=(5, 995)), "binary", (0, 1)),
        (column("y", "int", 3, values=(0, 1, 2), counts=(300, 300, 400)), "multiclass", (0, 1, 2)),
        (column("y", "text", 3, values=("a", "b", "c"), counts=(1, 2, 997)), "multiclass", ("a", "b", "c")),
        (column("y", "int", 300), "regression", ()),
        (column("y", "float", 12), "regression", ()),
    ],
)
def test_the_kind_of_task_follows_from_the_target(target, task, labels):
    profile = conclude([SIZE, target], Given("y"))
    assert (profile.task, profile.labels) == (task, labels)
    assert profile.task_reason


def test_a_person_may_say_otherwise():
    assert concluded(positive="no").labels == ("yes", "no")
    ordinal = column("y", "int", 5, values=(1, 2, 3, 4, 5), counts=(200,) * 5)
    assert conclude([SIZE, ordinal], Given("y", task="regression")).task == "regression"


@pytest.mark.parametrize(
    ("target", "given", "said"),
    [
        (column("y", missing=3), {}, "3 of 1000 rows have no y"),
        (column("y", distinct=1), {}, "a single value"),
        (column("y", "text", 700), {}, "too many classes"),
        (TARGET, {"task": "regression"}, "y is no number"),
        (TARGET, {"positive": "maybe"}, "'maybe' is no value of y"),
        (TARGET, {"time": "size2"}, "no column 'size2'"),
        (TARGET, {"time": "size"}, "holds no times"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(target, given, said):
    with pytest.raises(DataError, match=said):
        conclude([SIZE, target], Given("y", **given))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (column("shop", "text", 1), "same value"),
        (column("note", "text", 0, missing=ROWS), "empty"),
        (column("name", "text", ROWS), "names the row"),
        (column("nr", "int", ROWS, minimum=1.0, maximum=1000.0), "names the row"),
        (column("story", "text", 800, mean_length=80.0), "prose"),
        (column("street", "text", 400), "more than the 200"),
        (column("blob", "other", 10), "no model here takes"),
        (column("age", "text", 60, number_share=0.97, odd_text="?"), "'?' is none"),
    ],
)
def test_what_is_no_input_is_left_out_and_says_why(given, reason):
    left = of(concluded(given), given.name)
    assert left.role is Role.LEFT_OUT
    assert reason in left.reason


def test_types_are_kept():
    kinds = {"a": "int", "b": "bool", "c": "text", "d": "float"}
    profile = concluded(*(column(name, kind, 5) for name, kind in kinds.items()))
    found = {name: one.kind for name, one in profile.inputs.items()}
    wanted = [InputKind.INT, InputKind.BOOL, InputKind.CATEGORY, InputKind.FLOAT, InputKind.FLOAT]
    assert list(found.values()) == wanted


def test_times_and_groups_decide_on_the_split():
    in_time = concluded(TIME, column("customer_id", "int", 100))
    assert (in_time.split, in_time.period, in_time.named(Role.TIME)) == ("time", timedelta(hours=24), "at")
    grouped = concluded(column("customer_id", "int", 100))
    assert (grouped.split, grouped.named(Role.GROUP)) == ("group", "customer_id")
    keyed = concluded(column("order_id", "text", ROWS))
    assert (keyed.split, keyed.named(Role.KEY)) == ("random", "order_id")


def test_columns_that_tell_the_target_are_named():
    random = np.random.default_rng(3)
    target = (random.random(800) < 0.3).astype(float)
    noise = random.normal(size=800)
    features = np.column_stack([noise, target * 2 + 1, target + 0.01 * noise, noise + target]).astype(
        np.float32
    )
    told = telling_columns(features, ("noise", "copy", "after", "honest"), target, False, seed=7)
    assert set(told) == {"copy", "after"}
    assert "copy" in told["copy"]
    value = noise * 40 + 7
    numbers = np.column_stack([noise, value * 2, random.normal(size=800)]).astype(np.float32)
    assert set(telling_columns(numbers, ("a", "b", "c"), value, True, seed=7)) == {"a", "b"}


def test_times_after_the_row_are_named():
    rows = np.arange(100.0)
    told = future_times({"paid": rows + 3, "ordered": rows - 1, "rare": rows * np.nan}, rows)
    assert set(told) == {"paid"}
