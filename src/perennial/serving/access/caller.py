"""Who sent a request, as its headers say it: the id of the request and a pseudonym of the client."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from perennial import limits
from perennial.serving import headers
from perennial.serving.assignment import pseudonym


def request_id(given: Mapping[str, str]) -> str:
    """Return the id that Envoy gave the request, cut to the limit; empty for a direct call."""
    return given.get(headers.REQUEST_ID, "")[: limits.HEADER_TEXT]


def client(given: Mapping[str, str]) -> str | None:
    """Return a pseudonym of the address that Envoy saw, which is the last of the header.

    A host has a whole IPv6 network (/64) of addresses: it is one client.
    """
    addresses = given.get(headers.FORWARDED_FOR)
    if addresses is None:
        return None
    address = addresses.rpartition(",")[2].strip()
    if ":" in address:
        address = str(ip_network(f"{address.partition('%')[0]}/64", strict=False))
    return pseudonym("client", address) if address else None
