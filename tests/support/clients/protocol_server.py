"""A model server on a free loopback port, for clients that need a real connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from one_server import Server
from tiny_models import tiny_version

from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Binary, Multiclass
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Application, Door

FLOWERS = Multiclass(classes=("setosa", "virginica"))
ORDERS = Binary(threshold=0.5, positive="returned", negative="kept")
TYPED = {
    "amount": InputSpec(type="float", missing="allow"),
    "count": InputSpec(type="int", missing="refuse"),
    "gift": InputSpec(type="bool", missing="refuse"),
    "colour": InputSpec(type="category", missing="refuse", categories=("red", "grün"), unknown="refuse"),
    "ordered": InputSpec(type="timestamp", missing="refuse"),
}


def hold_models(server: Server, folder: Path) -> None:
    """Give a server `flowers`, by a matrix of four numbers, and `orders`, by typed inputs."""
    server.hold(
        tiny_version(folder, "flowers", "1.0.0", bias=0.0, task=FLOWERS),
        tiny_version(folder, "orders", "2.0.0", bias=0.0, task=ORDERS, inputs=TYPED),
    )


SECRET = "inside"
SENT_BY_ROUTER = [(headers.SECRET.encode(), SECRET.encode()), (headers.PUBLIC.encode(), b"true")]


def behind_door(server: Server, keys: Path) -> Application:
    """Return the application of a server behind its door, with every request as from a client through Envoy."""
    door = Door(server.client.app, SECRET, ClientKeys(keys), required=False)

    async def routed(scope, receive, send) -> None:
        await door({**scope, "headers": [*scope["headers"], *SENT_BY_ROUTER]}, receive, send)

    return routed


@contextmanager
def protocol_server(folder: Path, keys: Path | None = None) -> Iterator[str]:
    """Run a server with both models; yields its address without a scheme.

    Args:
        keys: file of client keys; None: a server without a door.
    """
    server = Server(folder / "serving")
    hold_models(server, folder)
    application = server.client.app if keys is None else behind_door(server, keys)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    http = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=http.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # The socket listens from the bind on: a client that comes early waits in its queue.
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        http.should_exit = True
        thread.join(timeout=60)
        listener.close()
