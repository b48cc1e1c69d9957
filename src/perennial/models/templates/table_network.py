"""A batched ensemble of multilayer perceptrons for a table, for any kind of task.

The encoder and the ensemble are those of `perennial.models.tabular_network`. The members are averaged after their
sigmoid, softmax or value. The served weights are an exponential average over the steps, whose decay rises with the
number of steps (as `num_updates` of TensorFlow's ExponentialMovingAverage): a small table has few of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from perennial.core.input_spec import InputKind
from perennial.models.base import Examples, Task
from perennial.models.tabular_network import Encoder, ensemble, quantile_edges
from perennial.models.torch_model import BatchedModel

MEMBERS = 8
STUDENT_MEMBERS = 2
"""Members of a network that learns the mean answer of `MEMBERS` ones."""
DECAY = 0.98


class TableNetwork(BatchedModel):
    """Network over numbers, flags, categories and times; categories are the inputs of that type in the spec."""

    architecture = "table-network/1"
    patience = 10
    steps, smallest_batch = 16, 16

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "width": trial.suggest_categorical("width", [32, 64, 128]),
            "layers": trial.suggest_int("layers", 1, 2),
            "bins": trial.suggest_categorical("bins", [4, 8, 16]),
            "dropout": trial.suggest_float("dropout", 0.05, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 3e-1, log=True),
        }

    def build(self, train: Examples) -> TaskNetwork:
        train.refuse_one_target()
        features, cards = train.features, self.cards()
        numbers = [place for place in range(len(self.feature_names)) if place not in cards]
        encoder = Encoder(
            numbers=numbers,
            edges=quantile_edges(features[:, numbers], self.parameters["bins"]),
            known=features[:, numbers],
            codes=list(cards),
            cards=list(cards.values()),
        )
        return self.around(encoder, train, self.parameters["layers"])

    def around(self, encoder: nn.Module, train: Examples, layers: int) -> TaskNetwork:
        """Return the network with the given encoder and the parameters of this model."""
        width, dropout = self.parameters["width"], self.parameters["dropout"]
        members = self.parameters.get("members", MEMBERS)
        return TaskNetwork(encoder, self.task, train.target, width, layers, dropout, members)

    def smaller(self) -> dict[str, Any]:
        return {**self.parameters, "width": max(8, self.parameters["width"] // 2), "members": STUDENT_MEMBERS}

    def cards(self) -> dict[int, int]:
        """Return the number of values of each category, by its place among the features."""
        return {
            place: len(self.inputs[name].categories)
            for place, name in enumerate(self.feature_names)
            if name in self.inputs and self.inputs[name].type is InputKind.CATEGORY
        }

    def average(self, network: nn.Module) -> AveragedModel:
        return AveragedModel(network, avg_fn=_rising_average)


class TaskNetwork(nn.Module):
    """Encoder, ensemble and the last step of the kind of task: sigmoid, softmax, or a value in its unit.

    Args:
        encoder: layer from float32 [batch, features] with NaN to [batch, `encoder.size`].
    """

    def __init__(
        self,
        encoder: nn.Module,
        task: Task,
        target: np.ndarray,
        width: int,
        layers: int,
        dropout: float,
        members: int = MEMBERS,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classes = task.width()
        self.is_score = self.classes is None and not task.is_number
        deviation = float(np.std(target, dtype=float)) or 1.0
        self.register_buffer("mean", torch.tensor(float(np.mean(target, dtype=float))))
        self.register_buffer("deviation", torch.tensor(deviation))
        self.body = ensemble(members, encoder.size, width, layers, dropout, self.classes or 1)

    def raw(self, features: Tensor) -> Tensor:
        """Return the last layer, [members, batch, outputs]."""
        return self.body(self.encoder(features).unsqueeze(0))

    def forward(self, features: Tensor) -> Tensor:
        raw = self.raw(features)
        if self.classes is not None:
            return torch.softmax(raw, dim=-1).mean(dim=0)
        if self.is_score:
            return torch.sigmoid(raw).mean(dim=0).squeeze(-1)
        return raw.mean(dim=0).squeeze(-1) * self.deviation + self.mean

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the members: cross entropy, or squared error in standard deviations.

        Args:
            target: float32 [batch]; of several classes also their probabilities [batch, classes], as another model
                answers them.
        """
        raw = self.raw(features)
        if self.classes is not None and target.ndim == 2:
            return nn.functional.cross_entropy(raw.flatten(0, 1), target.expand_as(raw).flatten(0, 1))
        if self.classes is not None:
            labels = target.to(torch.int64).expand(len(raw), -1)
            return nn.functional.cross_entropy(raw.flatten(0, 1), labels.flatten())
        values = raw.squeeze(-1)
        if self.is_score:
            return nn.functional.binary_cross_entropy_with_logits(values, target.expand_as(values))
        standard = (target - self.mean) / self.deviation
        return nn.functional.mse_loss(values, standard.expand_as(values))


def _rising_average(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    decay = min(DECAY, (1 + int(steps)) / (10 + int(steps)))
    return average + (current - average) * (1 - decay)
