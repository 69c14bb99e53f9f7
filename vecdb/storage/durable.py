"""Waiting until what was written is on the disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def sync_file(file: Path) -> None:
    """Wait until the content of a file is on the disk."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: what was made, renamed or removed there."""
    if os.name == "nt":
        return  # Windows cannot open a folder, and renames durably by itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all files in a folder are on the disk, and all names in it, at every depth."""
    for inner in folder.iterdir():
        if inner.is_symlink():
            continue  # its name is in the folder, and what it leads to is none of ours
        if inner.is_dir():
            sync_tree(inner)
        else:
            sync_file(inner)
    sync_folder(folder)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing, and wait until their names are on the disk.

    Also of one that is there already: who made it may have been killed before it waited.
    """
    made = [folder, *(above for above in folder.parents if not above.exists())]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for one in made:
        with contextlib.suppress(PermissionError):  # who may not read a folder cannot wait for it
            sync_folder(one.parent)
