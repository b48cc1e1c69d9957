"""A choice among kinds of model: the template is a parameter of the search, like those of its own space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perennial.core.training.leaderboard import BLEND, TEMPLATE
from perennial.models.base import Examples, Model, Progress
from perennial.models.templates.blend import Blend


class TemplateChoice(Model):
    """One of several models, by the parameter `template`, or a blend of them; the other parameters are its own."""

    architecture = "choice"
    candidates: ClassVar[Mapping[str, type[Model]]]

    def __init__(
        self, feature_names: tuple[str, ...], parameters: Mapping[str, Any], *given: Any, **named: Any
    ) -> None:
        super().__init__(feature_names, parameters, *given, **named)
        own = {name: value for name, value in parameters.items() if name != TEMPLATE}
        self.chosen: Model = (
            Blend(self.candidates, feature_names, own, *given, **named)
            if parameters[TEMPLATE] == BLEND
            else self.candidates[parameters[TEMPLATE]](feature_names, own, *given, **named)
        )
        self.architecture = self.chosen.architecture  # type: ignore[misc]  # of the model that is served
        self.framework = self.chosen.framework  # type: ignore[misc]

    @classmethod
    def suggest(cls, trial: Any) -> dict[str, Any]:  # type: ignore[override]
        name = trial.suggest_categorical(TEMPLATE, list(cls.candidates))
        return {TEMPLATE: name, **cls.candidates[name].suggest(_Named(trial, name))}

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        return self.chosen.fit(train, validation, epochs, progress)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.chosen.predict(features)

    def export(self, path: Path) -> None:
        self.chosen.export(path)

    def parameter_count(self) -> int:
        return self.chosen.parameter_count()

    def native(self) -> Any | None:
        return self.chosen.native()


def choice_of(candidates: Mapping[str, type[Model]]) -> type[TemplateChoice]:
    """Return the model class that chooses among candidates by name."""
    return type("Choice", (TemplateChoice,), {"candidates": dict(candidates)})


class _Named:
    """A trial whose parameters carry the name of a template: two templates may have a parameter of one name."""

    def __init__(self, trial: Any, name: str) -> None:
        self._trial, self._name = trial, name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        asked = getattr(self._trial, method)
        if not method.startswith("suggest_"):
            return asked
        return lambda name, *given, **named: asked(f"{self._name}.{name}", *given, **named)
