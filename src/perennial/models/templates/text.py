"""A network for texts, for any kind of task: the weighted mean of an embedding per bucket of n-grams, and an ensemble.

The bag of embedded n-grams is that of A. Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017.
The hashing is outside the model (`core.text_hashing`); the ensemble, the loss and the training are those of
`TableNetwork`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perennial.errors import DataError
from perennial.models.base import Examples
from perennial.models.tabular_network import Encoder, quantile_edges
from perennial.models.templates.table_network import TableNetwork, TaskNetwork

BINS = 8
LARGEST_COUNT = 1000.0


class TextNetwork(TableNetwork):
    """Network over texts, and over any other inputs beside them."""

    architecture = "text-network/1"

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "embedding": trial.suggest_categorical("embedding", [16, 32, 64]),
            "width": trial.suggest_categorical("width", [32, 64]),
            "dropout": trial.suggest_float("dropout", 0.1, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 3e-1, log=True),
        }

    def build(self, train: Examples) -> TaskNetwork:
        counted = {column for name, given in self.inputs.items() for column in given.bucket_columns(name)}
        if not counted:
            raise DataError("no input is a text", hint="type: text in features.inputs, or another template")
        train.refuse_one_target()
        buckets = [place for place, name in enumerate(self.feature_names) if name in counted]
        cards = self.cards()
        numbers = [
            place
            for place, name in enumerate(self.feature_names)
            if name not in counted and place not in cards
        ]
        known = train.features[:, numbers]
        rest = Encoder(numbers, quantile_edges(known, BINS), known, list(cards), list(cards.values()))
        encoder = TextEncoder(buckets, self.parameters["embedding"], rest)
        return self.around(encoder, train, layers=1)


class TextEncoder(nn.Module):
    """Layer from float32 [batch, features] with NaN to [batch, size]: embedded counts beside the numbers.

    Args:
        buckets: positions of the counts.
        rest: encoder of the other features, such as the length of the text.
    """

    def __init__(self, buckets: list[int], embedding: int, rest: Encoder) -> None:
        super().__init__()
        self.register_buffer("buckets", torch.tensor(buckets, dtype=torch.int64))
        self.embedding = nn.Linear(len(buckets), embedding, bias=False)
        self.numbers = rest
        self.size = embedding + rest.size

    def forward(self, features: Tensor) -> Tensor:
        counts = features[:, self.buckets]
        counts = torch.where(torch.isnan(counts), torch.zeros_like(counts), counts).clamp(0.0, LARGEST_COUNT)
        weights = torch.log1p(counts)
        length = weights.square().sum(dim=1, keepdim=True).clamp(min=1.0).sqrt()
        return torch.cat([self.embedding(weights / length), self.numbers(features)], dim=1)
