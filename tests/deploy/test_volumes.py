"""Volumes: nothing needs a disk that two pods share."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import yaml
from containers.described import ROOT
from containers.manifests import KUSTOMIZE, Manifest, build, builder, pods

CHART: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "airflow" / "values-celery.yaml").read_text())
OF_ONE_POD = {"ReadWriteOnce", "ReadWriteOncePod"}
SHARED = {"state-plant-0": {"plant", "backup", "restore"}, "backups": {"backup", "restore"}}
"""Claims that several workloads mount all the same: a backup is on the node of the plant whose files it reads, and a
restore comes when nothing else runs (docs/guide/backup.md)."""


def overlays() -> list[str]:
    paths = sorted((KUSTOMIZE / "overlays").rglob("kustomization.yaml"))
    return [str(path.parent.relative_to(KUSTOMIZE / "overlays")) for path in paths]


@pytest.fixture(scope="module", params=[*overlays(), "production with airflow-chart"])
def built(request, overlay_with) -> list[Manifest]:
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine")
    overlay, _, component = request.param.partition(" with ")
    return overlay_with(overlay, component) if component else build(KUSTOMIZE / "overlays" / overlay)


def claims(manifests: list[Manifest]) -> dict[str, set[str]]:
    """Return the claims of volumes with the workloads that mount them; each pod of a template has its own."""
    mounted = defaultdict(set)
    for name, pod, _ in pods(manifests):
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                mounted[volume["persistentVolumeClaim"]["claimName"]].add(name)
    for body in manifests:
        for template in body.get("spec", {}).get("volumeClaimTemplates", ()):
            name, workload = template["metadata"]["name"], body["metadata"]["name"]
            for number in range(body["spec"]["replicas"]):
                mounted[f"{name}-{workload}-{number}"].add(workload)
    return dict(mounted)


def test_no_claim_is_mounted_by_two_workloads(built):
    by_two = {claim: workloads for claim, workloads in claims(built).items() if len(workloads) > 1}
    assert all(SHARED.get(claim) == workloads for claim, workloads in by_two.items())


def test_a_backup_is_on_the_node_of_the_plant_and_a_restore_never_comes_by_itself(built):
    jobs = {body["metadata"]["name"]: body for body in built if body["kind"] == "CronJob"}
    for name, pod, _ in pods(list(jobs.values())):
        if name == "backup":
            (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert term == {
                "labelSelector": {"matchLabels": {"app": "plant"}},
                "topologyKey": "kubernetes.io/hostname",
            }
        else:
            assert jobs[name]["spec"]["suspend"] is True


def test_no_volume_wants_a_disk_of_several_nodes(built):
    wanted = [body["spec"] for body in built if body["kind"] == "PersistentVolumeClaim"]
    for body in built:
        wanted += [template["spec"] for template in body.get("spec", {}).get("volumeClaimTemplates", ())]
    assert all(set(spec["accessModes"]) <= OF_ONE_POD for spec in wanted)
    for name, pod, _ in pods(built):
        kinds = set().union(*(volume.keys() - {"name"} for volume in pod["volumes"]))
        assert kinds <= {"emptyDir", "secret", "configMap", "projected", "persistentVolumeClaim"}, name


def test_airflow_by_its_chart_mounts_no_claim():
    assert "persistentVolumeClaim" not in str(CHART)
    assert CHART["workers"]["celery"]["persistence"] == {"enabled": False}


def test_the_rule_sees_a_claim_of_two_workloads():
    def workload(name: str) -> Manifest:
        volume = {"name": "state", "persistentVolumeClaim": {"claimName": "state-plant-0"}}
        template = {"metadata": {"labels": {}}, "spec": {"volumes": [volume]}}
        return {"kind": "Deployment", "metadata": {"name": name}, "spec": {"template": template}}

    plant = {
        "kind": "StatefulSet", "metadata": {"name": "plant"},
        "spec": {"replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "state"}}],
                 "template": {"metadata": {"labels": {}}, "spec": {"volumes": []}}},
    }  # fmt: skip
    assert claims([plant, workload("worker")]) == {"state-plant-0": {"plant", "worker"}}
