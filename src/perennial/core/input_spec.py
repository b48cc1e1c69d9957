"""Typed inputs that the caller sends. A rollback reads them in a manifest: nothing slow is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perennial.core.frozen import Frozen

LENGTH = "#length"
"""End of the name of the column with the length of a text, in characters: the one to watch for drift."""

VOCABULARY = "#vocabulary"
"""End of the name under which the monitor watches the words of a text; no column has it."""

EMBEDDING = "#embedding"
"""End of the name under which the monitor watches a text, an array, or `inputs` as a few numbers; no column has it."""

ALL_INPUTS = "inputs"
"""Before `EMBEDDING`: all numbers of the model, such as the pixels of an image."""

MOST_NUMBERS = 4096
"""Largest size of an array: a column each."""


class InputKind(StrEnum):
    """Type of an input column."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    CATEGORY = "category"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    ARRAY = "array"


class InputSpec(Frozen):
    """Type of an input, and what becomes of values that are missing or unknown."""

    type: InputKind
    missing: Literal["allow", "refuse"] = Field(description="allow: the model gets NaN")
    categories: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="of a category, in the order of their codes 0, 1, ..."
    )
    unknown: Literal["missing", "refuse"] | None = Field(
        None, description="of a category: a value that is not in `categories`"
    )
    buckets: Annotated[int, Field(ge=16, le=4096)] | None = Field(
        None,
        description="of a text: buckets that its character n-grams are hashed into; the model gets their counts",
    )
    size: Annotated[int, Field(ge=1, le=MOST_NUMBERS)] | None = Field(
        None,
        description="of an array: how many numbers each value has; the model gets each as a column",
        exclude_if=lambda size: size is None,  # the digest of specs without arrays stays
    )

    def columns(self, name: str) -> tuple[str, ...]:
        """Return the columns that a model gets for the input `name`: its own, or those of a text or an array."""
        if self.size is not None:
            return tuple(f"{name}[{place}]" for place in range(self.size))
        if self.buckets is None:
            return (name,)
        return (f"{name}{LENGTH}", *self.bucket_columns(name))

    def bucket_columns(self, name: str) -> tuple[str, ...]:
        """Return the columns with counts of n-grams; none without a text."""
        return tuple(f"{name}#{bucket}" for bucket in range(self.buckets or 0))

    @model_validator(mode="after")
    def category_has_values(self) -> Self:
        is_category = self.type is InputKind.CATEGORY
        if is_category != bool(self.categories) or is_category != (self.unknown is not None):
            raise ValueError("`categories` and `unknown` belong to type category, and to no other")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("a category is listed twice")
        if (self.type is InputKind.TEXT) != (self.buckets is not None):
            raise ValueError("`buckets` belongs to type text, and to no other")
        if (self.type is InputKind.ARRAY) != (self.size is not None):
            raise ValueError("`size` belongs to type array, and to no other")
        return self


def columns_of(inputs: Mapping[str, InputSpec]) -> tuple[str, ...]:
    """Return the names of the columns that a model gets, in the order of the inputs."""
    return tuple(column for name, spec in inputs.items() for column in spec.columns(name))


def by_name(inputs: Mapping[str, InputSpec], columns: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of the columns that mean something together: those of an array, each other one alone.

    Returns:
        Name of the array or the column -> its places in `columns`.
    """
    arrays = {
        column: name
        for name, spec in inputs.items()
        if spec.size is not None
        for column in spec.columns(name)
    }
    places: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        places.setdefault(arrays.get(column, column), []).append(place)
    return places


def in_order(inputs: Mapping[str, InputSpec], columns: Sequence[str]) -> dict[str, InputSpec]:
    """Return the inputs in the order of their columns: JSON keeps no order of keys that one may rely on."""
    firsts = {spec.columns(name)[0]: name for name, spec in inputs.items()}
    return {firsts[column]: inputs[firsts[column]] for column in columns if column in firsts}
