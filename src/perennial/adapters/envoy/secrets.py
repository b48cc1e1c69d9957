"""Envoy's certificates and keys: files that it reads again when they are replaced, without a restart (SDS).

Envoy notices what is renamed into a watched folder: a file, or the link of a whole set of files.
"""

from __future__ import annotations

from pathlib import Path

from perennial.adapters.envoy.config import TYPE, InternalTls, Json, Layout, watched
from perennial.internal_tls.identity import Identity

PUBLIC, OWN, TRUSTED = "public", "own", "trusted"
"""Names: the certificate of the public listener, that towards the model servers, and whom Envoy trusts there."""
TLS = f"{TYPE}extensions.transport_sockets.tls.v3."
CONNECTION_LIFE = "3600s"
"""Longest life of a connection to a model server: so long may it outlive the certificates that it began with."""


def secrets(layout: Layout) -> dict[str, Json]:
    """Return the resources by name; each goes into a file of its own, as Envoy asks for one at a time."""
    resources = {}
    if layout.tls is not None:
        resources[PUBLIC] = _pair(PUBLIC, *layout.tls)
    if layout.inside is not None:
        files = Identity(layout.inside.folder)
        resources[OWN] = _pair(OWN, files.chain, files.key)
        resources[TRUSTED] = {
            "@type": f"{TLS}Secret",
            "name": TRUSTED,
            "validation_context": {
                "trusted_ca": {"filename": str(files.trusted)},
                "watched_directory": {"path": str(files.folder)},
            },
        }
    return resources


def _pair(name: str, chain: Path, key: Path) -> Json:
    return {
        "@type": f"{TLS}Secret",
        "name": name,
        "tls_certificate": {
            "certificate_chain": {"filename": str(chain)},
            "private_key": {"filename": str(key)},
            "watched_directory": {"path": str(chain.parent)},
        },
    }


def named(name: str, folder: Path) -> Json:
    """Return the reference to a resource.

    Args:
        folder: of Envoy's files.
    """
    return {"name": name, "sds_config": watched(folder / "sds" / f"{name}.json")}


def upstream(inside: InternalTls, folder: Path, protocols: list[str]) -> Json:
    """Return the transport of connections to the model servers: TLS 1.3, with certificates of both sides."""
    servers = {"san_type": "URI", "matcher": {"exact": inside.servers}}
    context = {
        "@type": f"{TLS}UpstreamTlsContext",
        # A resumed session would not look at the certificates again.
        "max_session_keys": 0,
        "common_tls_context": {
            "alpn_protocols": protocols,
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificate_sds_secret_configs": [named(OWN, folder)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [servers]},
                "validation_context_sds_secret_config": named(TRUSTED, folder),
            },
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def downstream(folder: Path) -> Json:
    """Return the transport of the public listener."""
    context = {
        "@type": f"{TLS}DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [named(PUBLIC, folder)],
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
