"""Checks that the workers of a spec can fit its model together here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.errors import SpecError
from perennial.settings import load

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec
    from perennial.models.base import Model


def refuse_unshared(spec: ModelSpec, model: type[Model]) -> None:
    """Refuse a kind of model that several workers cannot fit together, and more workers than GPUs.

    Raises:
        SpecError: `training.workers` asks for it.
    """
    workers = spec.training.workers
    if not model.distributed:
        raise SpecError(
            f"{spec.name}: training.workers is {workers}, and {spec.entrypoint} is not trained by gradients that "
            "several processes can share",
            hint="leave training.workers out; a network over perennial.models.torch_model.BatchedModel can",
        )
    if load().device == "cuda":
        import torch

        if torch.cuda.device_count() < workers:
            raise SpecError(
                f"{spec.name}: training.workers is {workers}, and PyTorch sees {torch.cuda.device_count()} GPUs here",
                hint="a worker needs a GPU of its own: lower training.workers, or PERENNIAL_DEVICE=cpu",
            )
