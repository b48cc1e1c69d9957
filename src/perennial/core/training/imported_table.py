"""The columns of a holdout as the inputs of a finished model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perennial.core.data_spec import Split
from perennial.core.input_spec import InputKind
from perennial.core.training.drafts.column_roles import Conclusion, Role
from perennial.core.training.drafts.table_columns import ColumnType
from perennial.core.training.drafts.table_profile import TableProfile
from perennial.core.training.imported import Description
from perennial.errors import ModelFileError

KINDS = {
    ColumnType.INT: InputKind.INT,
    ColumnType.FLOAT: InputKind.FLOAT,
    ColumnType.BOOL: InputKind.BOOL,
    ColumnType.TEXT: InputKind.CATEGORY,
}


def with_inputs(profile: TableProfile, names: Sequence[str], described: Description) -> TableProfile:
    """Return the profile with exactly the columns of a model as inputs, in its order, whatever they look like.

    Raises:
        ModelFileError: a column is not there, is the target, or has a type that the model cannot take.
    """
    by_name = {conclusion.column.name: conclusion for conclusion in profile.columns}
    target = profile.target.name
    absent = [name for name in names if name not in by_name]
    if absent:
        raise ModelFileError(
            f"the holdout has no column {', '.join(absent)}, which the model takes",
            hint=f"the holdout has {', '.join(by_name)[:500]}",
        )
    if target in names:
        raise ModelFileError(
            f"the model takes {target}, which is the target", hint="--target names the column to predict"
        )
    wrong = []
    for name in names:
        column = by_name[name].column
        if column.type not in KINDS or (not described.by_name and column.type is ColumnType.TEXT):
            wrong.append(f"{name} is a {column.type.value}")
        elif column.type is ColumnType.TEXT and not column.values:
            wrong.append(f"{name} has {column.distinct} texts, too many for a category")
    if wrong:
        raise ModelFileError(
            f"columns that cannot be given to the model: {'; '.join(wrong)}",
            hint="write a spec by hand that says what their values stand for, or import a model with its encoding",
        )
    rest = tuple(
        conclusion
        if conclusion.role not in (Role.INPUT, Role.LEFT_OUT)
        else Conclusion(conclusion.column, Role.LEFT_OUT, "the model does not take it")
        for conclusion in profile.columns
        if conclusion.column.name not in names
    )
    taken = tuple(
        Conclusion(by_name[name].column, Role.INPUT, "the model takes it", KINDS[by_name[name].column.type])
        for name in names
    )
    roles = {conclusion.role for conclusion in rest}
    lost = {Split.TIME: Role.TIME, Split.GROUP: Role.GROUP}.get(profile.split)
    if lost is None or lost in roles:
        return replace(profile, columns=(*taken, *rest))
    return replace(
        profile,
        columns=(*taken, *rest),
        split=Split.RANDOM,
        split_reason="rows are drawn by a hash: the model takes the column that would order or group them",
        period=None,
    )
