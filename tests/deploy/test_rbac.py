"""Rights at the API server: no account of ours has any, and the evaluator would notice one."""

from __future__ import annotations

import pytest
import yaml
from containers.described import ROOT
from containers.manifests import KUSTOMIZE, Manifest, build, builder, files
from containers.rbac import Ask, accounts, may, tokens

AUTHORISATION = "rbac.authorization.k8s.io"
HERE = "perennial"
NEVER = [
    Ask("get", "secrets", namespace=HERE), Ask("list", "secrets", namespace=HERE), Ask("list", "secrets"),
    Ask("get", "configmaps", namespace=HERE), Ask("create", "pods", namespace=HERE),
    Ask("create", "pods/exec", namespace=HERE), Ask("get", "pods/log", namespace=HERE), Ask("list", "pods"),
    Ask("create", "pods/ephemeralcontainers", namespace=HERE), Ask("create", "serviceaccounts/token", namespace=HERE),
    Ask("patch", "deployments", "apps", HERE), Ask("patch", "statefulsets", "apps", HERE),
    Ask("delete", "persistentvolumeclaims", namespace=HERE), Ask("escalate", "roles", AUTHORISATION, HERE),
    Ask("bind", "clusterroles", AUTHORISATION), Ask("create", "rolebindings", AUTHORISATION, HERE),
    Ask("impersonate", "users"), Ask("impersonate", "serviceaccounts", namespace=HERE), Ask("get", "nodes/proxy"),
    Ask("create", "validatingwebhookconfigurations", "admissionregistration.k8s.io"),
    Ask("delete", "networkpolicies", "networking.k8s.io", HERE),
    Ask("approve", "certificatesigningrequests", "certificates.k8s.io"),
]  # fmt: skip
"""What nothing of ours needs: no process asks the API server."""
OVERLAYS = ("staging", "production", "edge", "two-regions/north", "two-regions/south", "machines")


def check(manifests: list[Manifest]) -> None:
    known = accounts(manifests)
    assert known
    for account in known:
        assert [ask for ask in NEVER if may(manifests, account, ask)] == [], account
    assert list(tokens(manifests)) == []


def test_no_account_of_the_base_and_the_components_may_do_anything():
    manifests = list(files().values())
    check(manifests)
    (of_nobody,) = [body for body in manifests if body["kind"] == "ServiceAccount"
                    and body["metadata"]["name"] == "default"]  # fmt: skip
    assert of_nobody["automountServiceAccountToken"] is False, "a pod that names no account"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_account_of_an_overlay_may_do_anything(overlay):
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine: the files of the base are checked alone")
    check(build(KUSTOMIZE / "overlays" / overlay))


def test_the_chart_of_airflow_makes_no_role():
    values = yaml.safe_load((ROOT / "deploy" / "airflow" / "values-celery.yaml").read_text())
    assert values["rbac"] == {"create": False}
    assert values["allowPodLaunching"] is False


def role(name: str, *rules: dict, kind: str = "Role", namespace: str = HERE) -> Manifest:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": list(rules)}


def bound(
    name: str, *subjects: dict, to: str = "Role", kind: str = "RoleBinding", namespace: str = HERE
) -> Manifest:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "subjects": list(subjects),
            "roleRef": {"kind": to, "name": name}}  # fmt: skip


def rule(verbs: str, resources: str, groups: str = "", names: str = "") -> dict:
    return {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": groups.split() or [""],
            **({"resourceNames": names.split()} if names else {})}  # fmt: skip


PLANT = {"kind": "ServiceAccount", "name": "plant"}
READS = Ask("get", "pods", namespace=HERE)


@pytest.mark.parametrize(
    ("manifests", "ask", "expected"),
    [
        ([role("r", rule("get", "pods")), bound("r", PLANT)], READS, True),
        ([role("r", rule("get", "pods"))], READS, False),  # bound to nobody
        ([role("r", rule("get", "pods")), bound("r", PLANT | {"name": "other"})], READS, False),
        ([role("r", rule("get", "pods")), bound("r", PLANT | {"namespace": "shop"})], READS, False),
        ([role("r", rule("list", "pods")), bound("r", PLANT)], READS, False),
        ([role("r", rule("get", "pods", "apps")), bound("r", PLANT)], READS, False),
        ([role("r", rule("*", "*", "*")), bound("r", PLANT)], READS, True),
        ([role("r", rule("*", "*", "*")), bound("r", PLANT)], READS._replace(namespace="shop"), False),
        ([role("r", rule("*", "*", "*")), bound("r", PLANT)], READS._replace(namespace=None), False),
        ([role("r", rule("get", "pods")), bound("r", PLANT)], Ask("get", "pods/log", namespace=HERE), False),
        ([role("r", rule("get", "*/log")), bound("r", PLANT)], Ask("get", "pods/log", namespace=HERE), True),
        ([role("r", rule("get", "pods", names="a")), bound("r", PLANT)], READS._replace(name="a"), True),
        ([role("r", rule("get", "pods", names="a")), bound("r", PLANT)], READS, False),
        ([role("r", rule("get", "pods"), kind="ClusterRole"), bound("r", PLANT, to="ClusterRole")], READS, True),
        (
            [role("r", rule("get", "pods"), kind="ClusterRole"),
             bound("r", PLANT | {"namespace": HERE}, to="ClusterRole", kind="ClusterRoleBinding")],
            READS._replace(namespace=None), True,
        ),
        ([role("r", rule("get", "pods")), bound("r", {"kind": "Group", "name": "system:serviceaccounts"})],
         READS, True),
        ([role("r", rule("get", "pods")), bound("r", {"kind": "Group", "name": "ops"})], READS, False),
        ([role("r", rule("get", "pods")), bound("r", {"kind": "User", "name": f"system:serviceaccount:{HERE}:plant"})],
         READS, True),
        ([bound("cluster-admin", PLANT, to="ClusterRole")], READS, True),  # a role that is not among the manifests
    ],
)  # fmt: skip
def test_the_evaluator_knows_what_a_binding_allows(manifests, ask, expected):
    assert may(manifests, (HERE, "plant"), ask) is expected


def test_a_pod_gets_a_token_unless_it_or_its_account_says_no():
    def pod(name: str, **more: object) -> Manifest:
        return {"kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"spec": more}}}

    account = {"kind": "ServiceAccount", "metadata": {"name": "no"}, "automountServiceAccountToken": False}
    made = [
        account,
        pod("plain"),
        pod("refuses", automountServiceAccountToken=False),
        pod("by-account", serviceAccountName="no"),
        pod("insists", serviceAccountName="no", automountServiceAccountToken=True),
    ]
    assert list(tokens(made)) == ["plain", "insists"]
