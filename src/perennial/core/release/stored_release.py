"""Releases as earlier versions of this code stored them, in the form that it reads now."""

from __future__ import annotations

from typing import Any

ADDED_TO_POLICY = {
    "hold": "PT0S",
    "ab": {"weight": 50, "sample": 1, "duration": "PT0S"},
    "sticky": {"header": None, "cookie": None, "cookie_age": "P1D", "experiment": None},
}
"""Keys that policies stored before them lack. Those were split by chance, as by the request's own id."""
ADDED_TO_AB = {"mismatch": 0.001}
APPROVERS = {"automatic": 0, "person": 1}
"""How many people the words meant that stood for the numbers."""


def lifted(stored: dict[str, Any]) -> dict[str, Any]:
    """The same release under the keys of now; what is new already stays as it is."""
    status = dict(stored)
    if isinstance(status.get("policy"), dict):
        policy = {**ADDED_TO_POLICY, **status["policy"]}
        status["policy"] = {**policy, "ab": {**ADDED_TO_AB, **policy["ab"]}}
    if isinstance(status.get("approval_policy"), dict):
        status["approval_policy"] = _approval_policy(status["approval_policy"])
    if "approval" in status:
        given = status.pop("approval")
        status["approvals"] = [] if given is None else [given]
    return status


def _approval_policy(policy: dict[str, Any]) -> dict[str, Any]:
    """Two levels became three: between them counts what the higher asked for. A tag that names no account
    counts no more: people still have the other ways to approve."""
    if "medium_risk" in policy:
        return policy
    numbers = {name: APPROVERS.get(value, value) for name, value in policy.items()}
    return {**numbers, "medium_risk": numbers["high_risk"], "anonymous_tag": False}
