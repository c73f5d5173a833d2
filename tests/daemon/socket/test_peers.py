"""Who is at the other end, and what they may ask."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from driftd.peers import UNKNOWN, Peer, Rules, groups_of, may_read, may_write, parse_xucred, peer_of
from driftd.server import Handler
from support.sockets import Wire, as_nobody, echo, nobody_running, serving, socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = 54321  # a gid that nobody has
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: run the tests as root")
ASK = """
import json
from driftd.client import Client, ClientError
answers = []
for command in ("status", "pause"):
    try:
        with Client(sys.argv[1]) as client:
            answers.append(client.call(command))
    except ClientError as error:
        answers.append([type(error).__name__, error.error["code"]])
print(json.dumps(answers))
"""
REFUSED = ["NotAllowed", "not-allowed"]


@pytest.fixture
def path() -> Iterator[Path]:
    with socket_folder() as folder:
        yield folder / "d.sock"


@pytest.mark.parametrize(
    ("peer", "rules", "reads", "writes"),
    [
        (Peer(1000), Rules(1000), True, True),
        (Peer(0), Rules(1000), True, True),
        (Peer(1001), Rules(1000), False, False),
        (Peer(1001, None, frozenset({7, 8})), Rules(1000, 8), True, True),
        (Peer(1001, None, frozenset({7})), Rules(1000, 8), False, False),
        (Peer(1001, None, frozenset({7})), Rules(1000, None), False, False),
        (Peer(1001), Rules(1000, None, readable=True), True, False),
        (Peer(1001, None, frozenset({8})), Rules(1000, 8, readable=True), True, True),
        (UNKNOWN, Rules(1000, 0), False, False),
        (UNKNOWN, Rules(1000, 0, readable=True), True, False),
    ],
)
def test_who_may_do_what(peer: Peer, rules: Rules, reads: bool, writes: bool) -> None:
    """Same user, root and the group may write; others may read, and only where reading is open."""
    assert (may_read(peer, rules), may_write(peer, rules)) == (reads, writes)


def test_the_kernel_names_the_peer() -> None:
    """Its user, its process and all its groups."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.uid, peer.pid) == (os.geteuid(), os.getpid())
    assert peer.groups >= {os.getegid(), *os.getgroups()}


def test_a_socket_without_credentials_has_an_unknown_peer() -> None:
    """Nobody in particular: may not write, whatever the rules."""
    with socket.socket(socket.AF_INET) as network:
        peer = peer_of(network)
    assert not may_write(peer, Rules(os.geteuid(), os.getegid()))


def test_the_credentials_of_macos_are_understood() -> None:
    """Version, uid, the number of groups and sixteen places for them; anything else is refused."""
    raw = struct.pack("=IIhxx16I", 0, 501, 3, 20, 12, 80, *[0] * 13)
    assert parse_xucred(raw) == Peer(501, None, frozenset({20, 12, 80}))
    with pytest.raises(struct.error):
        parse_xucred(raw[:-1])
    with pytest.raises(struct.error):
        parse_xucred(struct.pack("=I", 1) + raw[4:])


def test_groups_from_the_user_database() -> None:
    """Primary and supplementary; none for a uid that nobody has."""
    assert groups_of(0) >= {0}
    assert groups_of(4_000_000_000) == frozenset()


def test_a_user_has_a_name_or_a_number() -> None:
    """For the record of who approved what."""
    assert Peer(0).user == "root"
    assert Peer(4_000_000_000).user == "4000000000"


def handlers() -> dict[str, Handler]:
    return {"status": Handler(echo), "pause": Handler(echo), "check": Handler(echo)}


def test_the_same_user_may_read_and_write(path: Path) -> None:
    """And the handler learns who asked."""
    with serving(path, handlers()), Wire(path) as wire:
        for command in ("status", "pause"):
            result = wire.ask({"command": command})["result"]
            assert (result["uid"], result["pid"]) == (os.geteuid(), os.getpid())


def ask_as_nobody(path: Path, *groups: int) -> list[Any]:
    answers = json.loads(as_nobody(ASK, path, groups=groups))
    assert isinstance(answers, list)
    return answers


@needs_root
def test_another_user_cannot_even_connect(path: Path) -> None:
    """The socket's permissions keep everybody else out."""
    with serving(path, handlers()):
        assert ask_as_nobody(path) == [REFUSED, REFUSED]


@needs_root
def test_another_user_who_got_in_is_refused(path: Path) -> None:
    """Somebody has opened the socket's permissions by hand: the kernel's word still decides."""
    with serving(path, handlers()):
        path.chmod(0o777)
        assert ask_as_nobody(path) == [REFUSED, REFUSED]


@needs_root
def test_another_user_may_read_where_reading_is_open(path: Path) -> None:
    """And not write; `check` that loads the models is writing."""
    with serving(path, handlers(), readable=True):
        status, pause = ask_as_nobody(path)
        assert status["uid"] == 65534
        assert pause == REFUSED
        code = ASK.replace("client.call(command)", "client.do_check(fresh=command == 'pause')")
        check, fresh = json.loads(as_nobody(code, path))
        assert check["arguments"] == {}
        assert fresh == REFUSED


@needs_root
def test_members_of_the_group_may_write(path: Path) -> None:
    """Also where everybody else may read; nobody else can connect where they may not."""
    with serving(path, handlers(), group=str(GROUP)):
        status, pause = ask_as_nobody(path, GROUP)
        assert status["uid"] == pause["uid"] == 65534
        assert ask_as_nobody(path, GROUP + 1) == [REFUSED, REFUSED]
    with serving(path, handlers(), group=str(GROUP), readable=True):
        assert ask_as_nobody(path, GROUP)[1]["uid"] == 65534
        assert ask_as_nobody(path, GROUP + 1)[1] == REFUSED


@needs_root
def test_root_may_ask_the_daemon_of_another_user(path: Path) -> None:
    """Whoever may read every file may ask, too."""
    code = """
import asyncio
from pathlib import Path
from driftd.server import Handler, Server

async def pause(request):
    return {"uid": request.peer.uid}

async def main():
    server = Server(Path(sys.argv[1]), {"pause": Handler(pause)}, hello={"version": "1", "protocol": 1})
    await server.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()

asyncio.run(main())
"""
    path.parent.chmod(0o777)
    with nobody_running(code, path), Wire(path) as wire:
        assert path.lstat().st_uid == 65534
        assert wire.ask({"command": "pause"})["result"] == {"uid": 0}
