"""A real Server on a loop of its own, and raw clients that say exactly what a test wants said."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import unprivileged
from driftd.protocol import LIMITS, PROTOCOL
from driftd.server import Handler, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from driftd.protocol import Document, Limits
    from driftd.server import Request

PATIENCE = 20.0  # seconds until something that must happen counts as not happening
DAEMON = Path(__file__).resolve().parents[2] / "daemon"
HELLO = {"version": "1.2.3", "protocol": PROTOCOL}


@contextmanager
def socket_folder(mode: int = 0o755) -> Iterator[Path]:
    """A folder with a short path, which other users may enter: pytest's own is neither."""
    folder = Path(tempfile.mkdtemp(prefix="driftd-"))
    folder.chmod(mode)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def answering(result: Mapping[str, Any]) -> Callable[[Request], Any]:
    """A handler's function that always gives this result."""

    async def function(_request: Request) -> Document:
        return dict(result)

    return function


async def echo(request: Request) -> Document:
    """A handler's function that gives back what it was given."""
    return {"arguments": request.arguments, "uid": request.peer.uid, "pid": request.peer.pid}


class Serving:
    """A server that serves in a thread of its own until the block of `serving` ends."""

    def __init__(self, path: Path, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self.server = server
        self._loop = loop

    def run(self, function: Callable[[], Any]) -> Any:
        """Call a function on the loop's thread; what it awaits is awaited there."""

        async def called() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(PATIENCE)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds on the loop's thread. Nothing tells of clients that leave, so it is polled."""
        give_up = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < give_up, "it did not come about"
            time.sleep(0.005)

    def wait_for_connections(self, number: int) -> None:
        """Return when so many clients are connected."""
        self.wait_until(lambda: self.server.connections == number)


@contextmanager
def serving(
    path: Path, handlers: Mapping[str, Handler] | None = None, *, limits: Limits = LIMITS, **options: Any
) -> Iterator[Serving]:
    """A server at the path, with `status` and `version` unless other handlers are given."""
    chosen = handlers or {"status": Handler(echo), "version": Handler(answering({"version": "1.2.3"}))}
    server = Server(path, chosen, hello=HELLO, limits=limits, **options)
    started: list[Any] = []
    ready = threading.Event()
    # The first loop of a process makes its child watcher and such; each server has one of its own.
    thread = threading.Thread(target=_serve, args=(server, started, ready))
    thread.start()
    assert ready.wait(PATIENCE)
    loop, stop, error = started
    try:
        if error:
            raise error
        yield Serving(path, server, loop)
    finally:
        if not error:
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def _serve(server: Server, started: list[Any], ready: threading.Event) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        error = None
        try:
            await server.start()
        except Exception as raised:  # noqa: BLE001 - it is raised again in the thread of the test
            error = raised
        started.extend([asyncio.get_running_loop(), stop, error])
        ready.set()
        if error is None:
            await stop.wait()
            await server.close(grace=0.1)

    asyncio.run(main())


class Wire:
    """A client of raw bytes."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes | Mapping[str, Any]) -> None:
        """Bytes as they are, or a document as a line."""
        self.socket.sendall(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")

    def line(self) -> dict[str, Any]:
        """The next line's document."""
        while b"\n" not in self._buffer:
            data = self.socket.recv(65536)
            assert data, "the connection was closed"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        document = json.loads(line)
        assert isinstance(document, dict)
        return document

    def ask(self, data: bytes | Mapping[str, Any]) -> dict[str, Any]:
        """Send, and the next line."""
        self.send(data)
        return self.line()

    def code(self, data: bytes | Mapping[str, Any]) -> str:
        """Send, and the code of the error that comes."""
        reply = self.ask(data)
        assert reply["ok"] is False
        return str(reply["error"]["code"])

    def finish(self) -> None:
        """Shut the sending side, as `nc -N` does at the end of its input."""
        self.socket.shutdown(socket.SHUT_WR)

    def ended(self) -> bool:
        """True when the other side has closed, and nothing more came."""
        try:
            return not self._buffer and not self.socket.recv(1)
        except ConnectionResetError:
            return True


async def silent(_request: Request) -> AsyncIterator[Document]:
    """A stream on which nothing happens."""
    await asyncio.Event().wait()
    yield {}


def as_nobody(code: str, *arguments: object, groups: Sequence[int] = ()) -> str:
    """What code prints that runs as a user who is neither root nor the server's; `driftd` can be imported."""
    with _nobody(code, arguments, groups) as process:
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return printed.strip()


@contextmanager
def nobody_running(code: str, *arguments: object) -> Iterator[None]:
    """Code that runs as that user, from when it prints `ready` until the block ends: then its input ends."""
    with _nobody(code, arguments, ()) as process:
        assert process.stdout
        assert process.stdin
        try:
            first = process.stdout.readline()
            assert first == "ready\n", process.stderr and process.stderr.read()
            yield
        finally:
            process.communicate(timeout=60)
    assert process.returncode == 0


def _nobody(code: str, arguments: Sequence[object], groups: Sequence[int]) -> subprocess.Popen[str]:
    user = unprivileged.NOBODY if os.geteuid() == 0 else None
    path = f"import sys; sys.path.insert(0, {str(DAEMON)!r})\n"
    return subprocess.Popen(
        [unprivileged._interpreter(), "-B", "-c", path + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=user,
        group=user,
        extra_groups=list(groups) if user else None,
        cwd="/",
        env={"PYTHONPATH": str(unprivileged.ENGINE), "PATH": os.defpath},
    )
