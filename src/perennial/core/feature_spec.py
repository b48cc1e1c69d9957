"""The part of the model spec that names the inputs of a model (`features` in the YAML)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from perennial.core.frozen import Frozen
from perennial.core.input_spec import InputSpec, columns_of


class FeatureSpec(Frozen):
    """Inputs of the model, in order: of the feature store, or sent by the caller."""

    source: Literal["store", "request"] = Field(
        "store", description="store: Feast has the values; request: the caller sends each input"
    )
    service: str | None = Field(None, description="store: name of the Feast FeatureService")
    entities: tuple[str, ...] = Field(
        (), description="store: join keys; the first identifies the scored item"
    )
    columns: tuple[str, ...] = Field((), description="store: view:feature, in input order")
    request: dict[str, Literal["int", "float", "string", "timestamp"]] = Field(
        default_factory=dict, description="store: values that the caller sends with a prediction"
    )
    inputs: dict[str, InputSpec] = Field(
        default_factory=dict, description="request: the inputs by name, in input order"
    )

    @model_validator(mode="after")
    def names_its_inputs(self) -> Self:
        of_store = {"service": self.service, "entities": self.entities, "columns": self.columns}
        if self.source == "request":
            given = [name for name, value in {**of_store, "request": self.request}.items() if value]
            if given or not self.inputs:
                raise ValueError(
                    f"source: request needs `inputs`, and none of service, entities, columns, request ({given})"
                )
        elif self.inputs or not all(of_store.values()):
            raise ValueError("source: store needs service, entities and columns, and no `inputs`")
        return self

    @property
    def bucket_columns(self) -> frozenset[str]:
        """Return the columns that are counts of n-grams of a text."""
        return frozenset(
            column for name, given in self.inputs.items() for column in given.bucket_columns(name)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns that the model gets, in order; a text has several."""
        if self.source == "request":
            return columns_of(self.inputs)
        return tuple(column.split(":", 1)[1] for column in self.columns)

    def same_values(self, other: FeatureSpec) -> bool:
        """Return whether both give a model the same numbers for the same row."""
        return (self.columns, list(self.inputs.items())) == (other.columns, list(other.inputs.items()))
