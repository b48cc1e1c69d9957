"""A connection of a model server: what is answered at once, and what goes uvicorn's way, is answered alike."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from operator import attrgetter

import pytest
import uvicorn
from one_server import CONTEXT, Server
from starlette.responses import Response
from tiny_models import tensor_body, tiny_version

from perennial import limits
from perennial.core.serving_spec import Load
from perennial.errors import FeaturesUnavailable
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Door
from perennial.serving.bento import GRPC_VARIABLE, POOL_VARIABLE
from perennial.serving.http.whole_requests import DirectTraffic, WholeRequests
from perennial.settings import Settings

INFER, PREDICT = "/v2/models/tiny/infer", "/v1/models/tiny/predict"
SECRET = {headers.SECRET: "s"}


class Counted(DirectTraffic):
    """Attribute `at_once`: statuses of what was answered without a task."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.at_once: list[int] = []

    def answer(self, *given):
        response = super().answer(*given)
        if isinstance(response, Response):
            self.at_once.append(response.status_code)
        return response


class Live:
    """A server that listens, on the loop of the test."""

    def __init__(self, server: Server) -> None:
        door = Door(server.application, "s", ClientKeys(server.folder / "keys.json"), required=False)
        self.traffic = Counted(server.application, door)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(
                door,
                http=partial(WholeRequests, traffic=self.traffic),
                lifespan="off",
                log_level="critical",
                access_log=False,
            )
        )

    async def connect(self):
        return await asyncio.open_connection(*self.socket.getsockname())

    async def ask(self, *requests: bytes) -> list[tuple[int, dict, bytes]]:
        """Send all at once on one connection; status, headers and body of each answer."""
        reader, writer = await self.connect()
        writer.write(b"".join(requests))
        answers = [await answer(reader) for _ in requests]
        writer.close()
        return answers


async def answer(reader) -> tuple[int, dict, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    given = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), given, await reader.readexactly(int(given["content-length"]))


def request(path, content=None, version="1.1", method="POST", **more) -> bytes:
    body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = {"host": "x", "content-length": str(len(body)), **SECRET, **more}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode() + body


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", 0.0, service="tiny_v1"))
    return server


@asynccontextmanager
async def listening(server):
    live = Live(server)
    task = asyncio.create_task(live.uvicorn.serve(sockets=[live.socket]))
    while not live.uvicorn.started:
        await asyncio.sleep(0.01)
    try:
        yield live
    finally:
        live.uvicorn.should_exit = True
        await task


def asked(server, *requests):
    """Return the answers on one connection, and the statuses of those answered at once."""

    async def talk():
        async with listening(server) as live:
            return await live.ask(*requests), live.traffic.at_once

    return asyncio.run(talk())


def test_the_traffic_is_answered_at_once_and_logged(server):
    by_entity = {"entities": [{"test_id": "t1", "suite": "s"}], "context": CONTEXT}
    answers, at_once = asked(server, request(INFER, tensor_body(3)), request(PREDICT, by_entity))
    assert [status for status, _, _ in answers] == at_once == [200, 200]
    here = server.client.post(INFER, json=tensor_body(3)).json()
    assert json.loads(answers[0][2])["outputs"] == here["outputs"]
    assert answers[0][1]["content-type"] == "application/json"
    assert len(server.log()) == 3 + 1 + 3


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"inputs": 1}', b'{"inputs": [], "inputs": []}', json.dumps(tensor_body(value=1e39)).encode()],
    ids=["no JSON", "no list", "a key twice", "a number too large"],
)
def test_a_wrong_body_is_refused_in_the_same_words(server, body):
    ((status, _, content),), at_once = asked(server, request(INFER, body))
    here = server.client.post(INFER, content=body)
    assert (status, json.loads(content)) == (here.status_code, here.json())
    assert at_once == [400]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(INFER, tensor_body(), **{headers.SECRET: "other"}), 403),
        (request("/v2/models/other/infer", tensor_body()), 404),
        (request(f"{INFER}?a=1", tensor_body()), 200),
        (request("/v2/models/t%69ny/infer", tensor_body()), 200),
        (request(INFER, tensor_body(), expect="100-continue"), 100),
        (request(INFER, tensor_body(), version="1.0"), 200),
        (request(INFER, **{"content-length": str(limits.BODY_BYTES + 1)}), 413),
        (request(INFER, **{"content-length": "0" * 5000 + "1"}), 413),
        (request(INFER, method="DELETE"), 405),
        (request("/v2/models/tiny/ready", method="GET"), 200),
        (request(PREDICT, {"entities": [{"test_id": "t1"}], "context": CONTEXT, "explain": True}), 400),
    ],
    ids=[
        "a stranger", "no such model", "a query", "an escaped path", "waits for 100", "HTTP/1.0", "a body too large",
        "a length of too many digits", "another method", "another route", "an explanation",
    ],
)  # fmt: skip
def test_what_is_not_of_the_common_form_is_answered_as_ever(server, sent, status):
    async def talk():
        async with listening(server) as live:
            reader, writer = await live.connect()
            writer.write(sent)
            line = await reader.readline()
            writer.close()
            return int(line.split()[1])

    assert asyncio.run(talk()) == status


def test_requests_without_a_pause_between_them_are_answered_in_order(server):
    ready = request("/v2/models/tiny/ready", method="GET")
    answers, _ = asked(
        server, request(INFER, tensor_body(1)), ready, request(INFER, tensor_body(2)), ready,
        request(INFER, tensor_body(3)),
    )  # fmt: skip
    contents = [json.loads(content) for _, _, content in answers]
    rows = [content["outputs"][0]["shape"][0] if "outputs" in content else None for content in contents]
    assert rows == [1, None, 2, None, 3]


def test_one_client_that_does_not_wait_for_answers_leaves_the_others_their_turn(server):
    sent = [request(INFER, tensor_body(1 + number % 3)) for number in range(60)]
    answers, at_once = asked(server, *sent)
    rows = [json.loads(content)["outputs"][0]["shape"][0] for _, _, content in answers]
    assert rows == [1 + number % 3 for number in range(60)]
    assert len(at_once) < 60


def test_a_request_in_pieces_is_answered_when_it_is_whole_even_while_the_server_stops(server):
    sent = request(INFER, tensor_body(2))

    async def talk():
        async with listening(server) as live:
            reader, writer = await live.connect()
            writer.write(request(INFER, tensor_body()))
            assert (await answer(reader))[0] == 200
            writer.write(sent[:-20])
            await writer.drain()
            (connection,) = live.uvicorn.server_state.connections
            while connection._collected is None:
                await asyncio.sleep(0.01)
            connection.shutdown()  # as uvicorn does when it stops
            for byte in sent[-20:-1]:
                writer.write(bytes([byte]))
            writer.write(sent[-1:] + sent)  # the server closes after the first of them
            last = await answer(reader)
            return last, await reader.read()

    (status, given, content), rest = asyncio.run(talk())
    assert status == 200
    assert json.loads(content)["outputs"][0]["shape"] == [2]
    assert given["connection"] == "close"
    assert rest == b""
    assert len(server.log()) == 1 + 2, "no answer that nobody gets"


def test_a_request_that_waits_for_a_load_gets_a_task_and_is_logged_once(server, tmp_path):
    server.hold(tiny_version(tmp_path, "cold", "1.0.0", 0.0), load=Load.ON_DEMAND)
    cold = request("/v2/models/cold/infer", tensor_body())
    answers, at_once = asked(server, cold, cold)
    assert [status for status, _, _ in answers] == [200, 200]
    assert at_once in ([200], []), "the second one may come while the first one waits"
    assert len(server.log("cold")) == 2


def test_a_repeated_header_counts_as_ever(server):
    twice = request(INFER, tensor_body()).replace(b"host: x", b"x-a: 1\r\nx-a: 2\r\nhost: x")
    ((status, _, _),), at_once = asked(server, twice)
    assert (status, at_once) == (200, [])


def test_a_failure_of_the_door_is_the_servers_and_not_the_clients(server, monkeypatch):
    def failing(*_):
        raise PermissionError("keys")

    monkeypatch.setattr(Door, "admit", failing)
    ((status, _, _),), _ = asked(server, request(INFER, tensor_body()))
    assert status == 500


class Slow:
    """Feature values that come when the test says so."""

    def __init__(self, server: Server) -> None:
        self.values = server.values
        self.asked: list[asyncio.Future] = []

    async def fetch(self, service, given):
        self.asked.append(asyncio.get_running_loop().create_future())
        await self.asked[-1]
        return self.values.columns(service, given)


BY_ENTITY = request(PREDICT, {"entities": [{"test_id": "t1", "suite": "ci"}], "context": CONTEXT})


def while_slow(server, talk):
    """Run the coroutine of a function of the live server and its slow values."""
    server.values = slow = Slow(server)

    async def run():
        async with listening(server) as live:
            return await talk(live, slow)

    return asyncio.run(run())


async def held(slow, count: int = 1) -> None:
    while len(slow.asked) < count:
        await asyncio.sleep(0.01)


def test_others_are_answered_while_a_request_waits_for_features(server):
    async def talk(live, slow):
        reader, writer = await live.connect()
        writer.write(BY_ENTITY)
        await held(slow)
        (other,) = await live.ask(request(INFER, tensor_body()))
        assert not live.uvicorn.server_state.tasks, "a request that waits for a read needs no task"
        slow.asked[0].set_result(None)
        waited = await answer(reader)
        writer.write(request(INFER, tensor_body()))
        return other, waited, await answer(reader)

    assert [status for status, _, _ in while_slow(server, talk)] == [200, 200, 200]
    assert len(server.log()) == 3


def test_what_comes_behind_a_waiting_request_is_answered_after_it(server):
    async def talk(live, slow):
        reader, writer = await live.connect()
        writer.write(BY_ENTITY + request(INFER, tensor_body(3)) + request("/v2", method="GET") + BY_ENTITY)
        await held(slow)
        await asyncio.sleep(0.05)
        slow.asked[0].set_result(None)
        first = [await answer(reader) for _ in range(3)]
        await held(slow, 2)
        slow.asked[1].set_result(None)
        return [*first, await answer(reader)]

    answers = while_slow(server, talk)
    assert [status for status, _, _ in answers] == [200] * 4
    bodies = [json.loads(content) for _, _, content in answers]
    assert [next(key for key in ("predictions", "outputs", "extensions") if key in body) for body in bodies] == [
        "predictions", "outputs", "extensions", "predictions",
    ]  # fmt: skip


def test_a_waiting_request_of_a_client_that_is_gone_ends_quietly(server):
    async def talk(live, slow):
        _, writer = await live.connect()
        writer.write(BY_ENTITY)
        await held(slow)
        writer.close()
        while live.uvicorn.server_state.connections:
            await asyncio.sleep(0.01)
        slow.asked[0].set_result(None)
        return await live.ask(request(INFER, tensor_body()))

    ((status, _, _),) = while_slow(server, talk)
    assert status == 200


def test_a_server_that_stops_answers_a_waiting_request_first(server):
    async def talk(live, slow):
        reader, writer = await live.connect()
        writer.write(BY_ENTITY)
        await held(slow)
        (connection,) = live.uvicorn.server_state.connections
        connection.shutdown()  # as uvicorn does when it stops
        slow.asked[0].set_result(None)
        return await answer(reader), await reader.read()

    (status, given, _), rest = while_slow(server, talk)
    assert (status, given["connection"], rest) == (200, "close", b"")


@pytest.mark.parametrize("failure", [FeaturesUnavailable("away", hint="wait"), ValueError("broken")])
def test_a_read_that_fails_late_is_told(server, failure):
    async def talk(live, slow):
        slow.values.down = True
        reader, writer = await live.connect()
        writer.write(BY_ENTITY)
        await held(slow)
        slow.asked[0].set_exception(failure)
        await held(slow, 2)  # a row that is known to be good
        slow.asked[1].set_exception(failure)
        return await answer(reader)

    status, _, _ = while_slow(server, talk)
    assert status == 503
    assert len(server.log()) == 0


OF_CONNECTION = (
    "url", "headers", "scope", "parser", "cycle.response_complete", "cycle.keep_alive", "flow.write_paused",
    "transport", "loop", "timeout_keep_alive", "server_state.default_headers", "server_state.total_requests",
    "shutdown", "on_response_complete", "pipeline", "on_url", "on_header", "on_message_begin", "on_headers_complete",
    "on_body", "on_message_complete",
)  # fmt: skip


def test_uvicorn_has_what_a_connection_uses_of_it(server):
    """Inside of the parser, a missing one would be a 400 that says nothing."""

    async def missing():
        async with listening(server) as live:
            reader, writer = await live.connect()
            writer.write(request("/v2", method="GET"))
            await answer(reader)
            (connection,) = live.uvicorn.server_state.connections
            inside = {name for name in OF_CONNECTION if not has(connection, name)}
            writer.close()
            return inside

    def has(connection, name) -> bool:
        try:
            attrgetter(name)(connection)
        except AttributeError:
            return False
        return True

    assert not asyncio.run(missing()), f"uvicorn {uvicorn.__version__}: see serving/http/whole_requests.py"


WORKER = """
import socket, sys, uvicorn
from _bentoml_impl.worker.service import main

class Server:
    def __init__(self, config): self.config = config
    def run(self, sockets): print("uvicorn is told", self.config.http.func.__name__, self.config.access_log)

uvicorn.Server = Server
door = socket.create_server(("127.0.0.1", 0))
main(["service:ModelServer", "--fd", str(door.detach())], standalone_mode=False)
"""


def test_the_worker_of_bentoml_tells_uvicorn_to_answer_so(tmp_path):
    settings = Settings(home=tmp_path / "state")
    told = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=settings.shipped("bentos/model_server"),
        env={**os.environ, "PERENNIAL_HOME": str(settings.home), POOL_VARIABLE: "stable", GRPC_VARIABLE: "1",
             "BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "OTEL_SDK_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )  # fmt: skip
    assert "uvicorn is told WholeRequests False" in told.stdout
