"""The overlay of kustomize for a tenant: a namespace of its own, with limits and with doors for its own people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from perennial.core.tenants.tenant import Tenant

LIMITS = {
    "pods": "8", "requests.cpu": "6", "requests.memory": "12Gi", "limits.cpu": "24", "limits.memory": "32Gi",
    "limits.ephemeral-storage": "40Gi", "persistentvolumeclaims": "4", "requests.storage": "200Gi",
    "services.nodeports": "0", "services.loadbalancers": "1",
}  # fmt: skip
"""What all pods of a tenant may use together. The plant of deploy/kustomize/base fits, with room for cells."""


def overlay(tenant: Tenant, settings: Mapping[str, str], secrets: Sequence[str], base: str) -> dict[str, str]:
    """Return the files of the overlay by their names.

    Args:
        settings: values of the ConfigMap `plant-settings`.
        secrets: names of the files below `secrets/` that become the Secret `plant-secrets`.
        base: path from the overlay's folder to `deploy/kustomize`.
    """
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": tenant.namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted", "perennial/tenant": tenant.name},
        },
    }
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tenant"}, "spec": {"hard": LIMITS},
    }  # fmt: skip
    # The base lets in whole groups of namespaces; a tenant lets in those that carry its own name.
    doors = [
        {"op": "replace", "path": f"/spec/ingress/{number}/from/0/namespaceSelector/matchLabels",
         "value": {f"perennial/{who}": tenant.name}}
        for number, who in enumerate(("clients", "people"))
    ]  # fmt: skip
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": tenant.namespace,
        "resources": ["namespace.yaml", "quota.yaml", f"{base}/base/network", f"{base}/base/plant"],
        "configMapGenerator": [
            {
                "name": "plant-settings",
                "behavior": "merge",
                "literals": [f"{name}={value}" for name, value in settings.items()],
            }
        ],
        "secretGenerator": [{"name": "plant-secrets", "files": [f"secrets/{name}" for name in secrets]}],
        "patches": [
            {"target": {"kind": "NetworkPolicy", "name": "plant"}, "patch": yaml.safe_dump(doors)},
        ],
    }
    bodies = {"kustomization.yaml": kustomization, "namespace.yaml": namespace, "quota.yaml": quota}
    return {name: yaml.safe_dump(body, sort_keys=False, width=120) for name, body in bodies.items()}
