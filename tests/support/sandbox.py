"""What the shipped system unit takes away, taken away without systemd: for tests that run as root on Linux.

All mounts read-only but the folders that may be written, a network of its own, Unix sockets alone, no capabilities, no new
privileges: ProtectSystem=strict with ReadWritePaths=, PrivateNetwork=, RestrictAddressFamilies=AF_UNIX,
CapabilityBoundingSet=, NoNewPrivileges= and UMask=0077 of systemd/driftd.service.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of socket(2)

# Run by `unshare`, before the command that stands behind it. Constants are those of linux/mount.h, prctl.h, seccomp.h.
_SHUT_IN = """
import ctypes, json, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
writable, number = json.loads(sys.argv[1])

def done(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def attributes(path, flags, on, off):
    given = struct.pack("=QQQQ", on, off, 0, 0)
    done(libc.syscall(442, -100, path.encode(), flags, given, len(given)))  # mount_setattr

done(libc.mount(None, b"/", None, 0x4000 | 0x40000, None))  # MS_REC | MS_PRIVATE
for path in writable:
    done(libc.mount(path.encode(), path.encode(), None, 0x1000 | 0x4000, None))  # MS_BIND | MS_REC
attributes("/", 0x8000, 1, 0)  # AT_RECURSIVE, MOUNT_ATTR_RDONLY
for path in writable:
    attributes(path, 0, 0, 1)
for capability in range(64):
    if libc.prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP; beyond the last one it fails
        break
done(libc.prctl(47, 4, 0, 0, 0))  # PR_CAP_AMBIENT_CLEAR_ALL
done(libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
rules = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 1, 0, 1), (6, 0, 0, 0x50000 | 97), (6, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
program = struct.pack("@HP", len(rules), ctypes.addressof(filters))
done(libc.prctl(22, 2, program, 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER: another family than AF_UNIX is EAFNOSUPPORT
os.umask(0o077)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def shut_in(writable: Sequence[str]) -> tuple[str, ...]:
    """The words in front of a command that may write in these folders alone; more words of the command may follow.

    Skips where such a thing cannot be made.
    """
    why = _missing()
    if why:
        pytest.skip(why)
    return _words(writable)


def _words(writable: Sequence[str]) -> tuple[str, ...]:
    given = json.dumps([list(writable), _SOCKET[platform.machine()]])
    return ("unshare", "--mount", "--net", sys.executable, "-c", _SHUT_IN, given)


@cache
def _missing() -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux may make namespaces"
    if platform.machine() not in _SOCKET:
        return f"the number of socket(2) on {platform.machine()} is not known here"
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    done = subprocess.run(
        [*_words([tempfile.gettempdir()]), "true"], capture_output=True, text=True, check=False, timeout=60
    )
    return f"this machine lets nobody be shut in: {done.stderr.strip()[-200:]}" if done.returncode else ""
