"""Which account may call which route of MLflow's server. Pure; the server asks before it runs a handler.

Default deny: a route that no rule names is refused for every account, the admin included. The rules go by method
and path after MLflow's prefixes (`/api`, `/ajax-api`, their version numbers and `preview`) are taken off, so that
every spelling of a route has one rule. Rights on a single version, alias or tag are in `registry_rules`.

| access | who |
| --- | --- |
| OPEN | anybody, without an account: liveness and the page's static files |
| READ | every account |
| LABEL | accounts that may edit versions, within `registry_rules`: all but viewers |
| TRAIN | the training account: it creates experiments, runs and versions |
| ADMIN | the admin: accounts, roles, deletion |
| CLOSED | nobody: parts of MLflow that Perennial does not use |
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from perennial.core.governance.identity import Role


class Access(StrEnum):
    """Requirement of a route on its caller."""

    OPEN = "open"
    READ = "read"
    LABEL = "label"
    TRAIN = "train"
    ADMIN = "admin"
    CLOSED = "closed"


WHO: dict[Access, frozenset[Role]] = {
    Access.LABEL: frozenset({Role.APPROVER, Role.OPERATOR, Role.TRAINING, Role.RELEASE}),
    Access.TRAIN: frozenset({Role.TRAINING}),
}

PREFIX = re.compile(r"^/(?:api|ajax-api)/\d\.\d/(?:preview/)?(?=mlflow)")
"""Prefixes of MLflow's REST and page routes."""

_READ = r"""
    mlflow/(experiments/(get|get-by-name|search)|runs/(get|search)|metrics/get-history(-bulk|-bulk-interval)?)
    mlflow/(artifacts/list|experiments/search-datasets|logged-models/search|logged-models/[^/]+)
    mlflow/logged-models/[^/]+/artifacts/directories
    mlflow/registered-models/(get|search|alias|get-latest-versions)
    mlflow/model-versions/(get|search|get-download-uri)
    mlflow/(users/(current|current/permissions)|server-info|ui-telemetry)
    mlflow/(traces|traces/search|datasets/search|issues/search|unified-traces|scorers/list|webhooks)
    mlflow/(label-schemas/list|review-queues/list|gateway/(endpoints|secrets|model-definitions)/list)
    mlflow/(gateway/(supported-providers|secrets/config|budgets/list|budgets/windows)|workspaces)
    /get-artifact /model-versions/get-artifact /graphql /
"""
"""Routes that read; MLflow takes the filter of a search as the body of a POST."""
_SEARCH = r"""
    mlflow/(experiments/search|experiments/search-datasets|runs/search|logged-models/search)
    mlflow/(registered-models/get-latest-versions|traces/search|datasets/search|issues/search) /graphql
"""
_TRAIN = r"""
    mlflow/experiments/(create|set-experiment-tag|delete-experiment-tag)
    mlflow/runs/(create|update|set-tag|delete-tag|log-batch|log-inputs|log-metric|log-parameter|log-model|outputs)
    mlflow/(logged-models|logged-models/[^/]+/(params|tags)|registered-models/create|model-versions/create)
"""
_LABEL = r"""
    mlflow/model-versions/(set-tag|delete-tag)
    mlflow/registered-models/(set-tag|delete-tag|alias)
"""
_ADMIN = r"""
    mlflow/(users|roles)/.+ mlflow/(experiments|runs)/(delete|restore) mlflow/experiments/update
    mlflow/registered-models/(delete|rename) mlflow/model-versions/(delete|transition-stage)
    mlflow/logged-models/[^/]+ /signup
"""
_OPEN = r"/health /version /static-files/.+ /build/.+"
_CLOSED = r"""
    mlflow/(gateway|gateway-proxy|webhooks|workspaces|traces|unified-traces|get-trace-artifact|datasets)(/.*)?
    mlflow/(get-online-trace-details|demo|genai|issues|jobs|scorer|scorers|prompt-optimization|assistant)(/.*)?
    mlflow/(label-schemas|review-queues|mcp-servers|ui-telemetry|runs/create-promptlab-run|upload-artifact)(/.*)?
    mlflow/artifacts/presigned-(download|upload)-url mlflow/logged-models/[^/]+/(artifacts/files|tags/[^/]+)
    mlflow-artifacts/.+ /gateway/.* /ajax-api/3\.0/jobs(/.*)? /v1/.+ /api/2\.0mlflow/.+ /ajax-api/2\.0mlflow/.+
    /mcp-servers(/.*)? /mlflow/.+ mlflow/(model-versions|registered-models)/update
"""
"""Descriptions are given at the registration: approvers read them, so nobody rewrites one.

Traces, prompts, the gateway, jobs, webhooks, uploads through the server: none is used, so none can be abused."""


def _any_of(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns.split()))


RULES: tuple[tuple[Access, frozenset[str], re.Pattern[str]], ...] = (
    (Access.OPEN, frozenset({"GET"}), _any_of(_OPEN)),
    (Access.READ, frozenset({"GET"}), _any_of(_READ)),
    (Access.READ, frozenset({"POST"}), _any_of(_SEARCH)),
    (Access.TRAIN, frozenset({"POST", "PATCH"}), _any_of(_TRAIN)),
    (Access.TRAIN, frozenset({"PATCH"}), _any_of(r"mlflow/logged-models/[^/]+")),
    (Access.LABEL, frozenset({"POST", "PATCH", "DELETE"}), _any_of(_LABEL)),
    (Access.ADMIN, frozenset({"GET", "POST", "PATCH", "DELETE"}), _any_of(_ADMIN)),
    (Access.CLOSED, frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"}), _any_of(_CLOSED)),
)


def access_of(method: str, path: str) -> Access | None:
    """Return what a call needs; None where no rule names the route.

    Args:
        path: decoded, as the server dispatches it. HEAD counts as GET.
    """
    bare = PREFIX.sub("", path)
    verb = "GET" if method == "HEAD" else method
    for access, methods, pattern in RULES:
        if verb in methods and pattern.fullmatch(bare):
            return access
    return None


def route_refusal(method: str, path: str, roles: Collection[Role], admin: bool) -> str:
    """Return why an account may not call this route; empty when it may.

    Args:
        roles: of the account; `admin` is MLflow's own mark.
    """
    access = access_of(method, path)
    if access is None or access is Access.CLOSED:
        return f"{method} {path} is not open on this server"
    if access in (Access.OPEN, Access.READ):
        return ""
    if access is Access.ADMIN:
        return "" if admin else f"{method} {path} is for the admin only"
    allowed = WHO[access]
    if admin and access is Access.LABEL:  # which tags and aliases: `registry_rules` says that
        return ""
    return "" if allowed & set(roles) else f"{method} {path} needs the role {' or '.join(sorted(allowed))}"


SOURCE = re.compile(r"(?:file://)?/[^\\%?#]*|models:/m-[0-9a-f]{32}|runs:/[0-9a-f]{32}(?:/[^\\%?#]*)?")
"""Place of a version's files: of this server, a logged model or a run. That it belongs to the run, MLflow checks."""


def version_refusal(body: object, bucket: str | None = None) -> str:
    """Return why a version may not be created as this request body says; empty when it may.

    Args:
        bucket: s3 address below which the server places artifacts; None: in a folder.
    """
    if not isinstance(body, dict):
        return "the body is no JSON object"
    source = body.get("source")
    if not isinstance(source, str) or ".." in source.split("/"):
        allowed = False
    elif bucket is not None and source.startswith("s3:"):
        allowed = _in_bucket(source, body, bucket)
    else:
        allowed = SOURCE.fullmatch(source) is not None
    return "" if allowed else "source is no place in the artifact folder of a run of this server"


def _in_bucket(source: str, body: dict[str, object], bucket: str) -> bool:
    """Return whether the source is of the run or the logged model that the body names: MLflow checks folders only."""
    run, model = (re.escape(str(body.get(name) or "none")) for name in ("run_id", "model_id"))
    place = rf"{re.escape(bucket)}/\d+/(?:{run}|models/{model})/artifacts(?:/[^\\%?#]*)?"
    return re.fullmatch(place, source) is not None


def experiment_refusal(body: object) -> str:
    """Return why an experiment may not be created as this request body says; empty when it may.

    The place of artifacts is the server's choice: who chooses it writes where the server's account may write.
    """
    if not isinstance(body, dict):
        return "the body is no JSON object"
    chosen = body.get("artifact_location", body.get("artifactLocation"))
    return "artifact_location is chosen by the server, not by a client" if chosen else ""
