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


@contextmanager
def protocol_server(folder: Path) -> Iterator[str]:
    """Run a server with both models; yields its address without a scheme."""
    server = Server(folder / "serving")
    hold_models(server, folder)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    http = uvicorn.Server(uvicorn.Config(server.client.app, log_level="warning", lifespan="off"))
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
