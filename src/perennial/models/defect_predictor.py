"""Model of the chance that a defect is found in a module, over the metrics of its code."""

from __future__ import annotations

from perennial.models.templates.table_network import TableNetwork


class DefectPredictor(TableNetwork):
    """The network for tables; its inputs and its task are those of its spec."""

    architecture = "table-network/1"
