"""Parts of a network for tables: an encoder of numbers and codes, and a batched ensemble.

Numbers enter twice: standardised, and by piecewise-linear encoding over quantile bins (Y. Gorishniy,
I. Rubachev, A. Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022).
Codes enter by embeddings, and each number has an indicator of missing values. The members of the ensemble share
a batched multiplication (as in Y. Gorishniy et al., "TabM", ICLR 2025) and differ by their random start; the
score is their mean probability.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

EMBEDDING, EMBEDDING_SPREAD = 2, 0.1
"""Size and initial spread. With the usual spread a model overfits to codes that have few cycles each (the weekday
costs 0.01 to 0.02 of ROC-AUC on later cycles)."""
NEAR = 5e-3
"""Ratio of deviation and mean below which logarithms are too near to each other for float32."""
STANDARD_LIMIT = 4.0
"""Standard deviations at which values are clipped, so that no rare size dominates."""


def quantile_edges(numbers: np.ndarray, bins: int) -> np.ndarray:
    """Return bin edges per column, float32 [columns, bins + 1], from the quantiles of the known values.

    A column with fewer distinct values repeats edges; such a bin has no width and encodes as a step.
    """
    edges = np.zeros((numbers.shape[1], bins + 1), dtype=np.float32)
    for column in range(numbers.shape[1]):
        known = numbers[:, column][~np.isnan(numbers[:, column])]
        if len(known):
            edges[column] = np.quantile(known, np.linspace(0, 1, bins + 1))
    return edges


def rank_loss(logits: Tensor, target: Tensor, group: Tensor) -> Tensor:
    """Return the mean of log(1 + exp(passing - failing)) over the pairs of a group, then over groups and members.

    Args:
        logits: [members, batch]; target, group: [batch]. A group without both verdicts is left out;
            without any pair the loss is 0.
    """
    failing, passing = ((group[:, None] == group[None, :]) & (target[:, None] > target[None, :])).nonzero(
        as_tuple=True
    )
    if len(failing) == 0:
        return logits.sum() * 0.0
    _, place = torch.unique(group[failing], return_inverse=True)
    pairs = torch.bincount(place)
    losses = nn.functional.softplus(logits[:, passing] - logits[:, failing])
    return (losses / pairs[place]).sum(dim=1).mean() / len(pairs)


class Encoder(nn.Module):
    """Layer from float32 [batch, features] with NaN to [batch, size] without NaN.

    Args:
        numbers, codes: positions of the inputs of either kind.
        edges: [numbers, bins + 1].
        known: [rows, numbers] for the standardisation; NaN for an unknown value.
        cards: number of values of each code.
    """

    def __init__(
        self, numbers: list[int], edges: np.ndarray, known: np.ndarray, codes: list[int], cards: list[int]
    ) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.int64))
        self.register_buffer("low", torch.from_numpy(edges[:, :-1].copy()))
        self.register_buffer("width", torch.from_numpy(np.maximum(np.diff(edges, axis=1), 1e-6)))
        mean, deviation = _moments(known)
        near = deviation < NEAR * mean.abs()
        self.shift: Tensor | None
        self.register_buffer("shift", None)
        if bool(near.any()):
            # The logarithms of years are so near to each other that runtimes round them differently.
            self.shift = torch.where(near, self.low[:, 0], torch.zeros_like(mean))
            mean, deviation = _moments(known - self.shift.numpy())
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.cards = cards
        self.embeddings = nn.ModuleList(nn.Embedding(card + 1, EMBEDDING) for card in cards)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=EMBEDDING_SPREAD)
        self.size = len(numbers) * (edges.shape[1] + 1) + len(cards) * EMBEDDING

    def forward(self, features: Tensor) -> Tensor:
        numbers = features[:, self.numbers]
        missing = torch.isnan(numbers)
        filled = torch.where(missing, self.low[:, 0], numbers)
        encoded = ((filled.unsqueeze(-1) - self.low) / self.width).clamp(0.0, 1.0)
        moved = filled if self.shift is None else filled - self.shift
        standard = ((_squeeze(moved) - self.mean) / self.deviation).clamp(-STANDARD_LIMIT, STANDARD_LIMIT)
        standard = torch.where(missing, torch.zeros_like(standard), standard)
        parts = [encoded.flatten(1), standard, missing.to(features.dtype)]
        codes = features[:, self.codes]
        absent = torch.isnan(codes)
        codes = torch.where(absent, torch.full_like(codes, -1.0), codes).round()
        for position, (card, embedding) in enumerate(zip(self.cards, self.embeddings, strict=True)):
            # Code 0 is "missing", also for codes that the training has not seen.
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


def ensemble(
    members: int, inputs: int, width: int, layers: int, dropout: float, outputs: int
) -> nn.Sequential:
    """Return `members` multilayer perceptrons side by side: [1, batch, inputs] -> [members, batch, outputs]."""
    blocks: list[nn.Module] = []
    for _ in range(layers):
        blocks += [BatchedLinear(members, inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*blocks, BatchedLinear(members, inputs, outputs))


class Network(nn.Module):
    """Encoder and ensemble; the mean of the members' probabilities is the score."""

    def __init__(self, encoder: Encoder, width: int, layers: int, members: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.body = ensemble(members, encoder.size, width, layers, dropout, outputs=1)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits [members, batch]."""
        return self.body(self.encoder(features).unsqueeze(0)).squeeze(-1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(features)).mean(dim=0)


def _squeeze(numbers: Tensor) -> Tensor:
    """Return log(1 + |x|) with the sign of x, because sizes and counts span decades."""
    return torch.sign(numbers) * torch.log1p(torch.abs(numbers))


def _moments(known: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per column of the known values, squeezed; 0 and 1 without any."""
    values = _squeeze(torch.from_numpy(np.ascontiguousarray(known, dtype=np.float32))).double()
    there = ~torch.isnan(values)
    count = there.sum(dim=0).clamp(min=1)
    mean = torch.where(there, values, 0.0).sum(dim=0) / count
    spread = torch.where(there, values - mean, 0.0).square().sum(dim=0) / count
    deviation = torch.where(spread > 1e-12, spread.sqrt(), torch.ones_like(spread))
    return mean.float(), deviation.float()
