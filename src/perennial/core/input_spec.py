"""Typed inputs that the caller sends. A rollback reads them in a manifest: nothing slow is imported here."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perennial.core.frozen import Frozen


class InputKind(StrEnum):
    """Type of an input column."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    CATEGORY = "category"
    TIMESTAMP = "timestamp"


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

    @model_validator(mode="after")
    def category_has_values(self) -> Self:
        is_category = self.type is InputKind.CATEGORY
        if is_category != bool(self.categories) or is_category != (self.unknown is not None):
            raise ValueError("`categories` and `unknown` belong to type category, and to no other")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("a category is listed twice")
        return self
