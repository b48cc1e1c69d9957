"""Model of the digit in an image of 8 x 8 pixels from 0 to 16."""

from __future__ import annotations

from perennial.models.templates.image import ImageNetwork


class Digits(ImageNetwork):
    """The network for images of this size."""

    height, width, largest = 8, 8, 16.0
