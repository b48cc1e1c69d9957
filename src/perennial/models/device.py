"""The device that trains networks of PyTorch."""

from __future__ import annotations

import torch

from perennial.errors import SettingsError
from perennial.models.share import Share
from perennial.settings import load


def training_device() -> torch.device:
    """Return the device that PERENNIAL_DEVICE names; of several processes each has a GPU of its own.

    Raises:
        SettingsError: PyTorch here has no such device; it would not be a GPU that trains.
    """
    name = load().device
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"PERENNIAL_DEVICE is cuda, and PyTorch {torch.__version__} sees no GPU",
            hint="install a torch that was built with CUDA, on a machine with an NVIDIA GPU; or PERENNIAL_DEVICE=cpu",
        )
    return torch.device(name, Share().rank) if name == "cuda" else torch.device(name)
