"""Which file systems are shared between computers, told from texts of /proc/self/mountinfo."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

import vecdb
from vecdb.storage import file_systems
from vecdb.storage.file_systems import file_system_type, is_shared, shared_file_system, unc_share

MOUNTS = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:40 / /shares rw,relatime shared:7 master:2 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /shares/me/local\040disk rw - btrfs /dev/sdb1 rw
32 27 0:42 /sub /data rw propagate_from:3 - cifs //server/share rw
33 27 254:0 /srv/www /data/bound rw - ext4 /dev/vda rw
34 27 0:44 / /tab\011and\134backslash rw - fuse.sshfs me@there:/ rw
35 27 0:45 / /hidden/below rw - lustre server rw
36 27 0:46 / /hidden rw - tmpfs tmpfs rw
37 27 0:47 / /twice rw - nfs server:/a rw
38 37 0:48 / /twice rw - xfs /dev/sdc rw
39 27 0:49 / /m\303\274ll rw - fuse.gocryptfs me rw
"""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/", "ext4"),
        ("/var/lib/a.vecdb", "ext4"),
        ("/shares", "nfs4"),
        ("/shares/me/a.vecdb", "nfs4"),
        ("/sharesx/a.vecdb", "ext4"),
        ("/shares/me/local disk/a.vecdb", "btrfs"),
        ("/shares/me/local disks/a.vecdb", "nfs4"),
        ("/shares/me/local\\040disk/a.vecdb", "nfs4"),
        ("/data/a.vecdb", "cifs"),
        ("/data/bound/a.vecdb", "ext4"),
        ("/tab\tand\\backslash/a.vecdb", "fuse.sshfs"),
        ("/twice/a.vecdb", "xfs"),
        ("/müll/a.vecdb", "fuse.gocryptfs"),
    ],
)
def test_the_longest_mount_point_above_a_place_counts(place, expected):
    assert file_system_type(MOUNTS, place.encode()) == expected


def test_the_device_tells_a_mount_from_what_it_hides():
    assert file_system_type(MOUNTS, b"/hidden/below/a.vecdb", os.makedev(0, 46)) == "tmpfs"
    assert file_system_type(MOUNTS, b"/hidden/below/a.vecdb", os.makedev(0, 45)) == "lustre"
    assert file_system_type(MOUNTS, b"/shares/me", os.makedev(0, 999)) == "nfs4"  # no such device: by place alone


@pytest.mark.parametrize("mounts", [b"", b"nonsense\n\n - \n1 2 3\n - ext4", b"\xff" * 100, MOUNTS[:40]])
def test_a_text_that_says_nothing(mounts):
    assert file_system_type(mounts, b"/a.vecdb") is None


def test_what_is_shared():
    shared = ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "ceph", "lustre", "virtiofs", "fuse.glusterfs"]
    local = ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.gocryptfs", "fuse", "ntfs3", ""]
    assert [kind for kind in shared + local if is_shared(kind)] == shared


@pytest.mark.parametrize(
    ("path", "share"),
    [
        (r"\\server\share\a.vecdb", r"\\server\share"),
        (r"\\?\UNC\server\share\a.vecdb", r"\\server\share"),
        ("//server/share/a.vecdb", r"\\server\share"),
        (r"C:\folder\a.vecdb", None),
        (r"\\?\C:\folder\a.vecdb", None),
        (r"\\.\C:\a.vecdb", None),
        (r"\folder\a.vecdb", None),
        ("a.vecdb", None),
    ],
)
def test_shares_in_paths_of_windows(path, share):
    assert unc_share(path) == share


@pytest.fixture
def on_nfs(monkeypatch, tmp_path):
    """The whole machine seems to be on NFS."""
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"1 1 0:7 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(file_systems, "_MOUNTS", mounts)
    monkeypatch.setattr(file_systems, "_device", lambda folder: os.makedev(0, 7))
    monkeypatch.setattr(file_systems.sys, "platform", "linux")
    return mounts


@pytest.mark.skipif(os.name == "nt", reason="device numbers are those of Linux")
def test_one_warning_an_opening_and_everything_works(on_nfs, folder):
    for read_only in (False, True):
        with pytest.warns(vecdb.VecdbWarning, match=r"\(nfs4\).*one computer only.*vecdb backup") as caught:
            database = vecdb.open(folder, read_only=read_only)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        with database, warnings.catch_warnings():
            warnings.simplefilter("error")
            assert database.check()


@pytest.mark.skipif(os.name == "nt", reason="device numbers are those of Linux")
def test_without_a_list_of_mounts_nothing_is_said(on_nfs, folder):
    on_nfs.unlink()
    vecdb.open(folder).close()
    assert shared_file_system(folder) is None


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs /proc/self/mountinfo")
def test_a_real_list_of_mounts_names_every_mount_point():
    mounts = Path("/proc/self/mountinfo").read_bytes()
    for line in mounts.splitlines():
        assert file_system_type(mounts, line.split(b" ")[4]) is not None


def test_a_folder_that_does_not_exist_yet_is_judged_by_what_is_above_it(tmp_path):
    assert shared_file_system(tmp_path / "not" / "there" / "a.vecdb") == shared_file_system(tmp_path)
