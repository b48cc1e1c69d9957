"""Model of the probability that a test fails in the next CI cycle: an ensemble of small networks.

It minimises two losses: cross-entropy, which makes the score a probability, and RankNet's pairwise logistic
loss (C. Burges et al., "Learning to Rank using Gradient Descent", ICML 2005) over pairs of a failing and a
passing test of the same cycle, because the score is for ranking within a cycle. The weights are an exponential
average over the steps at a constant rate, so an epoch has the same effect whether or not more epochs follow, and
the number of epochs chosen on validation rows is right for the final fit too.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from perennial.errors import DataError
from perennial.models.base import Examples, Model, Progress, Task
from perennial.models.tabular_network import Encoder, Network, quantile_edges, rank_loss

CATEGORIES = {"last_execution_status": 2, "weekday": 7}
"""Inputs that are codes 0..n-1, with n; all other inputs are numbers."""
OPSET = 18
DECAY = 0.98
"""Decay of the average: it covers about 50 steps, two epochs of a year of CI."""
PATIENCE = 3
"""Epochs without improvement on the validation rows before training stops."""
GROUP_ROWS = 200
"""Rows of whole cycles in a batch of the pairwise loss, and most rows of a cycle."""


class TestFailurePredictor(Model):
    """Binary ranking by a batched ensemble of multilayer perceptrons."""

    __test__ = False  # the name is the domain's: this is no test class
    architecture = "ple-mlp-ensemble/1"
    framework = "pytorch"

    def __init__(
        self, feature_names: tuple[str, ...], parameters: Mapping[str, Any], seed: int, task: Task
    ) -> None:
        super().__init__(feature_names, parameters, seed, task)
        self.network: Network | None = None

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "width": trial.suggest_categorical("width", [32, 64]),
            "layers": trial.suggest_int("layers", 1, 2),
            "members": 8,
            "bins": trial.suggest_categorical("bins", [8, 16]),
            "dropout": trial.suggest_float("dropout", 0.1, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 4e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
            "rank_weight": trial.suggest_float("rank_weight", 0.5, 2.0),
            "batch": 512,
        }

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        if len(np.unique(train.target)) < 2:
            raise DataError("the training rows hold one verdict only", hint="train on more history")
        # On a busy machine threads wait for each other over small batches and are slower than a single thread.
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        random = np.random.default_rng(self.seed)
        network = self._build(train.features)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
        optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=self.parameters["learning_rate"],
            weight_decay=self.parameters["weight_decay"],
        )
        best, kept, state = np.inf, epochs, None
        for epoch in range(epochs):
            metrics = {"train_loss": self._epoch(network, average, optimiser, train, random)}
            self.network = average.module.eval()
            if validation is not None:
                metrics["validation_loss"] = self._loss(validation)
                # The loss, not the ranking: a ranking is good before the score is a probability.
                if metrics["validation_loss"] < best:
                    best, kept = metrics["validation_loss"], epoch + 1
                    state = {name: value.clone() for name, value in self.network.state_dict().items()}
            progress(epoch, metrics)
            if validation is not None and epoch + 1 - kept >= PATIENCE:
                break
        if state is not None:
            self._fitted().load_state_dict(state)
        return kept

    def predict(self, features: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._fitted()(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))).numpy()

    def export(self, path: Path) -> None:
        example = torch.zeros((2, len(self.feature_names)), dtype=torch.float32)
        # Said on every export: operators of torchvision are not there, and a rename inside torch.
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.onnx.export(
                self._fitted(),
                (example,),
                input_names=["features"],
                output_names=["score"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        program.save(str(path))

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self._fitted().parameters())

    def native(self) -> nn.Module:
        return self._fitted()

    def _fitted(self) -> Network:
        if self.network is None:
            raise RuntimeError("the model is not fitted yet")
        return self.network

    def _build(self, features: np.ndarray) -> Network:
        if features.shape[1] != len(self.feature_names):
            raise DataError(f"{features.shape[1]} columns for {len(self.feature_names)} feature names")
        codes = [i for i, name in enumerate(self.feature_names) if name in CATEGORIES]
        numbers = [i for i, name in enumerate(self.feature_names) if name not in CATEGORIES]
        encoder = Encoder(
            numbers=numbers,
            edges=quantile_edges(features[:, numbers], self.parameters["bins"]),
            known=features[:, numbers],
            codes=codes,
            cards=[CATEGORIES[self.feature_names[i]] for i in codes],
        )
        return Network(
            encoder,
            width=self.parameters["width"],
            layers=self.parameters["layers"],
            members=self.parameters["members"],
            dropout=self.parameters["dropout"],
        )

    def _epoch(
        self,
        network: Network,
        average: AveragedModel,
        optimiser: torch.optim.Optimizer,
        train: Examples,
        random: np.random.Generator,
    ) -> float:
        """Pass over the rows, with a batch of whole cycles beside each batch of rows; return the mean loss."""
        network.train()
        features, target = torch.from_numpy(train.features), torch.from_numpy(train.target)
        group = torch.from_numpy(train.group)
        rows = torch.from_numpy(random.permutation(len(train))).split(self.parameters["batch"])
        total = 0.0
        for batch, cycles in zip(rows, _group_batches(train.group, random), strict=False):
            logits = network.logits(features[batch])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target[batch].expand_as(logits))
            ranked = network.logits(features[cycles])
            loss = loss + self.parameters["rank_weight"] * rank_loss(ranked, target[cycles], group[cycles])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            average.update_parameters(network)
            total += loss.item() * len(batch)
        return total / len(train)

    def _loss(self, validation: Examples) -> float:
        score = self.predict(validation.features).astype(float)
        bounded = np.clip(score, 1e-7, 1 - 1e-7)
        loss = -np.mean(np.where(validation.target == 1, np.log(bounded), np.log1p(-bounded)))
        return float(loss)


def _group_batches(group: np.ndarray, random: np.random.Generator) -> Iterator[Tensor]:
    """Yield rows of whole groups in random order, endlessly; of a large group a random part.

    Args:
        group: [n], ascending.
    """
    edges = np.flatnonzero(np.diff(group)) + 1
    groups = np.split(np.arange(len(group)), edges)
    chosen: list[np.ndarray] = []
    while True:
        for place in random.permutation(len(groups)):
            rows = groups[place]
            chosen.append(rows if len(rows) <= GROUP_ROWS else random.choice(rows, GROUP_ROWS, replace=False))
            if sum(map(len, chosen)) >= GROUP_ROWS:
                yield torch.from_numpy(np.concatenate(chosen))
                chosen = []
