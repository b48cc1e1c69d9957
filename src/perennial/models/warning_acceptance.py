"""Model of the chance that developers act on a FindBugs warning, over metrics of the warning and its code."""

from __future__ import annotations

from perennial.models.templates.table_network import TableNetwork


class WarningAcceptance(TableNetwork):
    """The network for tables; its inputs and its task are those of its spec."""

    architecture = "table-network/1"
