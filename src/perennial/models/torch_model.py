"""The base of PyTorch models: training with an average of the weights and early stopping, scoring, export to ONNX."""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from perennial.models.base import Examples, Model, Progress
from perennial.models.device import training_device
from perennial.models.share import Share, Steps

OPSET = 18


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the weights."""
    return next(network.parameters()).device


class TorchModel(Model):
    """A network that is trained by AdamW; the parameters name its `learning_rate` and `weight_decay`."""

    framework = "pytorch"
    patience: ClassVar[int]
    """Epochs without a lower validation loss before training stops."""
    network: nn.Module | None = None

    @abstractmethod
    def build(self, train: Examples) -> nn.Module:
        """Return the network before its first step.

        Raises:
            DataError: nothing can be learnt from these rows.
        """

    @abstractmethod
    def average(self, network: nn.Module) -> AveragedModel:
        """Return the average of the weights over the steps, which is what is served."""

    @abstractmethod
    def losses(
        self, network: nn.Module, train: Examples, random: np.random.Generator
    ) -> Iterator[tuple[Tensor, int]]:
        """Yield the mean loss and the number of rows of each batch of a pass over the rows.

        A loss is computed when it is asked for: the weights have moved since the one before. Of each batch the model
        takes its `Share`, so that several processes can train it together.
        """

    @abstractmethod
    def loss_of(self, rows: Examples) -> float:
        """Return the loss of the fitted network.

        The loss chooses the epoch, not a metric: a ranking is good before the score is a probability.
        """

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        random = self._seeded()
        network = self.build(train).to(training_device())
        average, optimiser = self.average(network), self._optimiser(network)
        share = Share()
        steps = Steps(network, share)
        share.seeded(self.seed)
        best, kept, state = np.inf, epochs, None
        for epoch in range(epochs):
            loss = self.epoch(
                network, average, optimiser, steps.of(self.losses(network, train, random)), len(train)
            )
            metrics = {"train_loss": share.mean(loss)}
            self.network = average.module.eval()
            if validation is not None:
                metrics["validation_loss"] = share.first(self.loss_of(validation))
                if metrics["validation_loss"] < best:
                    best, kept = metrics["validation_loss"], epoch + 1
                    state = {name: value.clone() for name, value in self.network.state_dict().items()}
            progress(epoch, metrics)
            if validation is not None and epoch + 1 - kept >= self.patience:
                break
        if state is not None:
            self.fitted().load_state_dict(state)
        self.network = self.fitted().cpu()
        return kept

    def refine(self, network: nn.Module, train: Examples, epochs: int) -> None:
        """Train a network that has learnt already, as the part that is left of a pruned one, for so many epochs."""
        random = self._seeded()
        network = network.to(training_device())
        average, optimiser = self.average(network), self._optimiser(network)
        for _ in range(epochs):
            self.epoch(network, average, optimiser, self.losses(network, train, random), len(train))
        self.network = average.module.eval().cpu()

    def smaller(self) -> dict[str, Any] | None:
        """Return the parameters of a smaller network that can learn the answers of this one as its targets.

        None for a kind whose loss takes the targets of the data only.
        """
        return None

    def _seeded(self) -> np.random.Generator:
        # On a busy machine threads wait for each other over small batches and are slower than a single thread.
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        return np.random.default_rng(self.seed)

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            network.parameters(),
            lr=self.parameters["learning_rate"],
            weight_decay=self.parameters["weight_decay"],
        )

    def epoch(
        self,
        network: nn.Module,
        average: AveragedModel,
        optimiser: torch.optim.Optimizer,
        losses: Iterator[tuple[Tensor, int]],
        count: int,
    ) -> float:
        """Make a step for each loss; return the mean loss of the `count` rows."""
        network.train()
        total = 0.0
        for loss, rows in losses:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            average.update_parameters(network)
            total += loss.item() * rows
        return total / count

    def predict(self, features: np.ndarray) -> np.ndarray:
        network = self.fitted()
        rows = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
        with torch.inference_mode():
            return network(rows.to(device_of(network))).cpu().numpy()

    def export(self, path: Path) -> None:
        example = torch.zeros((2, len(self.feature_names)), dtype=torch.float32)
        # Said on every export: operators of torchvision are not there, and a rename inside torch.
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.onnx.export(
                self.fitted(),
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
        return sum(parameter.numel() for parameter in self.fitted().parameters())

    def native(self) -> nn.Module:
        return self.fitted()

    def fitted(self) -> Any:
        """Return the network of the last epoch, or of the best one."""
        if self.network is None:
            raise RuntimeError("the model is not fitted yet")
        return self.network


class BatchedModel(TorchModel):
    """A model whose network has its own `loss(features, target)`, and whose batches are random rows.

    A small table is cut into `steps` steps of an epoch, with batches within the bounds.
    """

    distributed = True
    steps: ClassVar[int]
    smallest_batch: ClassVar[int]
    largest_batch: ClassVar[int] = 512

    def losses(
        self, network: Any, train: Examples, random: np.random.Generator
    ) -> Iterator[tuple[Tensor, int]]:
        size = int(np.clip(len(train) // self.steps, self.smallest_batch, self.largest_batch))
        place = device_of(network)
        features, target = (
            torch.from_numpy(train.features).to(place),
            torch.from_numpy(train.target).to(place),
        )
        share = Share()
        for batch in torch.from_numpy(random.permutation(len(train))).split(size):
            own, weight = share.of(batch)
            yield network.loss(features[own], target[own]) * weight, len(batch)

    def loss_of(self, rows: Examples) -> float:
        network = self.fitted()
        features, target = (
            torch.from_numpy(part).to(device_of(network)) for part in (rows.features, rows.target)
        )
        with torch.inference_mode():
            loss = network.loss(features, target)
        return float(loss)
