"""From the files of a host to a machine.

The memory that its programs and its page cache had when the files were read is free in the simulated machine: there,
the tasks of a scenario take their place.  What the kernel held, slab and page tables and huge pages and locked memory
among it, stays taken.

Watermarks and reserves follow from the tunables, as in the kernel, so that changing a tunable changes them.  A kernel
whose own differ, because it computed them when the zones were not yet what they are now, has them written out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pymem.errors import HostError
from pymem.hosts import devices, parse
from pymem.hosts.settings import settings
from pymem.hosts.source import Files
from pymem.scenario import Scenario, Task
from pymem.simulation import build
from pymem.topology import MAX_CPUS, ZONE_NAMES, Boot, Machine, Node, Zone
from pymem.tunables import kernel_of
from pymem.units import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymem.hosts.parse import ZoneInfo

_LRU = ("nr_zone_inactive_anon", "nr_zone_active_anon", "nr_zone_inactive_file", "nr_zone_active_file")
_LARGE_PAGES = (16 << 10, 64 << 10)  # of ARM and POWER
_BLOCK = 1024  # frames of the largest free block
_SPARSE = 1 << 22  # frames of 16 GiB: so much may be holes before zones are moved together


@dataclass(frozen=True)
class Host:
    """A host, read.

    Attributes
    ----------
    source : str
        Where its files are.
    release : str
        Of its kernel, as ``uname -r`` has it; may be empty.
    kernel : str
        The nearest of the simulated ones.
    machine : Machine
    vm : dict
        Tunables that differ from their defaults.
    notes : tuple of str
        What was left out or assumed, and why.
    state : tuple of str
        How the host was when its files were read.
    zones : tuple of ZoneInfo
        As the host has them; empty if it does not show them.
    """

    source: str
    release: str
    kernel: str
    machine: Machine
    vm: dict[str, int | str]
    notes: tuple[str, ...]
    state: tuple[str, ...]
    zones: tuple[ZoneInfo, ...]

    def scenario(self, tasks: Sequence[Task], **more: Any) -> Scenario:
        """A scenario of this machine; `more` goes to `pymem.Scenario`."""
        return Scenario(machine=self.machine, vm=self.vm, kernel=self.kernel, tasks=tasks, **more)

    def to_toml(self) -> str:
        """The text of a scenario file of this machine, with an example task and all notes as comments."""
        from pymem.hosts.toml import host_toml

        return host_toml(self)


def from_host(root: str | Path = "/") -> Host:
    """The machine of this host, or of a saved copy of another.

    Parameters
    ----------
    root : str or Path
        ``/``; or a folder with copies of ``proc`` and ``sys`` (an unpacked sosreport is one), or with the files of
        ``/proc`` alone; or a tar archive of any of these, packed or not.

    Raises
    ------
    HostError
        Not a copy of a host, or files that are cut off, mixed up or of a machine that cannot be simulated; names file
        and line.
    ScenarioError
        The machine is beyond what is simulated.
    """
    files = Files(root)
    notes: list[str] = []
    release = _release(files)
    kernel = kernel_of(release) if release else "6.12"
    if not release:
        notes.append(f"the version of its kernel is not known: {kernel} is simulated")
    text = files.text("proc/meminfo")
    memory = None if text is None else parse.meminfo(text, files.shown("proc/meminfo"))
    text = files.text("proc/zoneinfo")
    zones = [] if text is None else parse.zoneinfo(text, files.shown("proc/zoneinfo"))
    _check(files, memory, zones, notes)
    disk = devices.main_disk(files)
    names = list(dict.fromkeys(z.name for z in zones))
    vm, least = settings(files, kernel, names, disk, notes)
    size = sum(z.values["managed"] for z in zones) * PAGE_SIZE or (memory or {}).get("MemTotal", 0) * 1024
    common: dict[str, Any] = {
        "swap": devices.swap(files, size, notes), "disk": devices.disk(files, disk, notes),
        "filesystem": devices.filesystem(files, notes),
    }  # fmt: skip
    cpus = _cpus(files, zones)
    if zones:
        ids = sorted({zone.node for zone in zones} | {nid for nid in cpus if nid >= 0})
        machine = _machine(files, zones, ids, cpus, common, notes)
    else:
        assert memory is not None
        machine = _without_zones(memory["MemTotal"], cpus, common, notes)
    vm = _reserve(machine, vm, kernel, least)
    if zones:
        machine = _marks(machine, vm, kernel, zones, ids, notes)
    _left_out(files, memory, notes)
    state = _state(files, memory)
    return Host(str(root), release, kernel, machine, vm, tuple(notes), tuple(state), tuple(zones))


def _release(files: Files) -> str:
    found = files.word("proc/sys/kernel/osrelease")
    if found is None:
        for path in ("proc/version", "sos_commands/kernel/uname_-a"):
            match = re.search(r"(?:Linux version|Linux \S+) (\d+\.\d\S*)", files.word(path) or "")
            found = found or (match[1] if match else None)
    if found is not None and not re.match(r"\d{1,3}\.\d{1,3}", found):
        where = files.shown("proc/sys/kernel/osrelease")
        raise HostError(f"{where}, line 1: {found!r:.80} is no version; accepted is one such as '6.1.0-18-amd64'")
    return found or ""


def _check(files: Files, memory: dict[str, int] | None, zones: list[ZoneInfo], notes: list[str]) -> None:
    """Refuse figures that do not belong together, and machines that are not simulated."""
    if not zones:
        if memory is None:  # one of the two made it a host, so it is there and empty
            raise HostError(f"{files.root}: neither /proc/zoneinfo nor /proc/meminfo can be read")
        return
    where = files.shown("proc/zoneinfo")
    for zone in zones:
        if zone.name not in ZONE_NAMES and zone.values["managed"] and zone.name != "Device":
            raise HostError(
                f"{where}, line {zone.line}: zone {zone.name} is not simulated; accepted are {', '.join(ZONE_NAMES)}"
            )
    managed = sum(zone.values["managed"] for zone in zones)
    if memory is None:
        notes.append("/proc/meminfo is not there: pages are taken to be 4 KiB")
        return
    total = memory["MemTotal"] * 1024
    if total > managed * PAGE_SIZE * 1.02:
        # Memory that is there and not managed: a balloon holds it, or a hypervisor has not handed it over yet.
        if total > sum(zone.values["present"] for zone in zones) * PAGE_SIZE * 1.02:
            _refuse(files, managed, memory["MemTotal"])
        notes.append(
            f"/proc/meminfo shows {memory['MemTotal']} kB, the zones manage {managed * PAGE_SIZE >> 10} kB of what is "
            "present, as with memory that a balloon holds: the zones count, as they do for the watermarks"
        )
    if total < managed * PAGE_SIZE * 0.98:
        notes.append(
            f"/proc/meminfo shows {memory['MemTotal']} kB, less than the zones have, as in a container: the zones count"
        )


def _refuse(files: Files, managed: int, total: int) -> NoReturn:
    """More memory in meminfo than the pages of zoneinfo can be."""
    where = files.shown("proc/zoneinfo")
    for size in _LARGE_PAGES:
        if abs(total * 1024 / max(managed, 1) / size - 1) < 0.02:
            raise HostError(
                f"{where}: {managed} managed pages are {total} kB if pages have {size >> 10} KiB; "
                "accepted are pages of 4 KiB"
            )
    raise HostError(
        f"{where}: {managed} managed pages, but {total} kB in {files.shown('proc/meminfo')}; the file is cut off, or "
        "the two are of different hosts"
    )


def _cpus(files: Files, zones: list[ZoneInfo]) -> dict[int, int]:
    """CPUs by node; -1 stands for those of nodes not known."""
    nodes = [int(name[4:]) for name in files.names("sys/devices/system/node") if re.fullmatch(r"node\d{1,4}", name)]
    found = {}
    for nid in nodes:
        path = f"sys/devices/system/node/node{nid}/cpulist"
        text = files.text(path)
        if text is not None:
            found[nid] = len(parse.cpu_list(text, files.shown(path)))
    if found:
        return found
    path = "sys/devices/system/cpu/online"
    text = files.text(path)
    if text and text.strip():
        return {-1: len(parse.cpu_list(text, files.shown(path)))}
    cpus = max((zone.cpus for zone in zones), default=0)
    return {-1: cpus or len(re.findall(r"^processor\s*:", files.text("proc/cpuinfo") or "", re.MULTILINE))}


def _share(cpus: dict[int, int], nodes: list[int], notes: list[str]) -> dict[int, int]:
    """CPUs of each node, no more than can be simulated."""
    out = {nid: cpus.get(nid, 0) for nid in nodes}
    if -1 in cpus:
        total = cpus[-1] or 2
        if not cpus[-1]:
            notes.append(f"the number of its CPUs is not known: {total} are taken")
        if len(nodes) > 1:
            notes.append("which CPUs are on which node is not known: they are shared out evenly")
        out = {nid: total // len(nodes) + (i < total % len(nodes)) for i, nid in enumerate(nodes)}
    total = sum(out.values())
    if total > MAX_CPUS:
        notes.append(f"{total} CPUs: {MAX_CPUS} are simulated, shared among the nodes in proportion")
        out = {nid: max(n * MAX_CPUS // total, min(n, 1)) for nid, n in out.items()}
    return out


def _machine(
    files: Files, zones: list[ZoneInfo], ids: list[int], cpus: dict[int, int], common: dict[str, Any],
    notes: list[str],
) -> Machine:  # fmt: skip
    if ids != list(range(len(ids))):
        notes.append(f"nodes {', '.join(map(str, ids))} are numbered 0 to {len(ids) - 1} here")
    share = _share(cpus, ids, notes)
    placed = {id(z): _zone(z) for z in zones if z.values["managed"] and z.name in ZONE_NAMES}
    if any(z.name == "Device" and z.values["present"] for z in zones):
        notes.append("zone Device: its pages are not memory for programs")
    if _scattered(list(placed.values())):
        notes.append("zones overlap or lie far apart: they are moved together, without their holes")
        pfn = _BLOCK
        for key, zone in placed.items():
            placed[key] = replace(zone, start_pfn=pfn, spanned=zone.present)
            pfn += -(-zone.present // _BLOCK) * _BLOCK
    nodes = [
        Node(0, share[nid], tuple(placed[id(z)] for z in zones if z.node == nid and id(z) in placed)) for nid in ids
    ]
    stats = next((z.node_stats for z in zones if z.node == ids[0] and z.node_stats), {})
    # Slab is placed on the first node, within what its kernel holds.
    left = sum(z.managed - z.free - z.percpu for z in nodes[0].zones)
    slab = {}
    for boot, stat in (("slab_unreclaimable", "nr_slab_unreclaimable"), ("slab_freeable", "nr_slab_reclaimable")):
        pages = min(stats.get(stat, 0), left)
        slab[boot], left = pages * PAGE_SIZE, left - pages
    locked = sum(z.node_stats.get("nr_unevictable", 0) for z in zones)
    if locked:
        notes.append(f"{locked} unevictable pages of its programs count as memory of the kernel")
    return Machine(
        nodes=tuple(nodes), distances=_distances(files, ids, notes), boot=Boot(slab_reclaimable=0, **slab), **common
    )


def _zone(info: ZoneInfo) -> Zone:
    """A zone with all memory free that programs and page cache had."""
    v = info.values
    free = min(v["pages free"] + sum(v.get(name, 0) for name in _LRU), v["managed"])
    return Zone(
        info.name, v["start_pfn"], v["spanned"], v["present"], v["managed"], free, min(info.percpu, v["managed"] - free)
    )


def _scattered(zones: list[Zone]) -> bool:
    """Whether frames would be numbered twice, or mostly in vain."""
    spans = sorted((z.start_pfn, z.start_pfn + z.spanned) for z in zones)
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        return True
    present = sum(z.present for z in zones)
    return bool(spans) and spans[-1][1] > 2 * present + _SPARSE


def _distances(files: Files, ids: list[int], notes: list[str]) -> tuple[tuple[int, ...], ...]:
    rows = []
    for nid in ids:
        path = f"sys/devices/system/node/node{nid}/distance"
        text = files.text(path)
        if text is None:
            if len(ids) > 1:
                notes.append("distances between its nodes are not known: 10 and 20 are taken")
            return ()
        row = parse.distances(text, files.shown(path))
        if len(row) != len(ids):
            raise HostError(f"{files.shown(path)}, line 1: {len(row)} distances; accepted are {len(ids)}, one per node")
        rows.append(tuple(min(distance, 254) for distance in row))
    return tuple(rows) if len(ids) > 1 else ()


def _without_zones(total_kb: int, cpus: dict[int, int], common: dict[str, Any], notes: list[str]) -> Machine:
    """The machine of a host that shows no zones, such as a container may be."""
    notes.append("/proc/zoneinfo is not there: zones are split as on a PC, their watermarks computed")
    pages = total_kb // (PAGE_SIZE // 1024)
    count = _share({-1: sum(cpus.values())}, [0], notes)[0]
    # The memory map, which MemTotal leaves out, takes a 64th.
    return Machine(memory=(pages + pages // 63) * PAGE_SIZE, cpus=count, **common)


def _zones(machine: Machine, vm: dict[str, int | str], kernel: str) -> tuple[list[dict[str, Any]], int]:
    """The zones of the simulated machine as its engine has them, and its min_free_kbytes."""
    from pymem.workloads import Uniform

    task = Task("probe", Uniform(PAGE_SIZE, accesses=1))
    engine, _ = build(Scenario(machine=machine, vm=vm, kernel=kernel, tasks=[task], sample_interval=0))
    return engine.zones(), engine.min_free_kbytes


def _reserve(machine: Machine, vm: dict[str, int | str], kernel: str, least: int | None) -> dict[str, int | str]:
    """The tunables with min_free_kbytes, unless the machine would come to the same by itself."""
    if least is None or least == _zones(machine, vm, kernel)[1]:
        return vm
    return {"min_free_kbytes": least, **vm}


def _marks(
    machine: Machine, vm: dict[str, int | str], kernel: str, live: list[ZoneInfo], ids: list[int], notes: list[str]
) -> Machine:
    """The machine with the watermarks and reserves of the host written out where they do not follow by themselves."""
    simulated = {(ids[z["node"]], ZONE_NAMES[z["idx"]]): z for z in _zones(machine, vm, kernel)[0]}
    nodes = list(machine.all_nodes)
    for info in live:
        z = simulated.get((info.node, info.name))
        if z is None:
            continue
        nid = z["node"]
        given: dict[str, Any] = {}
        marks = (z["min"], z["low"], z["high"])
        if marks != info.watermarks:
            given["watermarks"] = info.watermarks
            notes.append(
                f"node {nid}, zone {info.name}: watermarks {_list(info.watermarks)} are the host's, which its tunables "
                f"do not explain; they would give {_list(marks)}"
            )
        order = [other.name for other in live if other.node == info.node]
        wanted = protection(info, order)
        if wanted is not None and wanted != z["protection"]:
            given["protection"] = tuple(wanted)
            notes.append(
                f"node {nid}, zone {info.name}: the reserves {_list(wanted)} are the host's; its tunables would give "
                f"{_list(z['protection'])}"
            )
        if given:
            zones = [replace(zone, **given) if zone.name == info.name else zone for zone in nodes[nid].zones]
            nodes[nid] = replace(nodes[nid], zones=tuple(zones))
    return replace(machine, nodes=tuple(nodes))


def protection(info: ZoneInfo, order: list[str]) -> list[int] | None:
    """lowmem_reserve of a zone by `ZONE_NAMES`; None if the file does not list all zones of the node, `order`."""
    if len(order) != len(info.protection):
        if len(info.protection) != len(ZONE_NAMES) + 1:
            return None
        order = [*ZONE_NAMES, "Device"]
    by_name = dict(zip(order, info.protection, strict=True))
    return [by_name.get(name, 0) for name in ZONE_NAMES]


def _list(pages: Sequence[int]) -> str:
    return ", ".join(map(str, pages))


def _left_out(files: Files, memory: dict[str, int] | None, notes: list[str]) -> None:
    """Notes on what the host has and the simulation does not."""
    enabled = files.word("sys/kernel/mm/lru_gen/enabled")
    if enabled is not None and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", enabled) and int(enabled, 16):
        notes.append("the multi-generational LRU is on; the classic lists are simulated")
    huge = (memory or {}).get("HugePages_Total", 0)
    if huge:
        notes.append(f"{huge} huge pages are set aside; they count as memory of the kernel")
    if (files.word("sys/kernel/mm/transparent_hugepage/enabled") or "[never]").find("[never]") < 0:
        notes.append("transparent huge pages are on; they are not simulated beyond their part in min_free_kbytes")
    if (files.word("sys/fs/cgroup/memory.max") or "max") != "max":
        notes.append("memory.max of its control group limits what programs get; control groups are not simulated")


def _state(files: Files, memory: dict[str, int] | None) -> list[str]:
    """What the host was like when its files were read: for a reader, without effect."""
    out = []
    if memory:
        levels = ("MemTotal", "MemFree", "MemAvailable", "AnonPages", "Cached", "SwapFree")
        out.append(", ".join(f"{name} {memory[name]} kB" for name in levels if name in memory))
    text = files.text("proc/pressure/memory")
    if text:
        for kind, averages in parse.pressure(text, files.shown("proc/pressure/memory")).items():
            out.append(f"memory pressure {kind}: {averages[0]}, {averages[1]}, {averages[2]} % over 10, 60, 300 s")
    text = files.text("proc/vmstat")
    if text:
        counters = parse.vmstat(text, files.shown("proc/vmstat"))
        shown = ("pswpin", "pswpout", "pgscan_direct", "pgscan_kswapd", "oom_kill")
        out.append("since its start: " + ", ".join(f"{name} {counters[name]}" for name in shown if name in counters))
    return out
