"""Whether a folder lies on a file system that several computers share, where a database is not safe."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

from vecdb.errors import VecdbWarning

# SQLite's write-ahead log needs memory that all processes share, so all of them must run on one computer,
# and file locks that every one of them sees. These file systems give several computers (or a virtual machine
# and its host) the same files, without such memory, and often without such locks.
_SHARED = {
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "vmhgfs",
}  # fmt: skip
_SHARED_BY_FUSE = {
    "ceph", "cephfs", "cifs", "davfs", "davfs2", "gcsfuse", "glusterfs", "grpcfuse", "juicefs", "mfs", "moosefs",
    "nfs", "osxfs", "rclone", "s3fs", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse",
}  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_DRIVE_REMOTE = 4


def warn_of_network_file_system(folder: Path) -> None:
    """Give one `VecdbWarning` if the folder, or the place where it will be, is shared between computers."""
    found = shared_file_system(folder)
    if found is not None:
        warnings.warn(
            f"{folder} lies on a file system that computers share ({found}): if two of them use the database at the "
            "same time, it can be damaged and what was stored be lost. Use it from one computer only, or better keep "
            "it on a local disk, and copy it with `vecdb backup`",
            VecdbWarning,
            stacklevel=4,
        )


def shared_file_system(folder: Path) -> str | None:
    """The type of the shared file system that the folder lies on; None: it is local, or that is not known."""
    if sys.platform == "win32":  # pragma: no cover  (the tests run on Linux)
        return _shared_drive(folder)
    if sys.platform != "linux":
        return None  # the standard library does not tell there
    device = _device(folder)
    if device is None or os.major(device):
        return None  # a disk of this computer has a number of its own; network file systems have 0
    try:
        mounts = _MOUNTS.read_bytes()
    except OSError:
        return None
    kind = file_system_type(mounts, os.fsencode(os.path.realpath(folder)), device)
    return kind if kind is not None and is_shared(kind) else None


def _device(folder: Path) -> int | None:
    """The number of the device that holds the folder, or will hold it."""
    for place in (folder, *folder.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return None


def is_shared(kind: str) -> bool:
    """Whether several computers can have a file system of this type at once."""
    name, _, behind = kind.partition(".")
    return behind in _SHARED_BY_FUSE if name == "fuse" else kind in _SHARED


def file_system_type(mounts: bytes, place: bytes, device: int | None = None) -> str | None:
    """The type of the file system that holds `place`.

    Args:
        mounts: the text of /proc/self/mountinfo.
        place: an absolute path, without links.
        device: number of the device that holds it, where known: it tells a mount from what it hides.
    """
    above = [found for found in _mounts(mounts) if _holds(found[0], place)]
    numbered = b"" if device is None else b"%d:%d" % (os.major(device), os.minor(device))
    best: tuple[bytes, bytes, str] | None = None
    for found in [mount for mount in above if mount[1] == numbered] or above:
        if best is None or len(found[0]) >= len(best[0]):  # of two at one place, the later one is on top
            best = found
    return best[2] if best is not None else None


def _mounts(mounts: bytes) -> Iterable[tuple[bytes, bytes, str]]:
    """(mount point, device, type) of each line; see proc(5)."""
    for line in mounts.splitlines():
        fields, _, behind = line.partition(b" - ")
        parts, kinds = fields.split(b" "), behind.split(b" ")
        if len(parts) >= 5 and kinds[0]:
            point = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 8) & 0xFF]), parts[4])
            yield point, parts[2], kinds[0].decode("ascii", "replace")


def _holds(point: bytes, place: bytes) -> bool:
    return place == point or place.startswith(point.rstrip(b"/") + b"/")


def _shared_drive(folder: Path) -> str | None:  # pragma: no cover  (the tests run on Linux)
    """A share (\\\\server\\name), or a drive letter that stands for one."""
    path = os.path.realpath(folder)
    root = unc_share(path)
    if root is not None:
        return f"the share {root}"
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415  (slow to import, and needed only here)

        drive = os.path.splitdrive(path)[0] + "\\"
        if ctypes.windll.kernel32.GetDriveTypeW(drive) == _DRIVE_REMOTE:
            return f"the network drive {drive}"
    return None


def unc_share(path: str) -> str | None:
    """The share of a Windows path such as \\\\server\\share\\folder; None for others, also for \\\\?\\C:\\folder."""
    plain = path.replace("/", "\\")
    if plain.upper().startswith("\\\\?\\UNC\\"):
        plain = "\\\\" + plain[8:]
    if not plain.startswith("\\\\") or plain[2:4] in ("?\\", ".\\"):
        return None
    return "\\".join(plain.split("\\")[:4])
