"""Recipes that make a smaller network of a trained one: without its weakest units, or taught by its answers."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from perennial.core.training.variants import Lessons, NotMade, Recipe
from perennial.models.base import Examples
from perennial.models.tabular_network import BatchedLinear
from perennial.models.torch_model import TorchModel

LEFT_OUT = 0.5
"""Share of the units of each hidden layer that a pruned network is without."""


def learners(epochs: int) -> list[Recipe]:
    """Return the recipes; `epochs` is the largest number for a student (`tuning.epochs` of the spec)."""
    library = {"torch": torch.__version__}
    return [
        Recipe("pruned", {**library, "left_out": LEFT_OUT}, learn=pruned),
        Recipe(
            "distilled",
            {**library, "most_epochs": epochs},
            learn=lambda teacher, rows, _: distilled(teacher, rows, epochs),
        ),
    ]


def pruned(parent: Any, rows: Lessons, epochs: int) -> TorchModel:
    """Return the network without the units of smallest norm, trained further for the epochs of the parent.

    The units of each member of the ensemble are ranked by the norm of their weights (structured pruning of
    `torch.nn.utils.prune`), and cut out: a mask alone would leave the file as large and as slow as it was.

    Raises:
        NotMade: the network has no hidden layers that can be cut.
    """
    chosen = _network_of(parent)
    body = getattr(chosen.network, "body", None)
    layers = [layer for layer in body if isinstance(layer, BatchedLinear)] if body is not None else []
    if len(layers) < 2:
        raise NotMade(f"{chosen.architecture} has no hidden layer of a kind that can be cut")
    smaller = copy.deepcopy(chosen)
    _cut([layer for layer in smaller.network.body if isinstance(layer, BatchedLinear)])  # type: ignore[union-attr]
    smaller.refine(smaller.network, rows.training, epochs)  # type: ignore[arg-type]
    return smaller


def distilled(teacher: Any, rows: Lessons, epochs: int) -> TorchModel:
    """Return a smaller network that learns the answers of the teacher (G. Hinton, O. Vinyals, J. Dean,
    "Distilling the Knowledge in a Neural Network", 2015); the validation rows choose its number of epochs.

    Raises:
        NotMade: the loss of this kind of network does not take answers as targets.
    """
    chosen = _network_of(teacher)
    parameters = chosen.smaller()
    if parameters is None:
        raise NotMade(f"{chosen.architecture} learns from the targets of the data only, not from answers")

    def student() -> TorchModel:
        return type(chosen)(chosen.feature_names, parameters, chosen.seed, chosen.task, chosen.inputs)

    def answered(given: Examples) -> Examples:
        return Examples(given.features, chosen.predict(given.features), given.group)

    chosen_epochs = student().fit(answered(rows.learn), answered(rows.validation), epochs, lambda *_: None)
    final = student()
    final.fit(answered(rows.training), None, chosen_epochs, lambda *_: None)
    return final


def _network_of(model: Any) -> TorchModel:
    """Return the network of a model, or the one that was chosen among templates.

    Raises:
        NotMade: it is none of PyTorch.
    """
    chosen = getattr(model, "chosen", model)
    if not isinstance(chosen, TorchModel):
        raise NotMade(f"{chosen.architecture} is no network of PyTorch")
    return chosen


def _cut(layers: list[BatchedLinear]) -> None:
    """Cut the weakest outputs of every layer but the last, and the inputs of the next that they fed."""
    ranked = prune.LnStructured(amount=LEFT_OUT, n=2, dim=1)
    for layer, following in itertools.pairwise(layers):
        masks = [ranked.compute_mask(member, torch.ones_like(member)) for member in layer.weight.detach()]
        kept = torch.stack([mask.any(dim=0).nonzero().squeeze(1) for mask in masks])
        layer.weight = nn.Parameter(_picked(layer.weight, kept, dim=2))
        layer.bias = nn.Parameter(_picked(layer.bias, kept, dim=2))
        following.weight = nn.Parameter(_picked(following.weight, kept, dim=1))


def _picked(weights: torch.Tensor, kept: torch.Tensor, dim: int) -> torch.Tensor:
    """Return weights [members, ...] with the kept places of each member along a dimension."""
    return torch.stack(
        [each.index_select(dim - 1, places) for each, places in zip(weights.detach(), kept, strict=True)]
    )
