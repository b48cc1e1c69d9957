"""What a ServiceAccount may ask of the API server, by the Roles and bindings among manifests. Pure.

Rules: https://kubernetes.io/docs/reference/access-authn-authz/rbac/. Rights only add up:
what no rule allows is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from containers.manifests import Manifest, template_of

DEFAULT = "default"
ROLES = {"Role", "ClusterRole"}
BINDINGS = {"RoleBinding", "ClusterRoleBinding"}


class Ask(NamedTuple):
    """A request to the API server; a subresource stands after a slash. Without a namespace: in all of them."""

    verb: str
    resource: str
    group: str = ""
    namespace: str | None = None
    name: str = ""


def accounts(manifests: Sequence[Manifest]) -> set[tuple[str, str]]:
    """Return namespace and name of each ServiceAccount that is made, or that a pod or a binding names."""
    found = {_place(body) for body in manifests if body["kind"] == "ServiceAccount"}
    for body in manifests:
        pod = (template_of(body) or {}).get("spec")
        if pod is not None:
            found.add((_namespace(body), pod.get("serviceAccountName", DEFAULT)))
        for subject in body.get("subjects", ()):
            if subject["kind"] == "ServiceAccount":
                found.add((subject.get("namespace", _namespace(body)), subject["name"]))
    return found


def may(manifests: Sequence[Manifest], account: tuple[str, str], ask: Ask) -> bool:
    """Return whether a ServiceAccount (namespace, name) may do something; a role that is not there allows all.

    A role that a cluster has by itself, as cluster-admin, is not among the manifests: whoever has one may do all.
    """
    roles = {(body["kind"], *_place(body)): body for body in manifests if body["kind"] in ROLES}
    for body in manifests:
        if body["kind"] not in BINDINGS or not any(
            _means(subject, account, body) for subject in body.get("subjects", ())
        ):
            continue
        everywhere = body["kind"] == "ClusterRoleBinding"
        if not everywhere and ask.namespace != _namespace(body):
            continue
        kind, name = body["roleRef"]["kind"], body["roleRef"]["name"]
        role = roles.get((kind, _namespace(body) if kind == "Role" else "", name))
        if role is None or any(_allows(rule, ask) for rule in role.get("rules") or ()):
            return True
    return False


def tokens(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield the workloads whose pods are handed a token: neither pod nor account says that they are not."""
    says = {_place(body): body.get("automountServiceAccountToken", True)
            for body in manifests if body["kind"] == "ServiceAccount"}  # fmt: skip
    for body in manifests:
        pod = (template_of(body) or {}).get("spec")
        if pod is None:
            continue
        of_account = says.get((_namespace(body), pod.get("serviceAccountName", DEFAULT)), True)
        if pod.get("automountServiceAccountToken", of_account):
            yield body["metadata"]["name"]


def _allows(rule: dict[str, Any], ask: Ask) -> bool:
    main, _, sub = ask.resource.partition("/")
    resources = {"*", ask.resource, *([f"*/{sub}"] if sub else [main])}
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", ask.verb} & set(rule.get("verbs", ())))
        and bool({"*", ask.group} & set(rule.get("apiGroups", ())))
        and bool(resources & set(rule.get("resources", ())))
        # A list or a creation has no name, so a rule with names never allows it.
        and (not names or ask.name in names)
    )


def _means(subject: dict[str, Any], account: tuple[str, str], binding: Manifest) -> bool:
    namespace, name = account
    if subject["kind"] == "ServiceAccount":
        return (subject.get("namespace", _namespace(binding)), subject["name"]) == account
    groups = {"system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}"}
    if subject["kind"] == "Group":
        return subject["name"] in groups
    return subject["name"] == f"system:serviceaccount:{namespace}:{name}"


def _namespace(body: Manifest) -> str:
    return body["metadata"].get("namespace", DEFAULT)


def _place(body: Manifest) -> tuple[str, str]:
    """Return namespace and name; what belongs to the cluster has no namespace."""
    return "" if body["kind"].startswith("Cluster") else _namespace(body), body["metadata"]["name"]
