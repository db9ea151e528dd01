"""The text of ``/proc``, strictly: a line that the kernel would not print is an error with file and line.

So a copy that was cut off, or files mixed up, do not become a wrong machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pymem.errors import HostError

_MAX = 1 << 62
_HEADER = re.compile(r"Node (\d{1,4}), zone\s+(\w+)")
_PROTECTION = re.compile(r"\s+protection: \((\d+(?:, \d+)*)\)")
_PAIR = re.compile(r"\s+(pages free|[a-z][a-z0-9_]*)\s+(\d{1,19})")
_COLON = re.compile(r"\s+([a-z][a-z_ ]*):\s*(\d{1,19})")
_HEADING = re.compile(r"\s+(per-node stats|pagesets)")
_MEMINFO = re.compile(r"(\w+(?:\(\w+\))?):\s+(\d{1,19})( kB)?")
_VMSTAT = re.compile(r"([a-z][a-z0-9_]*) (-?\d{1,19})")
_SWAP = re.compile(r"(\S+(?: \(deleted\))?)\s+(partition|file)\s+(\d{1,19})\s+(\d{1,19})\s+(-?\d{1,6})")
_PRESSURE = re.compile(r"(some|full) avg10=(\d+\.\d+) avg60=(\d+\.\d+) avg300=(\d+\.\d+) total=(\d{1,19})")
#: Lines that every zone with memory has; the kernel prints less of an empty one.
_EMPTY_ZONE = ("pages free", "min", "low", "high", "spanned", "present", "managed", "protection")
_FULL_ZONE = (*_EMPTY_ZONE, "start_pfn")


@dataclass
class ZoneInfo:
    """One zone as ``/proc/zoneinfo`` has it; pages.

    Attributes
    ----------
    node : int
    name : str
    line : int
        Of its header.
    values : dict
        By the names in the file, ``pages free`` among them.
    protection : tuple of int
        One per zone of the node, in the order of the file.
    percpu : int
        Pages in the lists of all CPUs.
    cpus : int
        CPUs that have a list.
    node_stats : dict
        Of the whole node; only its first zone carries them.
    """

    node: int
    name: str
    line: int
    values: dict[str, int] = field(default_factory=dict)
    protection: tuple[int, ...] = ()
    percpu: int = 0
    cpus: int = 0
    node_stats: dict[str, int] = field(default_factory=dict)

    @property
    def boost(self) -> int:
        """What the watermarks are raised by for the time being; the kernel prints them with it."""
        return self.values.get("boost", 0)

    @property
    def watermarks(self) -> tuple[int, int, int]:
        """min, low and high without the boost."""
        return (
            self.values["min"] - self.boost, self.values["low"] - self.boost, self.values["high"] - self.boost
        )  # fmt: skip


@dataclass(frozen=True)
class SwapInfo:
    """One area of ``/proc/swaps``; KiB."""

    file: str
    kind: str
    size: int
    used: int
    priority: int


def lines(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines; HostError if the file is empty or its last line has no end."""
    if not text:
        raise HostError(
            f"{name}: is empty; tar and rsync store nothing of files under /proc, copy them by cp or cat first"
        )
    if not text.endswith("\n"):
        number = text.count("\n") + 1
        raise HostError(f"{name}, line {number}: {_short(text.splitlines()[-1])} has no line end: the file is cut off")
    yield from enumerate(text.removesuffix("\n").split("\n"), 1)


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:60] + "...")


def _fail(name: str, number: int, line: str, accepted: str) -> HostError:
    return HostError(f"{name}, line {number}: {_short(line)} is not understood; accepted is {accepted}")


def meminfo(text: str, name: str) -> dict[str, int]:
    """``/proc/meminfo``: KiB (or huge pages) by field."""
    out: dict[str, int] = {}
    for number, line in lines(text, name):
        found = _MEMINFO.fullmatch(line)
        if found is None:
            raise _fail(name, number, line, "a line such as 'MemTotal:  16384 kB'")
        if found[1] in out:
            raise HostError(f"{name}, line {number}: {found[1]} twice; two files were mixed")
        out[found[1]] = int(found[2])
    if "MemTotal" not in out:
        raise HostError(f"{name}: has no MemTotal; accepted is a copy of /proc/meminfo")
    return out


def vmstat(text: str, name: str) -> dict[str, int]:
    """``/proc/vmstat`` by name."""
    out: dict[str, int] = {}
    for number, line in lines(text, name):
        found = _VMSTAT.fullmatch(line)
        if found is None:
            raise _fail(name, number, line, "a line such as 'nr_free_pages 4096'")
        out[found[1]] = int(found[2])
    return out


def swaps(text: str, name: str) -> list[SwapInfo]:
    """``/proc/swaps``, in its order."""
    out: list[SwapInfo] = []
    for number, line in lines(text, name):
        if number == 1:
            if not line.startswith("Filename"):
                raise _fail(name, number, line, "the heading 'Filename Type Size Used Priority'")
            continue
        found = _SWAP.fullmatch(line.rstrip())
        if found is None:
            raise _fail(name, number, line, "a swap area such as '/dev/sda2 partition 1048572 0 -2'")
        out.append(SwapInfo(found[1], found[2], int(found[3]), int(found[4]), int(found[5])))
    return out


def pressure(text: str, name: str) -> dict[str, tuple[float, float, float]]:
    """``/proc/pressure/memory``: averages in percent over 10, 60 and 300 s, by ``some`` and ``full``."""
    out: dict[str, tuple[float, float, float]] = {}
    for number, line in lines(text, name):
        found = _PRESSURE.fullmatch(line)
        if found is None:
            raise _fail(name, number, line, "a line such as 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0'")
        out[found[1]] = (float(found[2]), float(found[3]), float(found[4]))
    return out


def cpu_list(text: str, name: str) -> list[int]:
    """CPUs (or nodes) of a list such as ``0-3,8``; empty if there are none."""
    out: list[int] = []
    for part in filter(None, text.strip().split(",")):
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise _fail(name, 1, text.strip(), "a list such as '0-3,8'")
        out += range(int(found[1]), int(found[2] or found[1]) + 1)
    return out


def distances(text: str, name: str) -> list[int]:
    """``/sys/devices/system/node/node*/distance``."""
    if not re.fullmatch(r"\d{1,3}(?: +\d{1,3})*\s*", text):
        raise _fail(name, 1, text.strip(), "numbers such as '10 21'")
    return [int(part) for part in text.split()]


def zoneinfo(text: str, name: str) -> list[ZoneInfo]:
    """``/proc/zoneinfo``: every zone, in the order of the file."""
    zones: list[ZoneInfo] = []
    stats: dict[str, int] = {}
    in_node = False
    for number, line in lines(text, name):
        if found := _HEADER.fullmatch(line):
            if zones:
                _complete(zones[-1], name, number)
            zones.append(ZoneInfo(int(found[1]), found[2], number))
            if any((z.node, z.name) == (zones[-1].node, zones[-1].name) for z in zones[:-1]):
                raise HostError(f"{name}, line {number}: {line} twice; two files were mixed")
            in_node = False
        elif not zones:
            raise _fail(name, number, line, "'Node 0, zone DMA' or the like in the first line")
        elif found := _HEADING.fullmatch(line):
            in_node = found[1] == "per-node stats"
            stats = zones[-1].node_stats
        elif found := _PROTECTION.fullmatch(line):
            _set(zones[-1], "protection", 0, name, number)
            zones[-1].protection = tuple(int(part) for part in found[1].split(", "))
        elif found := _COLON.fullmatch(line):
            if found[1] == "count":
                zones[-1].percpu += int(found[2])
            elif found[1] == "cpu":
                zones[-1].cpus += 1
            elif found[1] == "start_pfn":
                _set(zones[-1], "start_pfn", int(found[2]), name, number)
        elif found := _PAIR.fullmatch(line):
            in_node = in_node and found[1] != "pages free"
            if in_node:
                stats[found[1]] = int(found[2])
            else:
                _set(zones[-1], found[1], int(found[2]), name, number)
        else:
            raise _fail(name, number, line, "a line of /proc/zoneinfo such as '        managed  3840'")
    if not zones:
        raise HostError(f"{name}: has no zone; accepted is a copy of /proc/zoneinfo")
    _complete(zones[-1], name, number + 1)
    return zones


def _set(zone: ZoneInfo, key: str, value: int, name: str, number: int) -> None:
    if value > _MAX:
        raise HostError(f"{name}, line {number}: {value}; accepted is up to {_MAX}")
    if key in zone.values:
        raise HostError(f"{name}, line {number}: {key!r} twice in one zone; two files were mixed")
    zone.values[key] = value


def _complete(zone: ZoneInfo, name: str, number: int) -> None:
    """Refuse a zone that ends too early, before line `number`, or whose figures cannot be."""
    what = f"{name}, line {number - 1}: zone {zone.name} of node {zone.node} (line {zone.line})"
    for key in _FULL_ZONE if zone.values.get("present") else _EMPTY_ZONE:
        if key not in zone.values:
            raise HostError(f"{what} ends without {key!r}: the file is cut off, or the kernel is older than 3.8")
    v = zone.values
    if not v["managed"] <= v["present"] <= v["spanned"] or v["pages free"] > v["managed"]:
        raise HostError(
            f"{what}: free {v['pages free']}, managed {v['managed']}, present {v['present']}, spanned {v['spanned']}; "
            "accepted is free <= managed <= present <= spanned"
        )
    low, middle, high = zone.watermarks
    if not 0 <= low <= middle <= high:
        raise HostError(f"{what}: watermarks {low}, {middle}, {high}; accepted is min <= low <= high")
