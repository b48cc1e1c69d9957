"""Manifests for Kubernetes: valid, and what every pod must and must not have. No cluster runs here."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest
import yaml
from containers.described import ROOT, stages
from containers.manifests import KUSTOMIZE, Manifest, build, builder, files, pods, selects

from perennial.core.certificates.roles import CALLERS, ProcessRole, calls, identity

OVERLAYS = ("staging", "production", "edge", "two-regions/north", "two-regions/south", "machines")
WITH_COMPONENTS = [
    f"production with {name}" for name in ("keda", "airflow-chart", "internal-tls", "issuer", "vault")
]
OF_OTHERS = {"ScaledObject", "Certificate", "Issuer"}
"""Kinds that no API server has by itself: their schemas are not at hand here."""
BASE = files()
WITHOUT_ADDRESS = {"guard", "airflow-worker-light", "agent", "machines", "backup", "restore"}


@pytest.fixture(
    scope="module",
    params=[*OVERLAYS, *WITH_COMPONENTS],
)
def built(request, overlay_with) -> list[Manifest]:
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine: the files of the base are checked alone")
    if request.param in OVERLAYS:
        return build(KUSTOMIZE / "overlays" / request.param)
    return overlay_with(*request.param.split(" with "))


def check_valid(body: Manifest) -> None:
    if body["kind"] not in OF_OTHERS:
        kubernetes_validate.validate(body, "1.37", strict=True)


def check_pod(name: str, pod: Manifest) -> None:
    """Check what is the same for each pod; the message names pod and container."""
    assert pod["automountServiceAccountToken"] is False, name
    assert pod["serviceAccountName"] not in ("", "default"), name
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
    assert pod["securityContext"]["runAsNonRoot"] is True, name
    assert pod["securityContext"]["runAsUser"] > 0, name
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert not any("hostPath" in volume for volume in pod["volumes"]), name
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        where = f"{name}/{container['name']}"
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, where
        assert context["allowPrivilegeEscalation"] is False, where
        assert context["capabilities"] == {"drop": ["ALL"]}, where
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["limits"]), where
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), where
        assert re.search(r":v?\d[\w.-]*$", container["image"]), where
    for container in pod["containers"]:
        if container["name"] not in WITHOUT_ADDRESS:
            assert "livenessProbe" in container, f"{name}/{container['name']}"


def test_certificates_of_cert_manager_name_the_roles_that_the_processes_look_at():
    certificates = {
        body["spec"]["secretName"]: body["spec"] for body in BASE.values() if body["kind"] == "Certificate"
    }
    issuers = {body["metadata"]["name"] for body in BASE.values() if body["kind"] == "Issuer"}
    assert certificates.pop("inside-authority")["isCA"] is True
    assert set(certificates) == {"inside-envoy", "inside-pool", "inside-operator"}
    for name, spec in certificates.items():
        role = ProcessRole(name.removeprefix("inside-"))
        assert spec["uris"] == [identity(role)]
        assert spec["issuerRef"] == {"name": "inside", "kind": "Issuer"}
        assert spec["privateKey"]["rotationPolicy"] == "Always"
        assert spec.get("ipAddresses", []) == (["127.0.0.1"] if role in CALLERS else [])
        assert ("server auth" in spec["usages"], "client auth" in spec["usages"]) == (
            role in CALLERS,
            calls(role),
        )
    assert issuers == {"inside", "inside-self-signed"}
    component = yaml.safe_load((KUSTOMIZE / "components" / "internal-tls" / "kustomization.yaml").read_text())
    patch = yaml.safe_load(component["patches"][0]["patch"])["spec"]["template"]["spec"]
    assert {volume["secret"]["secretName"] for volume in patch["volumes"]} == set(certificates)
    for container in patch["containers"]:
        for mount in container["volumeMounts"]:
            assert mount["mountPath"] == f"/certificates/{mount['name'].removeprefix('inside-')}"


@pytest.mark.parametrize("path", sorted(BASE))
def test_each_file_is_valid(path):
    check_valid(BASE[path])


@pytest.mark.parametrize(("name", "pod"), [(name, pod) for name, pod, _ in pods(list(BASE.values()))])
def test_each_pod_of_the_base_keeps_the_rules(name, pod):
    check_pod(name, pod)


def test_each_overlay_is_valid_and_keeps_the_rules(built):
    for body in built:
        check_valid(body)
    for name, pod, _ in pods(built):
        check_pod(name, pod)
    assert not {"Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {
        body["kind"] for body in built
    }


def test_accounts_have_no_token(built):
    accounts = [body for body in built if body["kind"] == "ServiceAccount"]
    # And that of pods that name none.
    assert {"default", *(pod["serviceAccountName"] for _, pod, _ in pods(built))} == {
        body["metadata"]["name"] for body in accounts
    }
    assert all(body["automountServiceAccountToken"] is False for body in accounts)


def test_nothing_enters_or_leaves_a_pod_that_no_policy_names(built):
    policies = [body["spec"] for body in built if body["kind"] == "NetworkPolicy"]
    closed = [
        policy
        for policy in policies
        if policy["podSelector"] == {} and not {"ingress", "egress"} & set(policy)
    ]
    assert [set(policy["policyTypes"]) for policy in closed] == [{"Ingress", "Egress"}]
    for name, pod, labels in pods(built):
        own = [
            policy for policy in policies if policy not in closed and selects(policy["podSelector"], labels)
        ]
        opened = {
            port["port"] for policy in own for rule in policy.get("ingress", ()) for port in rule["ports"]
        }
        assert opened == {
            port["containerPort"] for container in pod["containers"] for port in container.get("ports", ())
        }, name
        rules = [rule for policy in own for kind in ("ingress", "egress") for rule in policy.get(kind, ())]
        assert all(rule.get("from") or rule.get("to") for rule in rules), name


def test_a_cell_asks_nobody_but_its_agent_of_metrics(built):
    policies = [body["spec"] for body in built if body["kind"] == "NetworkPolicy"]
    own = [policy for policy in policies if policy["podSelector"] == {"matchLabels": {"app": "serving"}}]
    asked = {
        target["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for policy in own for rule in policy.get("egress", ()) for target in rule["to"]
    }  # fmt: skip
    by_requests = any(body["kind"] == "ScaledObject" for body in built)
    assert asked == ({"kube-system", "monitoring"} if by_requests else set())


def test_what_scales_and_what_is_kept_up_name_a_workload_that_is_there(built):
    workloads = {(body["kind"], body["metadata"]["name"]): body for body in built}
    scaled = [body for body in built if body["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    assert len(scaled) <= 1, "two autoscalers of one Deployment undo each other"
    for body in scaled:
        assert ("Deployment", body["spec"]["scaleTargetRef"]["name"]) in workloads
    labels = [of_pod for _, _, of_pod in pods(built)]
    for body in built:
        if body["kind"] == "PodDisruptionBudget":
            assert any(selects(body["spec"]["selector"], of_pod) for of_pod in labels)


def test_a_deployment_scales_and_survives_the_loss_of_a_node(built, request):
    """By an autoscaler, a budget for disruptions and a spread over hosts and zones; a device has one node."""
    on_device = "edge" in request.node.callspec.id
    for body in built:
        if body["kind"] != "Deployment":
            continue
        labels = body["spec"]["template"]["metadata"]["labels"]
        scaled = [
            other["spec"] for other in built
            if other["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
            and other["spec"]["scaleTargetRef"]["name"] == body["metadata"]["name"]
        ]  # fmt: skip
        assert len(scaled) == (0 if on_device else 1)
        budgets = [other["spec"] for other in built if other["kind"] == "PodDisruptionBudget"]
        assert [budget["maxUnavailable"] for budget in budgets if selects(budget["selector"], labels)] == [1]
        spread = body["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {entry["topologyKey"] for entry in spread} == {
            "topology.kubernetes.io/zone", "kubernetes.io/hostname"
        }  # fmt: skip
        assert all(selects(entry["labelSelector"], labels) and entry["maxSkew"] == 1 for entry in spread)
        strict = [entry["topologyKey"] for entry in spread if entry["whenUnsatisfiable"] == "DoNotSchedule"]
        assert strict == ([] if body["metadata"]["namespace"] in ("perennial-staging", "perennial-edge")
                          else ["topology.kubernetes.io/zone"])  # fmt: skip
        assert body["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_what_a_service_sends_requests_to_is_asked_whether_it_is_ready(built):
    """Each pod behind a Service has a readiness probe, and every container that listens is watched."""
    for service in (body["spec"] for body in built if body["kind"] == "Service"):
        behind = [pod for _, pod, labels in pods(built) if service["selector"].items() <= labels.items()]
        assert behind
        for pod in behind:
            assert any("readinessProbe" in container for container in pod["containers"])
            named = {port["name"] for container in pod["containers"] for port in container.get("ports", ())}
            assert {port["targetPort"] for port in service["ports"]} <= named
            for container in pod["containers"]:
                if container["name"] not in WITHOUT_ADDRESS:
                    assert "startupProbe" in container, container["name"]


def test_objects_are_in_the_one_namespace_of_the_overlay_and_its_pods_are_restricted(built):
    (namespace,) = [body for body in built if body["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {body["metadata"].get("namespace") for body in built if body is not namespace} == {
        namespace["metadata"]["name"]
    }


def test_requests_per_second_scale_the_cells_by_a_metric_that_they_have(built):
    for body in built:
        if body["kind"] == "ScaledObject":
            (trigger,) = body["spec"]["triggers"]
            (job,) = re.findall(r'job="([^"]+)"', trigger["metadata"]["query"])
            (agent,) = [
                other["data"]["agent.yaml"] for other in built
                if other["kind"] == "ConfigMap" and "agent.yaml" in other["data"]
            ]  # fmt: skip
            assert job in {entry["job_name"] for entry in yaml.safe_load(agent)["scrape_configs"]}
            assert trigger["metadata"]["query"].startswith("sum(rate(perennial_request_seconds_count{")
            fewest, most = body["spec"]["minReplicaCount"], body["spec"]["maxReplicaCount"]
            assert fewest <= body["spec"]["fallback"]["replicas"] <= most


def test_two_regions_serve_the_same_versions_on_different_nodes():
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine")
    both = [build(KUSTOMIZE / "overlays" / "two-regions" / region) for region in ("north", "south")]
    images, nodes = [], []
    for region in both:
        (serving,) = [pod for name, pod, _ in pods(region) if name == "serving"]
        images.append({container["image"] for container in serving["containers"]})
        nodes.append({str(pod["nodeSelector"]) for _, pod, _ in pods(region)})
    assert images[0] == images[1]
    assert len(nodes[0]) == len(nodes[1]) == 1
    assert nodes[0] != nodes[1]


def test_there_is_one_plant_at_most(built):
    """Its processes know each other by loopback and files: a second would have a state of its own."""
    plants = [body for body in built if body["metadata"]["name"] == "plant" and body["kind"] == "StatefulSet"]
    assert all(body["spec"]["replicas"] == 1 for body in plants)
    assert not any(body["kind"] == "HorizontalPodAutoscaler" and body["spec"]["scaleTargetRef"]["name"] == "plant"
                   for body in built)  # fmt: skip


def test_pods_run_the_images_and_processes_of_the_dockerfile():
    plant = next(pod for name, pod, _ in pods(list(BASE.values())) if name == "plant")
    roles = stages()
    for container in [*plant["containers"], *plant["initContainers"]]:
        role = container["image"].removeprefix("perennial/").partition(":")[0]
        assert role in roles, container["name"]
        if role not in ("tools", "serving", "airflow"):
            assert tuple(container["args"]) == roles[role].command[1:], container["name"]


def test_argo_cd_follows_an_overlay_that_is_there():
    application = yaml.safe_load((ROOT / "deploy" / "argocd" / "application.yaml").read_text())
    assert (ROOT / application["spec"]["source"]["path"] / "kustomization.yaml").is_file()
    assert "automated" not in application["spec"]["syncPolicy"], "a person puts production live"
