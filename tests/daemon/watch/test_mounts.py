"""Which folders lie where the kernel does not hear of every change."""

from __future__ import annotations

import pytest

from driftd.watch.mounts import Mount, is_remote, parse_mountinfo, read_mounts, remote_folders

MOUNTINFO = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:40 / /srv/with\040space rw,relatime shared:5 - nfs4 host:/export rw
29 27 0:41 / /home/me/there rw - fuse.sshfs me@host: rw
30 27 0:42 / /mnt/stick rw - fuseblk /dev/sdb1 rw
31 28 0:43 / /srv/with\040space/local rw - tmpfs tmpfs rw
32 27 0:44 / /both rw - nfs host:/both rw
33 27 0:45 / /both rw - xfs /dev/vdb rw
a line of another shape
"""


@pytest.mark.parametrize(
    ("folder", "remote"),
    [
        ("/", False),
        ("/srv", False),
        ("/srv/with space", True),
        ("/srv/with space/app/db", True),
        ("/srv/with spaces", False),
        ("/srv/with space/local/x", False),
        ("/home/me/there/x", True),
        ("/mnt/stick", False),
        ("/both/x", False),
    ],
)
def test_the_innermost_mount_decides(folder: str, remote: bool) -> None:
    """The longest mount point counts, the later of two on the same point, and names are unescaped."""
    assert (folder in remote_folders([folder], parse_mountinfo(MOUNTINFO))) is remote


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse", "virtiofs", "CIFS"]
)
def test_shared_file_systems_are_remote(kind: str) -> None:
    """What another machine, or the host of a virtual one, may write to."""
    assert is_remote(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "fuseblk", "apfs", ""])
def test_disks_are_not_remote(kind: str) -> None:
    """What only this kernel writes to."""
    assert not is_remote(kind)


def test_the_mounts_of_this_machine_can_be_read() -> None:
    """There is always something mounted on the root."""
    assert any(mount.point == "/" for mount in read_mounts())


def test_without_mounts_nothing_is_remote() -> None:
    """A system that does not tell is taken for a local one."""
    assert not remote_folders(["/srv"], ())
    assert not remote_folders(["/srv"], (Mount("/", "ext4"),))
