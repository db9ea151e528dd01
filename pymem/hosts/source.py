"""Files of a host: of this one, of a copy in a folder (also an sosreport), or of a tar archive of either.

A path such as ``proc/zoneinfo`` is looked for below the root; a copy may also consist of what is in ``/proc`` alone,
and may lie in a folder of its own inside the root, as an sosreport does.
"""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pymem.errors import HostError

#: The longest file that is read; zoneinfo of 16 nodes with 256 CPUs has 4 MB.
MAX_FILE = 32 << 20
#: What is kept of an archive in all, and how many of its entries are looked at.
MAX_ARCHIVE, MAX_ENTRIES = 256 << 20, 2_000_000
#: Any of these files makes a folder that of a host.
LANDMARKS = ("zoneinfo", "meminfo")
_FOLDERS = ("proc", "sys", "sos_commands", "boot")
_HOPS = 16  # symbolic links followed in a row


class Tree(Protocol):
    """Where files are read from; paths have no leading slash."""

    name: str

    def read(self, path: str) -> bytes | None:
        """The content; None if there is no such file or it may not be read."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty if there is none."""


class Folder:
    """Files below a folder.  Links of a copy that lead out of it are not followed: they would show another host."""

    def __init__(self, base: Path) -> None:
        self.name = str(base)
        self.base = base.resolve()

    def _place(self, path: str) -> Path | None:
        try:
            place = (self.base / path).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links
            return None
        return place if place.is_relative_to(self.base) else None

    def read(self, path: str) -> bytes | None:
        place = self._place(path)
        try:
            if place is None or not place.is_file():
                return None
            with place.open("rb") as file:
                return file.read(MAX_FILE + 1)
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        place = self._place(folder)
        try:
            return sorted(entry.name for entry in place.iterdir()) if place is not None else []
        except OSError:
            return []


class Archive:
    """Files of a tar archive, packed by gzip, bzip2, xz or not at all; only those of interest are kept."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.folders: dict[str, set[str]] = {}
        kept = 0
        try:
            with tarfile.open(path, "r|*") as tar:
                for number, member in enumerate(tar):
                    where = posixpath.normpath(member.name).lstrip("/")
                    if number >= MAX_ENTRIES or kept > MAX_ARCHIVE:
                        raise HostError(f"{path}: more than a copy of /proc and /sys can be; accepted is one host")
                    if not _of_interest(where):
                        continue
                    if member.issym():
                        self._add(where)
                        self.links[where] = posixpath.normpath(
                            member.linkname.lstrip("/") if member.linkname.startswith("/")
                            else posixpath.join(posixpath.dirname(where), member.linkname)
                        )  # fmt: skip
                    elif member.isfile() and (file := tar.extractfile(member)) is not None:
                        self._add(where)
                        self.files[where] = file.read(MAX_FILE + 1)
                        kept += len(self.files[where])
        except OSError as error:
            raise HostError(f"{path}: {error.strerror or error}") from None
        except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
            raise HostError(
                f"{path}: not a whole tar archive ({error}); accepted is a folder, or a tar file, packed or not"
            ) from None

    def _add(self, where: str) -> None:
        while where:
            folder, name = posixpath.split(where)
            self.folders.setdefault(folder, set()).add(name)
            where = folder

    def _follow(self, path: str) -> str:
        for _ in range(_HOPS):
            parts = path.split("/")
            for length in range(len(parts), 0, -1):
                target = self.links.get("/".join(parts[:length]))
                if target is not None:
                    path = posixpath.normpath("/".join([target, *parts[length:]]))
                    break
            else:
                return path
        return path

    def read(self, path: str) -> bytes | None:
        return self.files.get(self._follow(path))

    def names(self, folder: str) -> list[str]:
        return sorted(self.folders.get(self._follow(folder), ()))


def _of_interest(path: str) -> bool:
    parts = path.split("/")
    # Logs, processes and devices make most of an archive, and nothing of them is asked for.
    if any(part.isdigit() for part in parts):
        return False
    return any(part in _FOLDERS for part in parts) or len(parts) <= 4


class Files:
    """The files of one host, by their paths as in ``/``."""

    def __init__(self, root: str | Path) -> None:
        path = Path(root)
        if not path.exists():
            raise HostError(f"{root}: no such file or folder; accepted is a copy of /proc and /sys, or a tar of it")
        self.tree: Tree = Folder(path) if path.is_dir() else Archive(path)
        self.root = str(root)
        self.live = path.resolve() == Path("/")
        self.proc = self._find_proc()
        self.prefix = self.proc[: -len("proc")] if posixpath.basename(self.proc) == "proc" else None

    def _find_proc(self) -> str:
        """The folder that is ``/proc``: below the root, the root itself, or the same in a folder of it."""
        tops: Iterable[str] = ["", *(f"{name}/" for name in self.tree.names(""))]
        for top in [""] if self.live else tops:
            for proc in (f"{top}proc", top.rstrip("/")):
                if any(self.tree.read(posixpath.join(proc, name)) is not None for name in LANDMARKS):
                    return proc
        raise HostError(
            f"{self.root}: neither proc/zoneinfo nor proc/meminfo in it; accepted is a copy of /proc and /sys, an "
            "sosreport, or a tar of either"
        )

    def place(self, path: str) -> str | None:
        """Where a path such as ``proc/meminfo`` or ``sys/block`` is in the tree; None: not part of the copy."""
        if path.startswith("proc/"):
            return posixpath.join(self.proc, path.removeprefix("proc/"))
        return None if self.prefix is None else self.prefix + path

    def shown(self, path: str) -> str:
        """The name of a file in messages."""
        place = self.place(path) or path
        return f"/{place}" if self.live else posixpath.join(self.root, place)

    def text(self, path: str) -> str | None:
        """The text of a file; None if it is not there.  HostError if it is not text or too long."""
        place = self.place(path)
        data = None if place is None else self.tree.read(place)
        if data is None:
            return None
        if len(data) > MAX_FILE:
            raise HostError(f"{self.shown(path)}: more than {MAX_FILE} bytes; accepted is what a kernel prints")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = data[error.start : error.start + 8]
            raise HostError(f"{self.shown(path)}, line {line}: {found!r} is no text; accepted is UTF-8") from None

    def word(self, path: str) -> str | None:
        """The only line of a short file, stripped; None if the file is not there or empty."""
        text = self.text(path)
        return text.strip().splitlines()[0].strip() if text and text.strip() else None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty if there is none."""
        place = self.place(folder)
        return [] if place is None else self.tree.names(place)
