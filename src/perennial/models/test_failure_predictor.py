"""Model of the probability that a test fails in the next CI cycle: an ensemble of small networks.

It minimises two losses: cross-entropy, which makes the score a probability, and RankNet's pairwise logistic
loss (C. Burges et al., "Learning to Rank using Gradient Descent", ICML 2005) over pairs of a failing and a
passing test of the same cycle, because the score is for ranking within a cycle. The weights are an exponential
average over the steps at a constant rate, so an epoch has the same effect whether or not more epochs follow, and
the number of epochs chosen on validation rows is right for the final fit too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from perennial.errors import DataError
from perennial.models.base import Examples
from perennial.models.share import Share
from perennial.models.tabular_network import Encoder, Network, quantile_edges, rank_loss
from perennial.models.torch_model import TorchModel, device_of

CATEGORIES = {"last_execution_status": 2, "weekday": 7}
"""Inputs that are codes 0..n-1, with n; all other inputs are numbers."""
DECAY = 0.98
"""Decay of the average: it covers about 50 steps, two epochs of a year of CI."""
GROUP_ROWS = 200
"""Rows of whole cycles in a batch of the pairwise loss, and most rows of a cycle."""


class TestFailurePredictor(TorchModel):
    """Binary ranking by a batched ensemble of multilayer perceptrons."""

    __test__ = False  # the name is the domain's: this is no test class
    architecture = "ple-mlp-ensemble/1"
    distributed = True
    patience = 3

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

    def build(self, train: Examples) -> Network:
        if len(np.unique(train.target)) < 2:
            raise DataError("the training rows hold one verdict only", hint="train on more history")
        features = train.features
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

    def average(self, network: nn.Module) -> AveragedModel:
        return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))

    def losses(
        self, network: Network, train: Examples, random: np.random.Generator
    ) -> Iterator[tuple[Tensor, int]]:
        """Yield the losses of random rows, each with a batch of whole cycles beside it.

        Several processes share the rows; each has the cycles, whose pairs cannot be cut.
        """
        features, target, group = (
            torch.from_numpy(part).to(device_of(network))
            for part in (train.features, train.target, train.group)
        )
        rows = torch.from_numpy(random.permutation(len(train))).split(self.parameters["batch"])
        share = Share()
        for batch, cycles in zip(rows, _group_batches(train.group, random), strict=False):
            own, weight = share.of(batch)
            logits = network.logits(features[own])
            loss = (
                nn.functional.binary_cross_entropy_with_logits(logits, target[own].expand_as(logits)) * weight
            )
            ranked = network.logits(features[cycles])
            yield (
                loss + self.parameters["rank_weight"] * rank_loss(ranked, target[cycles], group[cycles]),
                len(batch),
            )

    def loss_of(self, rows: Examples) -> float:
        score = self.predict(rows.features).astype(float)
        bounded = np.clip(score, 1e-7, 1 - 1e-7)
        loss = -np.mean(np.where(rows.target == 1, np.log(bounded), np.log1p(-bounded)))
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
