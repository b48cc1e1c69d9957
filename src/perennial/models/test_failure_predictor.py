"""The chance that a test fails in the next CI cycle: an ensemble of small networks in one graph.

Numbers enter by piecewise-linear encoding over quantile bins (Y. Gorishniy, I. Rubachev, A. Babenko, "On
Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022), categories by embeddings, and
each input says whether it was missing. The members of the ensemble share one batched multiplication
(as in "TabM", ICLR 2025) and differ by their random start; the answer is their mean probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perennial.core.metrics import Scored
from perennial.errors import DataError
from perennial.models.base import Examples, Model, Progress

CATEGORIES = {"last_execution_status": 2, "weekday": 7}
"""Inputs that are codes 0..n-1; all others are numbers."""
OPSET = 18


class TestFailurePredictor(Model):
    """Binary ranking by a batched ensemble of multilayer perceptrons."""

    __test__ = False  # the name is the domain's: this is no test class
    architecture = "ple-mlp-ensemble/1"
    framework = "pytorch"

    def __init__(self, feature_names: tuple[str, ...], parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(feature_names, parameters, seed)
        self.network: Network | None = None

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "width": trial.suggest_categorical("width", [32, 64, 96]),
            "layers": trial.suggest_int("layers", 1, 2),
            "members": 8,
            "bins": trial.suggest_categorical("bins", [8, 16, 32]),
            "dropout": trial.suggest_float("dropout", 0.0, 0.4),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 8e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
            "batch": 512,
        }

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        if len(np.unique(train.target)) < 2:
            raise DataError("the training rows hold one verdict only", hint="train on more history")
        torch.manual_seed(self.seed)
        order = torch.Generator().manual_seed(self.seed)
        self.network = network = self._build(train.features)
        optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=self.parameters["learning_rate"],
            weight_decay=self.parameters["weight_decay"],
        )
        steps = epochs * -(-len(train) // self.parameters["batch"])
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.parameters["learning_rate"], total_steps=steps
        )
        features, target = torch.from_numpy(train.features), torch.from_numpy(train.target)
        best, kept, state = -np.inf, epochs, None
        for epoch in range(epochs):
            loss = self._epoch(network, features, target, optimiser, schedule, order)
            metrics = {"train_loss": loss}
            if validation is not None:
                metrics |= self._judge(validation)
                if metrics["validation_roc_auc"] > best:
                    best, kept = metrics["validation_roc_auc"], epoch + 1
                    state = {name: value.clone() for name, value in network.state_dict().items()}
            progress(epoch, metrics)
        if state is not None:
            network.load_state_dict(state)
        network.eval()
        return kept

    def predict(self, features: np.ndarray) -> np.ndarray:
        network = self._fitted()
        network.eval()
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))).numpy()

    def export(self, path: Path) -> None:
        network = self._fitted().eval()
        example = torch.zeros((2, len(self.feature_names)), dtype=torch.float32)
        program = torch.onnx.export(
            network,
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

    def _epoch(self, network, features, target, optimiser, schedule, order) -> float:
        network.train()
        total = 0.0
        for rows in torch.randperm(len(target), generator=order).split(self.parameters["batch"]):
            logits = network.logits(features[rows])
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits, target[rows].unsqueeze(0).expand_as(logits)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        return total / len(target)

    def _judge(self, validation: Examples) -> dict[str, float]:
        score = self.predict(validation.features).astype(float)
        measured = Scored(validation.target, score, validation.group).measure()
        bounded = np.clip(score, 1e-7, 1 - 1e-7)
        loss = -np.mean(np.where(validation.target == 1, np.log(bounded), np.log1p(-bounded)))
        return {"validation_loss": float(loss)} | {f"validation_{k}": v for k, v in measured.items()}


def quantile_edges(numbers: np.ndarray, bins: int) -> np.ndarray:
    """Bin edges per column, [columns, bins + 1] float32, from the quantiles of what is known.

    A column with fewer distinct values repeats edges; such a bin has no width and encodes as a step.
    """
    edges = np.zeros((numbers.shape[1], bins + 1), dtype=np.float32)
    for column in range(numbers.shape[1]):
        known = numbers[:, column][~np.isnan(numbers[:, column])]
        if len(known):
            edges[column] = np.quantile(known, np.linspace(0, 1, bins + 1))
    return edges


class Encoder(nn.Module):
    """float32 [batch, features] with NaN -> [batch, size] without."""

    def __init__(self, numbers: list[int], edges: np.ndarray, codes: list[int], cards: list[int]) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.int64))
        self.register_buffer("low", torch.from_numpy(edges[:, :-1].copy()))
        self.register_buffer("width", torch.from_numpy(np.maximum(np.diff(edges, axis=1), 1e-6)))
        self.cards = cards
        self.embeddings = nn.ModuleList(nn.Embedding(card + 1, card + 1) for card in cards)
        self.size = len(numbers) * edges.shape[1] + sum(card + 1 for card in cards)

    def forward(self, features: Tensor) -> Tensor:
        numbers = features[:, self.numbers]
        missing = torch.isnan(numbers)
        filled = torch.where(missing, self.low[:, 0], numbers)
        encoded = ((filled.unsqueeze(-1) - self.low) / self.width).clamp(0.0, 1.0)
        parts = [encoded.flatten(1), missing.to(features.dtype)]
        codes = features[:, self.codes]
        absent = torch.isnan(codes)
        codes = torch.where(absent, torch.full_like(codes, -1.0), codes).round()
        for position, (card, embedding) in enumerate(zip(self.cards, self.embeddings, strict=True)):
            # Code 0 is "missing"; what the training never numbered counts as missing too.
            code = codes[:, position]
            code = torch.where(code < card, code, torch.full_like(code, -1.0)).clamp(min=-1.0) + 1
            parts.append(embedding(code.to(torch.int64)))
        return torch.cat(parts, dim=1)


class BatchedLinear(nn.Module):
    """`members` linear layers side by side: [members, batch, inputs] -> [members, batch, outputs]."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, rows: Tensor) -> Tensor:
        return torch.matmul(rows, self.weight) + self.bias


class Network(nn.Module):
    """Encoder and ensemble; the mean of the members' probabilities is the score."""

    def __init__(self, encoder: Encoder, width: int, layers: int, members: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        blocks: list[nn.Module] = []
        inputs = encoder.size
        for _ in range(layers):
            blocks += [BatchedLinear(members, inputs, width), nn.ReLU(), nn.Dropout(dropout)]
            inputs = width
        self.body = nn.Sequential(*blocks, BatchedLinear(members, inputs, 1))

    def logits(self, features: Tensor) -> Tensor:
        """[members, batch]."""
        return self.body(self.encoder(features).unsqueeze(0)).squeeze(-1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(features)).mean(dim=0)
