"""Model of the kind of a requirement, from its text."""

from __future__ import annotations

from perennial.models.templates.text import TextNetwork


class RequirementTriage(TextNetwork):
    """The network for texts; its inputs and its task are those of its spec."""

    architecture = "text-network/1"
