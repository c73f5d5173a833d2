"""Who is at the other end of the socket, and what they may ask: the kernel says who, a pure function says what."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Levels and options that the socket module does not name. Linux: include/uapi/asm-generic/socket.h; macOS: sys/un.h.
_SO_PEERGROUPS = 59
_LONGEST = 1024  # bytes that Python's getsockopt takes: 256 groups
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 0x001
_LOCAL_PEERPID = 0x002
_XUCRED = struct.Struct("=IIhxx16I")  # version, uid, number of groups, groups: sys/ucred.h
_UCRED = struct.Struct("=iII")  # pid, uid, gid: unix(7)


class Peer(NamedTuple):
    """The process at the other end, as it was when it connected; a uid of -1 is nobody that is known.

    `groups` are all of its groups, the primary one among them.
    """

    uid: int
    pid: int | None = None
    groups: frozenset[int] = frozenset()

    @property
    def user(self) -> str:
        """The user's name, or the uid where the user database has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except (KeyError, OSError):
            return str(self.uid)


UNKNOWN = Peer(-1)


class Rules(NamedTuple):
    """Who may do what: `own` is the daemon's uid, `group` the gid that may write, `readable` opens reading to all."""

    own: int
    group: int | None = None
    readable: bool = False


def may_write(peer: Peer, rules: Rules) -> bool:
    """Same user, root, or a member of the configured group."""
    return peer.uid in {rules.own, 0} or (rules.group is not None and rules.group in peer.groups)


def may_read(peer: Peer, rules: Rules) -> bool:
    """Who may write, and everybody where the configuration opens reading."""
    return rules.readable or may_write(peer, rules)


def peer_of(connection: socket.socket) -> Peer:
    """The peer of a connected Unix socket, `UNKNOWN` where the kernel does not tell."""
    try:
        if sys.platform == "darwin":
            return _peer_on_macos(connection)
        return _peer_on_linux(connection)
    except (OSError, AttributeError, struct.error):
        return UNKNOWN


def groups_of(uid: int) -> frozenset[int]:
    """The groups that the user database gives a user, primary and supplementary; none for an unknown user."""
    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()


def parse_xucred(raw: bytes) -> Peer:
    """The `struct xucred` of macOS; raises struct.error for anything else. The kernel lists at most 16 groups."""
    version, uid, count, *groups = _XUCRED.unpack(raw)
    if version != 0:
        raise struct.error(f"xucred of version {version}")
    return Peer(uid, None, frozenset(groups[: max(0, min(count, 16))]))


def _peer_on_linux(connection: socket.socket) -> Peer:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Peer(uid, pid, frozenset({gid, *_supplementary(connection, uid)}))


def _supplementary(connection: socket.socket, uid: int) -> Iterator[int]:
    """The peer's supplementary groups.

    The kernel's answer (since Linux 4.13) comes first: it is what decided about connecting, and asking the user database
    may wait for a directory server, which one stranger's request must not make everybody do.
    """
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LONGEST)
    except OSError:
        # An older kernel, or more groups than fit.
        yield from groups_of(uid)
        return
    yield from (gid for (gid,) in struct.iter_unpack("=I", raw))


def _peer_on_macos(connection: socket.socket) -> Peer:
    peer = parse_xucred(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
    pid = None
    with contextlib.suppress(OSError, struct.error):
        (pid,) = struct.unpack("=i", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))
    # Membership that macOS keeps in its directory beyond the 16 groups of the kernel's list.
    return Peer(peer.uid, pid, peer.groups | groups_of(peer.uid))
