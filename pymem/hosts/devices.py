"""Swap areas and the disk of a host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pymem.codecs import CodecError
from pymem.codecs import get as get_codec
from pymem.devices import Disk, SwapDevice
from pymem.errors import HostError
from pymem.hosts import parse
from pymem.topology import FILESYSTEMS

if TYPE_CHECKING:
    from pymem.hosts.source import Files

_KIB_PER_PAGE = 4
#: Devices that are no disks of their own.
_VIRTUAL = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|zd)\d*")
_PREFERRED = ("nvme", "sd", "vd", "xvd", "mmcblk")


def main_disk(files: Files) -> str | None:
    """The name of the disk that files are taken to lie on; None if the host shows none."""
    found = [name for name in files.names("sys/block") if not _VIRTUAL.fullmatch(name)]
    rank = {prefix: i for i, prefix in enumerate(_PREFERRED)}

    def order(name: str) -> tuple[int, str]:
        return min((i for prefix, i in rank.items() if name.startswith(prefix)), default=len(rank)), name

    return min(found, key=order, default=None)


def disk(files: Files, name: str | None, notes: list[str]) -> Disk:
    """The disk of this name."""
    if name is None:
        notes.append("no disk is shown under /sys/block: files are taken to lie on an NVMe disk")
        return Disk("nvme")
    kind = _kind(files, name)
    notes.append(f"disk {name}: times are reference figures for kind {kind!r}, the host does not tell its own")
    return Disk(kind)


def _kind(files: Files, name: str) -> str:
    """The kind of a block device: by its name, and by whether it rotates."""
    if found := re.match(r"(pmem|ram)(\d|$)", name):
        return {"pmem": "pmem", "ram": "ramdisk"}[found[1]]
    if files.word(f"sys/block/{name}/queue/rotational") == "1":
        return "hdd"
    return "sata" if name.startswith(("sd", "mmcblk")) else "nvme"


def filesystem(files: Files, notes: list[str]) -> str:
    """The file system of ``/``, or ext4."""
    mounts = [line.split() for line in (files.text("proc/mounts") or "").splitlines()]
    types = [fields[2] for fields in mounts if len(fields) > 2 and fields[1] == "/"]
    if types and types[-1] in FILESYSTEMS:
        return types[-1]
    found = f"the file system of / is {types[-1]}" if types else "the file system of / is not known"
    notes.append(f"{found}: files are taken to lie on ext4")
    return "ext4"


def swap(files: Files, memory: int, notes: list[str]) -> list[SwapDevice]:
    """The swap areas, in the order in which they were added; `memory`: bytes of the machine."""
    text = files.text("proc/swaps")
    if text is None:
        notes.append("/proc/swaps is not there: the machine has no swap")
        return []
    out = []
    for area in parse.swaps(text, files.shown("proc/swaps")):
        pages = area.size // _KIB_PER_PAGE
        if pages < 2:
            notes.append(f"swap area {area.file}: too small")
            continue
        # Areas without a priority of their own get -2, -3 ... in the order of swapon.
        priority = area.priority if area.priority >= 0 else None
        name = re.sub(r" \(deleted\)$", "", area.file).removeprefix("/dev/")
        size = pages * _KIB_PER_PAGE
        if area.used:
            notes.append(f"swap area {area.file}: {area.used} KiB were in use; in the simulation it begins empty")
        if re.fullmatch(r"zram\d+", name):
            out.append(_zram(files, name, size, priority, memory, notes))
            continue
        kind = "nvme"
        if area.kind == "file":
            notes.append(f"swap file {area.file}: on an NVMe disk of its own in the simulation")
        else:
            kind = _kind(files, _whole_disk(files, name))
        out.append(SwapDevice(f"{size}KiB", kind, priority=priority))
    return out


def _whole_disk(files: Files, name: str) -> str:
    """The disk of a partition."""
    if name in files.names("sys/block"):
        return name
    found = re.fullmatch(r"((?:nvme|mmcblk)\w*\d)p\d+|([a-z]+)\d+", name)
    return (found[1] or found[2]) if found else name


def _zram(
    files: Files, name: str, size: int, priority: int | None, memory: int, notes: list[str]
) -> SwapDevice:
    at = f"sys/block/{name}"
    more: dict[str, Any] = {}
    text = files.word(f"{at}/comp_algorithm")
    chosen = re.search(r"\[([\w-]+)\]", text or "")
    if text is not None and chosen is None:
        raise HostError(f"{files.shown(at)}/comp_algorithm, line 1: {text!r}; accepted is a list such as 'lzo [zstd]'")
    codec = chosen[1] if chosen else "lzo-rle"
    if chosen is None:
        notes.append(f"{name}: its codec is not known; {codec} is the kernel's default")
    try:
        get_codec(codec)
        more["codec"] = codec
    except CodecError:
        notes.append(f"{name}: codec {codec} is not simulated, lz4 takes its place")
        more["codec"] = "lz4"
    text = files.word(f"{at}/mm_stat")
    if text is not None:
        if not re.fullmatch(r"\d{1,19}(\s+\d{1,19}){3,}", text):
            raise HostError(f"{files.shown(at)}/mm_stat, line 1: {text!r}; accepted are numbers")
        limit = int(text.split()[3])
        if 0 < limit < memory:  # more than all memory limits nothing
            more["mem_limit"] = limit
    if (files.word(f"{at}/backing_dev") or "none") != "none":
        notes.append(f"{name}: its backing device is left out; give it as backing = {{ kind = ... }}")
    if "[" in (files.word(f"{at}/recomp_algorithm") or ""):
        notes.append(f"{name}: its second codec is left out, because programs decide on its use; see recompress")
    return SwapDevice(f"{size}KiB", "zram", priority=priority, **more)
