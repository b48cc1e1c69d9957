"""The one answer of a Kubernetes API server that a vault asks for: whose token is this (TokenReview)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

NAMESPACE, ACCOUNT = "plant", "perennial"


def pod_token(account: str = ACCOUNT) -> str:
    """Return a token with the claims of a pod's service account; OpenBao leaves its signature to the API server."""
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": f"system:serviceaccount:{NAMESPACE}:{account}",
        "kubernetes.io/serviceaccount/namespace": NAMESPACE,
        "kubernetes.io/serviceaccount/service-account.name": account,
        "kubernetes.io/serviceaccount/service-account.uid": f"uid-{account}",
    }
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = asked["spec"]["token"]
        account = jwt.decode(token, options={"verify_signature": False})["sub"].rpartition(":")[2]
        user = {"username": f"system:serviceaccount:{NAMESPACE}:{account}", "uid": f"uid-{account}",
                "groups": ["system:serviceaccounts"]}  # fmt: skip
        body = json.dumps(asked | {"status": {"authenticated": True, "user": user}}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def api_server() -> Iterator[str]:
    """Yield the address of a server that takes every token for what it says."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
