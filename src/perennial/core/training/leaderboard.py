"""The leaderboard of a search over several templates: the best trial of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perennial.core.training.artifacts import ParameterValue, Trial

TEMPLATE = "template"
"""Parameter of a trial that names its template."""
BLEND, MEMBERS = "blend", "members"
"""Value of `template` for a weighted mean of several models, and the parameter that lists them as JSON."""


@dataclass(frozen=True)
class Place:
    """A template in a search."""

    template: str
    metric: str
    value: float | None
    """The metric of its best trial on the validation rows; None if no trial was completed."""
    trials: int
    pruned: int
    parameters: dict[str, ParameterValue]
    """Those of its best trial."""

    def __str__(self) -> str:
        value = "-" if self.value is None else f"{self.value:.4f}"
        return f"{self.template}: {self.metric} {value}, {self.trials} trials ({self.pruned} pruned)"


def leaderboard(trials: Sequence[Trial], metric: str, maximise: bool) -> list[Place]:
    """Return the templates of the trials, the best first; none where trials name no template."""
    sign = -1 if maximise else 1
    by_template: dict[str, list[Trial]] = {}
    for trial in trials:
        if TEMPLATE in trial.parameters:
            by_template.setdefault(str(trial.parameters[TEMPLATE]), []).append(trial)
    places = []
    for template, own in by_template.items():
        complete = [trial for trial in own if trial.value is not None]
        best = min(complete, key=lambda trial: sign * _value(trial), default=None)
        parameters = {} if best is None else dict(best.parameters)
        parameters.pop(TEMPLATE, None)
        pruned = sum(trial.pruned for trial in own)
        value = None if best is None else best.value
        places.append(Place(template, metric, value, len(own), pruned, parameters))
    return sorted(places, key=lambda place: float("inf") if place.value is None else sign * place.value)


def table_of(board: Sequence[Place]) -> dict[str, Any]:
    """Return the leaderboard as columns and rows, in the form of MLflow's tables."""
    columns = ["place", "template", "metric", "value", "trials", "pruned", "parameters"]
    rows = [
        [number, place.template, place.metric, place.value, place.trials, place.pruned, str(place.parameters)]
        for number, place in enumerate(board, 1)
    ]
    return {"columns": columns, "data": rows}


def _value(trial: Trial) -> float:
    return float("inf") if trial.value is None else trial.value
