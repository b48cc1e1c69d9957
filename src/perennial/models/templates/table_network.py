"""A batched ensemble of multilayer perceptrons for a table, for any kind of task.

The encoder and the ensemble are those of `perennial.models.tabular_network`. The members are averaged after their
sigmoid, softmax or value. The served weights are an exponential average over the steps, whose decay rises with the
number of steps (as `num_updates` of TensorFlow's ExponentialMovingAverage): a small table has few of them.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from perennial.core.input_spec import InputKind
from perennial.core.tasks.score import ScoreTask
from perennial.errors import DataError
from perennial.models.base import Examples, Model, Progress, Task
from perennial.models.tabular_network import BatchedLinear, Encoder, quantile_edges

OPSET = 18
MEMBERS = 8
DECAY = 0.98
PATIENCE = 10
"""Epochs without a lower validation loss before training stops."""
STEPS, SMALLEST_BATCH, LARGEST_BATCH = 16, 16, 512
"""Steps of an epoch that a small table is cut into, and bounds of the batch."""


class TableNetwork(Model):
    """Network over numbers, flags, categories and times; categories are the inputs of that type in the spec."""

    architecture = "table-network/1"
    framework = "pytorch"

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

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        if len(np.unique(train.target)) < 2:
            raise DataError("all training rows have the same target", hint="train on more rows")
        # On a busy machine threads wait for each other over small batches and are slower than a single thread.
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        random = np.random.default_rng(self.seed)
        network = self._build(train)
        average = AveragedModel(network, avg_fn=_rising_average)
        optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=self.parameters["learning_rate"],
            weight_decay=self.parameters["weight_decay"],
        )
        best, kept, state = np.inf, epochs, None
        for epoch in range(epochs):
            metrics = {"train_loss": _epoch(network, average, optimiser, train, random)}
            self.network = average.module.eval()
            if validation is not None:
                metrics["validation_loss"] = _loss_of(self.network, validation)
                if metrics["validation_loss"] < best:
                    best, kept = metrics["validation_loss"], epoch + 1
                    state = {name: value.clone() for name, value in self.network.state_dict().items()}
            progress(epoch, metrics)
            if validation is not None and epoch + 1 - kept >= PATIENCE:
                break
        if state is not None:
            self.network.load_state_dict(state)
        return kept

    def predict(self, features: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))).numpy()

    def export(self, path: Path) -> None:
        example = torch.zeros((2, len(self.feature_names)), dtype=torch.float32)
        # Said on every export: operators of torchvision are not there, and a rename inside torch.
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.onnx.export(
                self.network,
                (example,),
                input_names=["features"],
                output_names=[self.task.output],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        program.save(str(path))

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def native(self) -> nn.Module:
        return self.network

    def _build(self, train: Examples) -> TaskNetwork:
        names, features = self.feature_names, train.features
        cards = {
            place: len(self.inputs[name].categories)
            for place, name in enumerate(names)
            if name in self.inputs and self.inputs[name].type is InputKind.CATEGORY
        }
        numbers = [place for place in range(len(names)) if place not in cards]
        encoder = Encoder(
            numbers=numbers,
            edges=quantile_edges(features[:, numbers], self.parameters["bins"]),
            known=features[:, numbers],
            codes=list(cards),
            cards=list(cards.values()),
        )
        body = (self.parameters["width"], self.parameters["layers"], self.parameters["dropout"])
        return TaskNetwork(encoder, self.task, train.target, *body)


class TaskNetwork(nn.Module):
    """Encoder, ensemble and the last step of the kind of task: sigmoid, softmax, or a value in its unit."""

    def __init__(
        self, encoder: Encoder, task: Task, target: np.ndarray, width: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classes = task.width()
        self.is_score = isinstance(task, ScoreTask)
        deviation = float(np.std(target, dtype=float)) or 1.0
        self.register_buffer("mean", torch.tensor(float(np.mean(target, dtype=float))))
        self.register_buffer("deviation", torch.tensor(deviation))
        blocks: list[nn.Module] = []
        inputs = encoder.size
        for _ in range(layers):
            blocks += [BatchedLinear(MEMBERS, inputs, width), nn.ReLU(), nn.Dropout(dropout)]
            inputs = width
        self.body = nn.Sequential(*blocks, BatchedLinear(MEMBERS, inputs, self.classes or 1))

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
        """Return the mean loss of the members: cross entropy, or squared error in standard deviations."""
        raw = self.raw(features)
        if self.classes is not None:
            labels = target.to(torch.int64).expand(len(raw), -1)
            return nn.functional.cross_entropy(raw.flatten(0, 1), labels.flatten())
        values = raw.squeeze(-1)
        if self.is_score:
            return nn.functional.binary_cross_entropy_with_logits(values, target.expand_as(values))
        standard = (target - self.mean) / self.deviation
        return nn.functional.mse_loss(values, standard.expand_as(values))


def _epoch(
    network: TaskNetwork,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    train: Examples,
    random: np.random.Generator,
) -> float:
    """Pass over the rows once; return the mean loss."""
    network.train()
    size = int(np.clip(len(train) // STEPS, SMALLEST_BATCH, LARGEST_BATCH))
    features, target = torch.from_numpy(train.features), torch.from_numpy(train.target)
    total = 0.0
    for batch in torch.from_numpy(random.permutation(len(train))).split(size):
        loss = network.loss(features[batch], target[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update_parameters(network)
        total += loss.item() * len(batch)
    return total / len(train)


def _loss_of(network: TaskNetwork, rows: Examples) -> float:
    with torch.inference_mode():
        return float(network.loss(torch.from_numpy(rows.features), torch.from_numpy(rows.target)))


def _rising_average(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    decay = min(DECAY, (1 + int(steps)) / (10 + int(steps)))
    return average + (current - average) * (1 - decay)
