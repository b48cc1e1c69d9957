"""A forecast from the last values of a series: a naive forecast with intervals, and a small network that corrects it.

Each row is put in its own terms first: past values as their distance from the newest, in units of their mean absolute
change. In these terms the network answers the quantiles of the distance of the future value from the naive forecast:
the last value, or the value a season before, whichever is better in the training rows. It starts at the quantiles that
this forecast has there, by step, and its last layer starts at zero, so that it only departs from the naive forecast
where the data say so. The quantiles cannot cross: each is the quantile before plus a softplus.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from perennial.core.input_spec import InputKind
from perennial.core.tasks import Forecast
from perennial.core.tasks.naive import repeated, scale_of
from perennial.core.tasks.windows import SERIES
from perennial.errors import DataError
from perennial.models.base import Examples
from perennial.models.torch_model import BatchedModel

DECAY = 0.95
LARGEST, FAR = 1e18, 20.0
"""Bounds of a past value, so that no answer leaves float32, and of one in the row's own terms."""
EMBEDDING = 2


class LagNetwork(BatchedModel):
    """Forecast of one or several series that share their weights."""

    architecture = "lag-network/1"
    patience = 15
    steps, smallest_batch = 8, 32

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "width": trial.suggest_categorical("width", [8, 16, 32]),
            "dropout": trial.suggest_float("dropout", 0.0, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1.0, log=True),
        }

    def build(self, train: Examples) -> LagCorrection:
        task = self.task
        if not isinstance(task, Forecast):
            raise DataError(f"LagNetwork makes forecasts, no {task.kind}", hint="choose another template")
        scale = scale_of(task.past, train.features)
        if not (scale > 0).any():
            raise DataError("no series changes in the training rows", hint="train on more rows")
        rows, unit = train.features[scale > 0], scale[scale > 0]
        by_season = {
            season: (train.target[scale > 0] - repeated(task.past, season, rows)) / unit
            for season in (1, task.season)
        }
        season = min(by_season, key=lambda season: float(np.abs(by_season[season]).mean()))
        moves = by_season[season]
        steps = train.features[scale > 0, task.past].astype(int)
        at = [moves[steps == step] for step in range(1, task.horizon + 1)]
        start = np.array([np.quantile(known if len(known) else moves, task.quantiles) for known in at])
        known = self.inputs.get(SERIES)
        series = len(known.categories) if known is not None and known.type is InputKind.CATEGORY else 0
        return LagCorrection(
            task, season, series, start, self.parameters["width"], self.parameters["dropout"]
        )

    def average(self, network: nn.Module) -> AveragedModel:
        return AveragedModel(network, avg_fn=get_ema_avg_fn(DECAY))


class LagCorrection(nn.Module):
    """float32 [batch, features] of `core.tasks.windows` -> quantiles [batch, levels].

    Args:
        season: periods between the repeated value and the forecast, or their multiple; 1: the last value.
        series: number of series; 0: there is no such input.
        start: [horizon, levels], quantiles to start from, in the terms of a row.
    """

    def __init__(
        self, task: Forecast, season: int, series: int, start: np.ndarray, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.past, self.horizon, self.season = task.past, task.horizon, task.season
        self.register_buffer("levels", torch.tensor(task.quantiles))
        steps = np.arange(1, task.horizon + 1)
        self.register_buffer("repeats", torch.tensor(season * -(-steps // season) - steps))
        gaps = np.maximum(np.diff(start, axis=1), 1e-3)
        self.first = nn.Parameter(torch.tensor(start[:, :1], dtype=torch.float32))
        self.gaps = nn.Parameter(torch.tensor(np.log(np.expm1(gaps)), dtype=torch.float32))
        self.series = nn.Embedding(series + 1, EMBEDDING) if series else None
        size = task.past - 1 + task.horizon + task.season + (EMBEDDING if series else 0)
        self.body = nn.Sequential(
            nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, len(task.quantiles))
        )
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def terms(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the past values without gaps, the newest first, and the row's level and scale, each [batch, 1]."""
        known = features[:, : self.past].clamp(-LARGEST, LARGEST)
        filled = [known[:, place : place + 1] for place in range(self.past)]
        for place in reversed(range(self.past - 1)):  # a gap repeats the value before it
            filled[place] = torch.where(torch.isnan(filled[place]), filled[place + 1], filled[place])
        for place in range(1, self.past):  # the oldest ones repeat the next
            filled[place] = torch.where(torch.isnan(filled[place]), filled[place - 1], filled[place])
        past = torch.cat(filled, dim=1)
        past = torch.where(torch.isnan(past), torch.zeros_like(past), past)
        scale = (past[:, :-1] - past[:, 1:]).abs().mean(dim=1, keepdim=True)
        return past, past[:, :1], scale

    def own(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the quantiles in the terms of the row, its naive forecast and its scale, each [batch, ...]."""
        past, level, scale = self.terms(features)
        moved = scale > 0
        distance = (past[:, 1:] - level) / torch.where(moved, scale, torch.ones_like(scale))
        step = _code(features[:, self.past] - 1, self.horizon)
        phase = _code(features[:, self.past + 1], self.season)
        parts = [
            distance.clamp(-FAR, FAR),
            nn.functional.one_hot(step, self.horizon).to(features.dtype),
            nn.functional.one_hot(phase, self.season).to(features.dtype),
        ]
        if self.series is not None:  # code 0: a series that the training has not seen
            parts.append(self.series(_code(features[:, self.past + 2] + 1, self.series.num_embeddings)))
        moves = self.body(torch.cat(parts, dim=1))
        gaps = nn.functional.softplus(self.gaps[step] + moves[:, 1:])
        first = self.first[step] + moves[:, :1]
        naive = past.gather(1, self.repeats[step][:, None])
        return torch.cat([first, first + torch.cumsum(gaps, dim=1)], dim=1), naive, scale

    def forward(self, features: Tensor) -> Tensor:
        quantiles, naive, scale = self.own(features)
        return naive + scale * quantiles

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the mean pinball loss in the terms of the rows; rows of a constant past teach nothing."""
        quantiles, naive, scale = self.own(features)
        moved = scale > 0
        actual = (target[:, None] - naive) / torch.where(moved, scale, torch.ones_like(scale))
        below = actual - quantiles
        loss = torch.maximum(self.levels * below, (self.levels - 1) * below)
        return (loss * moved).sum() / (moved.sum().clamp(min=1) * loss.shape[1])


def _code(values: Tensor, count: int) -> Tensor:
    """Return whole numbers from 0 to count - 1; a missing or foreign value is the nearest, or 0."""
    known = torch.where(torch.isnan(values), torch.zeros_like(values), values)
    return known.clamp(0, count - 1).round().to(torch.int64)
