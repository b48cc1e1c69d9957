"""Requests that may write have Airflow's API server alone, one after the other; those that read never wait."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from perennial.orchestration.one_writer import OneWriter

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Server:
    """An application behind the middleware whose requests end when they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        app = Starlette(routes=[Route("/{name}", self.answer, methods=list(METHODS))])
        app.add_middleware(OneWriter)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://airflow"
        )

    async def answer(self, request: Request) -> PlainTextResponse:
        name = request.path_params["name"]
        self.begun.append(name)
        body = await request.body()
        await self.gates.setdefault(name, asyncio.Event()).wait()
        if name == "fails":
            raise RuntimeError("a defect")
        return PlainTextResponse(body or b"nothing")

    def let_go(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()

    async def until_begun(self, name: str) -> None:
        while name not in self.begun:
            await asyncio.sleep(0)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_request_that_may_write_begins_when_the_one_before_has_ended(method):
    async def two() -> list[str]:
        server = Server()
        first = asyncio.create_task(server.client.post("/first", content=b"1"))
        await server.until_begun("first")
        second = asyncio.create_task(server.client.request(method, "/second", content=b"2"))
        reading = asyncio.create_task(server.client.get("/reading"))
        server.let_go("reading")
        server.let_go("second")
        assert (await reading).text == "nothing"
        assert server.begun == ["first", "reading"]
        server.let_go("first")
        assert [(await first).text, (await second).text] == ["1", "2"]
        return server.begun

    assert asyncio.run(two()) == ["first", "reading", "second"]


def test_one_that_fails_lets_the_next_begin():
    async def both() -> list[int]:
        server = Server()
        server.let_go("fails")
        server.let_go("next")
        return [(await server.client.post(f"/{name}")).status_code for name in ("fails", "next")]

    assert asyncio.run(both()) == [500, 200]


def test_a_slow_body_keeps_nobody_waiting():
    async def slow_and_quick() -> str:
        server = Server()
        server.let_go("slow")
        server.let_go("quick")
        rest = asyncio.Event()

        async def body():
            yield b"a"
            await rest.wait()
            yield b"b"

        slow = asyncio.create_task(server.client.post("/slow", content=body()))
        await asyncio.sleep(0)
        assert (await server.client.post("/quick")).text == "nothing"
        rest.set()
        return (await slow).text

    assert asyncio.run(slow_and_quick()) == "ab"
