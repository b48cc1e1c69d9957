"""Serving machines as pods: the processes of each half of the plant, with settings and secrets of that half alone."""

from __future__ import annotations

from typing import Any

import pytest
from containers.manifests import KUSTOMIZE, Manifest, build, builder, pods

from perennial.local.processes import table
from perennial.settings import PREFIX, Settings


@pytest.fixture(scope="module")
def built() -> list[Manifest]:
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine")
    manifests = build(KUSTOMIZE / "overlays" / "machines")
    return [body for body in manifests if body["kind"] != "CronJob"]  # a backup is of neither half


def given(built: list[Manifest], pod: Manifest, folder) -> Settings:
    """Return the settings that the ConfigMap of a pod gives."""
    (name,) = {source["configMapRef"]["name"] for body in pod["containers"] for source in body["envFrom"]}
    (data,) = [
        body["data"] for body in built if body["kind"] == "ConfigMap" and body["metadata"]["name"] == name
    ]
    fields: dict[str, Any] = {key.removeprefix(PREFIX).lower(): value for key, value in data.items()}
    return Settings(home=folder, **fields)


def test_each_pod_runs_the_processes_of_its_half(built, tmp_path):
    halves = {}
    for name, pod, _ in pods(built):
        settings = given(built, pod, tmp_path / name)
        halves[name] = settings.plane
        assert {body["args"][-1] for body in pod["containers"]} == {
            process.name for process in table(settings)
        }
    assert halves == {"plant": "control", "machine-a": "serving", "machine-b": "serving"}


def test_the_halves_meet_in_one_exchange_and_each_machine_has_its_name(built, tmp_path):
    settings = {name: given(built, pod, tmp_path / name) for name, pod, _ in pods(built)}
    assert len({half.exchange for half in settings.values()}) == 1
    assert settings["plant"].exchange is not None
    assert [settings[f"machine-{letter}"].machine for letter in "ab"] == ["serving_a", "serving_b"]


def test_a_machine_has_secrets_of_its_own_and_public_keys_alone(built):
    named = {}
    for name, pod, _ in pods(built):
        named[name] = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        if name != "plant":
            (keys,) = [volume for volume in pod["volumes"] if volume["name"] == "trusted"]
            assert keys["configMap"] == {"name": "trusted-keys"}
    assert named == {
        "plant": {"plant-secrets"},
        "machine-a": {"machine-a-secrets"},
        "machine-b": {"machine-b-secrets"},
    }


def test_the_control_plane_has_no_port_for_a_machine_and_the_reverse(built):
    for body in built:
        if body["kind"] == "NetworkPolicy":
            rules = [*body["spec"].get("ingress", ()), *body["spec"].get("egress", ())]
            peers = [peer for rule in rules for peer in (*rule.get("from", ()), *rule.get("to", ()))]
            assert not any("podSelector" in peer for peer in peers), body["metadata"]["name"]


def test_clients_reach_every_machine_by_one_service_and_one_stays_up(built):
    labels = {name: of_pod for name, _, of_pod in pods(built) if name != "plant"}
    for kind in ("Service", "PodDisruptionBudget"):
        (front,) = [
            body["spec"] for body in built if body["kind"] == kind and body["metadata"]["name"] == "serving"
        ]
        selector = front["selector"].get("matchLabels", front["selector"])
        assert all(selector.items() <= of_pod.items() for of_pod in labels.values())
    for name, pod, _ in pods(built):
        if name != "plant":
            spread = {entry["topologyKey"]: entry for entry in pod["topologySpreadConstraints"]}
            assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule"
            assert all(
                entry["labelSelector"] == {"matchLabels": {"app": "machine"}} for entry in spread.values()
            )
