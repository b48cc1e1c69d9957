"""The part of the model spec that names the inputs of a model (`features` in the YAML)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from perennial.core.frozen import Frozen
from perennial.core.input_spec import ALL_INPUTS, EMBEDDING, VOCABULARY, InputKind, InputSpec


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
        default_factory=dict,
        description="request: the inputs by name, in input order; store: types of columns that are no plain numbers, "
        "and of what the caller sends besides the entities, which comes after the columns",
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
        elif not all(of_store.values()):
            raise ValueError("source: store needs service, entities and columns")
        elif texts := [name for name, given in self.inputs.items() if given.buckets is not None]:
            raise ValueError(f"{', '.join(texts)}: type text needs source: request")
        if taken := sorted(set(self.sent) & {*self.entities, *self.request}):
            raise ValueError(f"{', '.join(taken)} in `inputs` is in entities or request, too")
        return self

    @property
    def bucket_columns(self) -> frozenset[str]:
        """Return the columns that are counts of n-grams of a text."""
        return frozenset(
            column for name, given in self.inputs.items() for column in given.bucket_columns(name)
        )

    @property
    def stored(self) -> tuple[str, ...]:
        """Return the inputs of the feature store, in order."""
        return tuple(column.split(":", 1)[1] for column in self.columns)

    @property
    def sent(self) -> tuple[str, ...]:
        """Return the typed inputs that the caller sends."""
        stored = set(self.stored)
        return tuple(name for name in self.inputs if name not in stored)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns that the model gets, in order; a text or an array has several."""
        return tuple(
            column
            for name in (*self.stored, *self.sent)
            for column in (self.inputs[name].columns(name) if name in self.inputs else (name,))
        )

    def watched(self, name: str) -> tuple[str, ...]:
        """Return the columns that the monitor compares under a name: those of an array, else the column itself.

        None for a view of several columns: see `viewed`.
        """
        if self.viewed(name):
            return ()
        given = self.inputs.get(name)
        return (name,) if given is None or given.size is None else given.columns(name)

    def viewed(self, name: str) -> tuple[str, ...]:
        """Return the columns of which a vocabulary or an embedding of this name is made; none for other names."""
        if name == f"{ALL_INPUTS}{EMBEDDING}":
            left_out = {
                column
                for source, given in self.inputs.items()
                if given.type in (InputKind.CATEGORY, InputKind.TEXT)
                for column in given.columns(source)
            }
            return tuple(column for column in self.names if column not in left_out)
        source, _, view = name.rpartition("#")
        given = self.inputs.get(source)
        if given is None or f"#{view}" not in (VOCABULARY, EMBEDDING):
            return ()
        if f"#{view}" == EMBEDDING and given.size is not None:
            return given.columns(source)
        return given.bucket_columns(source)

    def same_values(self, other: FeatureSpec) -> bool:
        """Return whether both give a model the same numbers for the same row."""
        return (self.columns, list(self.inputs.items())) == (other.columns, list(other.inputs.items()))
