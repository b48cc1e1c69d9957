"""Paths of the gRPC service; nothing is imported here, since the router's configuration needs them too."""

from __future__ import annotations

SERVICE = "inference.GRPCInferenceService"
INFER, MODEL_READY, MODEL_METADATA = "ModelInfer", "ModelReady", "ModelMetadata"
OF_MODEL = (INFER, MODEL_READY, MODEL_METADATA)
"""Methods whose request has the model's name in field 1 and the version in field 2."""
OF_REPOSITORY = ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload")
HEALTH = ("ServerLive", "ServerReady")
OF_SERVER = (*HEALTH, "ServerMetadata")


def path(method: str) -> str:
    return f"/{SERVICE}/{method}"
