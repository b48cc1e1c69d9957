"""A small convolutional network for images whose pixels are columns, for any kind of task.

Blocks of a 3 x 3 convolution and a pooling halve the image while its shorter side has at least eight pixels; the
ensemble, the loss and the training are those of `TableNetwork`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from perennial.errors import DataError
from perennial.models.base import Examples
from perennial.models.templates.table_network import TableNetwork, TaskNetwork

SMALLEST = 8
"""Pixels of the shorter side from which an image is halved."""


class ImageNetwork(TableNetwork):
    """Network over pixels. The inputs are in the order row, column, channel; a missing pixel is 0."""

    architecture = "image-network/1"
    height: ClassVar[int]
    width: ClassVar[int]
    channels: ClassVar[int] = 1
    largest: ClassVar[float]
    """Value of a full pixel, such as 255; pixels are clipped to 0 and this."""

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "filters": trial.suggest_categorical("filters", [16, 32]),
            "width": trial.suggest_categorical("width", [32, 64]),
            "dropout": trial.suggest_float("dropout", 0.1, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        }

    def build(self, train: Examples) -> TaskNetwork:
        pixels = self.height * self.width * self.channels
        if len(self.feature_names) != pixels:
            raise DataError(
                f"{len(self.feature_names)} inputs are no image of {self.height} x {self.width} x {self.channels}",
                hint="name every pixel in features.inputs, or correct height, width and channels of the model",
            )
        train.refuse_one_target()
        encoder = ImageEncoder(
            self.height, self.width, self.channels, self.largest, self.parameters["filters"]
        )
        return self.around(encoder, train, layers=1)


class ImageEncoder(nn.Module):
    """Layer from pixels, float32 [batch, height * width * channels], to [batch, size]."""

    def __init__(self, height: int, width: int, channels: int, largest: float, filters: int) -> None:
        super().__init__()
        self.shape = (height, width, channels)
        self.largest = largest
        layers: list[nn.Module] = []
        while True:
            layers += [nn.Conv2d(channels, filters, kernel_size=3, padding=1), nn.ReLU()]
            channels, filters = filters, 2 * filters
            if min(height, width) < SMALLEST:
                break
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.size = channels * height * width

    def forward(self, features: Tensor) -> Tensor:
        known = torch.where(torch.isnan(features), torch.zeros_like(features), features)
        images = (known.clamp(0.0, self.largest) / self.largest).reshape(-1, *self.shape)
        return self.layers(images.permute(0, 3, 1, 2))
