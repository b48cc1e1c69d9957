"""Names of the Airflow assets between the DAGs of a model: who raises one and who waits for it must agree."""

from __future__ import annotations


def retrain_asset(model: str) -> str:
    """Name of the asset whose events start the training DAG."""
    return f"perennial/{model}/retrain"


def candidate_asset(model: str) -> str:
    """Name of the asset whose events start the release DAG."""
    return f"perennial/{model}/candidate"


def asset_uri(name: str) -> str:
    """Airflow wants an address beside the name."""
    return name.replace("/", "://", 1)
