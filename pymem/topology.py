"""The machine: nodes with their zones and CPUs, swap devices, and the disk that files lie on.

Zones are split as on x86-64: DMA below 16 MiB, DMA32 below 4 GiB (of which the last GiB is a hole for
devices), NORMAL above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pymem.codecs import CodecError
from pymem.codecs import get as get_codec
from pymem.errors import ScenarioError
from pymem.units import PAGE_SIZE, parse_bytes, parse_pages, parse_time

#: Keys that a zone in TOML must have.
ZONE_NEEDS = ("name", "start_pfn", "spanned", "present", "managed", "free")
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable")
MIN_MEMORY = 4096  # pages (16 MiB): below, the boot reserves alone would not fit
MAX_MEMORY = 1 << 31  # pages: 8 TiB
MAX_PFN = 1 << 40
MAX_SLOTS = (1 << 32) - 2
MAX_LATENCY = 3600 * 10**9  # ns
MAX_NODES, MAX_CPUS = 64, 256
LOCAL_DISTANCE = 10  # of the firmware's table: 255 would mean unreachable

_DMA_END, _HOLE, _HOLE_END = 4096, 3 << 18, 4 << 18  # page frame numbers
_DMA_RESERVED = 156  # pages of the first MiB and of the memory map: 3840 of 3998 are managed on a PC


@dataclass(frozen=True)
class Disk:
    """A block device.

    Parameters
    ----------
    kind : {"nvme", "sata", "hdd", "ramdisk"}
        Where the other figures come from unless given (reference figures of one 4 KiB request).
    read, write : int or str, optional
        Latency of one request on the idle device, for example ``"80us"``.
    queue_depth : int, optional
        Requests the device works on at once.
    bandwidth : int or str, optional
        Bytes per second.
    rotational : bool, optional
    """

    kind: str = "nvme"
    read: int | str | None = None
    write: int | str | None = None
    queue_depth: int | None = None
    bandwidth: int | str | None = None
    rotational: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in DISK_KINDS:
            raise ScenarioError(f"disk.kind: {self.kind!r}; accepted are {', '.join(sorted(DISK_KINDS))}")
        if self.queue_depth is not None:
            _integer(self.queue_depth, "disk.queue_depth", 1, 65536)
        if self.rotational is not None and not isinstance(self.rotational, bool):
            raise ScenarioError(f"disk.rotational: {self.rotational!r}; accepted is true or false")
        figures = self.figures()
        if figures["bandwidth"] < PAGE_SIZE:
            raise ScenarioError(f"disk.bandwidth: {self.bandwidth!r}; accepted is at least {PAGE_SIZE} bytes/s")
        for name in ("read", "write"):
            if figures[f"{name}_ns"] > MAX_LATENCY:
                raise ScenarioError(f"disk.{name}: {getattr(self, name)!r}; accepted is up to 1h")

    def figures(self) -> dict[str, Any]:
        """What the engine wants to know: ns, requests, bytes/s."""
        read, write, depth, bandwidth, rotational = DISK_KINDS[self.kind]
        return {
            "read_ns": read if self.read is None else parse_time(self.read, "disk.read"),
            "write_ns": write if self.write is None else parse_time(self.write, "disk.write"),
            "queue_depth": depth if self.queue_depth is None else self.queue_depth,
            "bandwidth": bandwidth if self.bandwidth is None else parse_bytes(self.bandwidth, "disk.bandwidth"),
            "rotational": rotational if self.rotational is None else self.rotational,
        }


# read ns, write ns, queue depth, bytes/s, rotational.  Published 4 KiB figures: 7200 rpm disk 7.5/5.4 ms, SATA
# SSD 152/30 µs at depth 1, NVMe 72/24 µs; see docs/model.md.
DISK_KINDS: dict[str, tuple[int, int, int, int, bool]] = {
    "hdd": (8_000_000, 6_000_000, 1, 150_000_000, True),
    "sata": (130_000, 35_000, 32, 500_000_000, False),
    "nvme": (80_000, 25_000, 64, 2_000_000_000, False),
    "ramdisk": (1_000, 1_000, 64, 10_000_000_000, False),
}


#: Whether the pages of a file system have buffer heads.
FILESYSTEMS = {"ext4": True, "ext2": True, "xfs": False, "btrfs": False}


@dataclass(frozen=True, kw_only=True)
class Compression:
    """What makes a swap device a compressed one in memory; see `SwapDevice`.

    Parameters
    ----------
    codec : str
        Of `pymem.codecs`.
    recompress : str, optional
        A second codec for the pages that `recompress_what` selects; its result is kept if it takes less memory.
    recompress_what, writeback_what : {"idle", "huge", "huge_idle"}
        Which pages: not used for `idle_after`, not compressible by `codec`, or both.
    mem_limit : int or str
        Bytes the device may hold; 0: no limit.  A zram that has reached it fails to write, and the page stays in
        memory; a store with a backing device writes its oldest pages there instead.
    backing : Disk, optional
        Where zram writes selected pages as they are, and a store what exceeds `mem_limit`, compressed.
    idle_after : int or str
        Age from which a page is idle, in whole seconds.
    period : int or str
        Distance of the rounds in which zram recompresses and writes back.
    """

    codec: str = "lzo-rle"
    recompress: str | None = None
    recompress_what: str = "idle"
    writeback_what: str = "idle"
    mem_limit: int | str = 0
    backing: Disk | None = None
    idle_after: int | str = "60s"
    period: int | str = "10s"

    def __post_init__(self) -> None:
        for name in (self.codec, self.recompress):
            try:
                get_codec(name or "lz4")
            except CodecError as error:
                raise ScenarioError(f"machine.swap.codec: {error}") from None
        for name in ("recompress_what", "writeback_what"):
            if getattr(self, name) not in SELECTIONS:
                raise ScenarioError(
                    f"machine.swap.{name}: {getattr(self, name)!r}; accepted are {', '.join(SELECTIONS)}"
                )
        if self.backing is not None and not isinstance(self.backing, Disk):
            raise ScenarioError(f"machine.swap.backing: {self.backing!r}; accepted is a Disk")
        parse_bytes(self.mem_limit, "machine.swap.mem_limit")
        if parse_time(self.period, "machine.swap.period") < 1_000_000:
            raise ScenarioError(f"machine.swap.period: {self.period!r}; accepted is 1ms and more")
        parse_time(self.idle_after, "machine.swap.idle_after")


SELECTIONS = {"idle": 1, "huge": 2, "huge_idle": 3}
COMPRESSED_KINDS = ("zram", "store")


@dataclass(frozen=True, init=False)
class SwapDevice:
    """A swap area: on a device of its own, or compressed in memory.

    Parameters
    ----------
    size : int or str
        Bytes or ``"4GiB"``; of a compressed one what it can take before compression (``disksize``).
    kind : str
        Of a disk, see `Disk`; or ``"zram"``; or ``"store"``, compressed memory as Windows has it: like zram, but
        pages are kept compressed whatever they gain, and compressed still on the backing device.
    priority : int, optional
        -1 to 32767, higher is used first; without one, areas come in the order given, after all that have one.
    **figures
        Of a disk `read`, `write`, `queue_depth`, `bandwidth` and `rotational`, see `Disk`; of a compressed one `codec`,
        `recompress`, `recompress_what`, `writeback_what`, `mem_limit`, `backing`, `idle_after` and `period`, see
        `Compression`.
    """

    size: int | str
    disk: Disk
    priority: int | None
    kind: str
    compression: Compression | None

    def __init__(self, size: int | str, kind: str = "nvme", priority: int | None = None, **figures: Any) -> None:
        compressed = kind in COMPRESSED_KINDS
        accepted = ["kind", *_names(Compression)] if compressed else _names(Disk)
        _known(figures, ["size", "priority", *accepted], "machine.swap")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "compression", Compression(**figures) if compressed else None)
        object.__setattr__(self, "disk", Disk("ramdisk") if compressed else Disk(kind, **figures))
        object.__setattr__(self, "priority", priority)
        if not 2 <= self.slots <= MAX_SLOTS:
            raise ScenarioError(f"machine.swap.size: {size!r} is {self.slots} slots; accepted is 2 to {MAX_SLOTS}")
        if priority is not None:
            _integer(priority, "machine.swap.priority", -1, 32767)
        if kind == "store" and self.compression is not None:
            if self.compression.recompress is not None:
                raise ScenarioError("machine.swap.recompress: a store has one codec; leave it out")
            if self.compression.backing is not None and not self.mem_limit_pages:
                raise ScenarioError("machine.swap.mem_limit: missing; a store writes to its backing device above it")

    @property
    def slots(self) -> int:
        """Page-sized slots."""
        return parse_pages(self.size, "machine.swap.size")

    @property
    def mem_limit_pages(self) -> int:
        """Memory a compressed device may hold, in pages; 0: no limit."""
        limit = self.compression.mem_limit if self.compression else 0
        return parse_bytes(limit, "machine.swap.mem_limit") // PAGE_SIZE


@dataclass(frozen=True)
class Zone:
    """One zone in pages, as ``/proc/zoneinfo`` has it.

    Parameters
    ----------
    name : {"DMA", "DMA32", "Normal", "Movable"}
    start_pfn, spanned, present, managed : int
    free : int
        What is not in use when the run begins.
    percpu : int
        Further free pages, in per-CPU lists: a machine that has run for a while has some hundred.
    foreign : int
        Free pages in page blocks of unmovable memory.  When nothing else is free and a program gets these, the kernel
        raises the watermarks of the zone for a while (``watermark_boost_factor``) and wakes kswapd for it alone.
    watermarks : (min, low, high), optional
    protection : sequence of int, optional
        Read off a running kernel.  A kernel computes both at boot, before it gives back the memory of its
        initialisation, so they differ a little from what the tunables would give now; the tunables have no effect
        on what is given here.  (The protection is computed again when somebody reads ``lowmem_reserve_ratio``.)
    """

    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    free: int
    percpu: int = 0
    foreign: int = 0
    watermarks: tuple[int, int, int] | None = None
    protection: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in ZONE_NAMES:
            raise ScenarioError(f"zone.name: {self.name!r}; accepted are {', '.join(ZONE_NAMES)}")
        for name in ("start_pfn", "spanned", "present", "managed", "free"):
            _integer(getattr(self, name), f"zone {self.name}.{name}", 0, MAX_PFN)
        if not 0 <= self.free <= self.managed <= self.present <= self.spanned:
            raise ScenarioError(
                f"zone {self.name}: free {self.free}, managed {self.managed}, present {self.present}, spanned "
                f"{self.spanned}; accepted is free <= managed <= present <= spanned"
            )
        key = f"zone {self.name}"
        _integer(self.percpu, f"{key}.percpu", 0, self.managed - self.free)
        _integer(self.foreign, f"{key}.foreign", 0, self.free)
        for name in ("watermarks", "protection"):
            pages = getattr(self, name)
            if pages is not None:
                if not isinstance(pages, (list, tuple)):
                    raise ScenarioError(f"{key}.{name}: {pages!r}; accepted are numbers of pages")
                for number in pages:
                    _integer(number, f"{key}.{name}", 0, MAX_PFN)
                object.__setattr__(self, name, tuple(pages))
        if self.watermarks is not None and (len(self.watermarks) != 3 or sorted(self.watermarks) != [*self.watermarks]):
            raise ScenarioError(f"{key}.watermarks: {self.watermarks!r}; accepted is min <= low <= high")


@dataclass(frozen=True)
class Node:
    """A NUMA node.

    Parameters
    ----------
    memory : int or str
        Bytes, split into zones by address; 0: a node of CPUs only.
    cpus : int
        0: a node of memory only.
    zones : sequence of Zone
        Instead of `memory`: zones as given, at most one of each name.
    access : int or str
        Time of an access from a CPU of the same node.
    """

    memory: int | str = 0
    cpus: int = 1
    zones: tuple[Zone, ...] = ()
    access: int | str = "90ns"

    def __post_init__(self) -> None:
        object.__setattr__(self, "zones", _all_of(Zone, self.zones, "machine.nodes.zones"))
        names = [zone.name for zone in self.zones]
        if len(set(names)) != len(names):
            raise ScenarioError(f"machine.nodes.zones: {', '.join(names)}; accepted is one zone of each name")
        if parse_time(self.access, "machine.nodes.access") > MAX_LATENCY:
            raise ScenarioError(f"machine.nodes.access: {self.access!r}; accepted is up to 1h")


@dataclass(frozen=True, kw_only=True)
class Boot:
    """Memory that the kernel itself holds when the run begins; None: typical for the size of the machine.

    Parameters
    ----------
    kernel : int or str, optional
        Image, boot allocations and other memory that never comes back.
    slab_reclaimable, slab_freeable, slab_unreclaimable : int or str, optional
        Slab that no shrinker can free although it is called reclaimable, slab that shrinkers free (dentries and
        inodes), and the rest.
    ramfs : int or str
        Part of `kernel`: files of an initial RAM disk, which count as page cache (``Cached``) and never leave memory.
    """

    kernel: int | str | None = None
    slab_reclaimable: int | str | None = None
    slab_freeable: int | str | None = None
    slab_unreclaimable: int | str | None = None
    ramfs: int | str = 0


@dataclass(frozen=True)
class Machine:
    """A machine.

    Parameters
    ----------
    memory : int or str
        Installed memory, for example ``"512MiB"``; not used where `nodes` is given.
    cpus : int
    swap : sequence of SwapDevice
    disk : Disk
        What files lie on.
    filesystem : {"ext4", "ext2", "xfs", "btrfs"}
        The ext ones keep a buffer head (104 bytes of slab) for every page that was written.
    nodes : sequence of Node
        NUMA nodes; empty: one node with `memory` and `cpus`.
    distances : sequence of sequences of int
        SLIT distances, 10 is local; default 10 and 20.
    boot : Boot
        What the kernel holds at the start.
    """

    memory: int | str = "1GiB"
    cpus: int = 2
    swap: tuple[SwapDevice, ...] = ()
    disk: Disk = field(default_factory=Disk)
    filesystem: str = "ext4"
    nodes: tuple[Node, ...] = ()
    distances: tuple[tuple[int, ...], ...] = ()
    boot: Boot = field(default_factory=Boot)

    def __post_init__(self) -> None:
        object.__setattr__(self, "swap", _all_of(SwapDevice, self.swap, "machine.swap"))
        object.__setattr__(self, "nodes", _all_of(Node, self.nodes, "machine.nodes"))
        for name, cls in (("disk", Disk), ("boot", Boot)):
            if not isinstance(getattr(self, name), cls):
                raise ScenarioError(f"machine.{name}: {getattr(self, name)!r}; accepted is a pymem.{cls.__name__}")
        if self.filesystem not in FILESYSTEMS:
            raise ScenarioError(f"machine.filesystem: {self.filesystem!r}; accepted are {', '.join(FILESYSTEMS)}")
        if sum(device.slots for device in self.swap) > MAX_SLOTS:
            raise ScenarioError(f"machine.swap: more than {MAX_SLOTS} slots (16 TiB) together")
        if len(self.swap) > 32:
            raise ScenarioError(f"machine.swap: {len(self.swap)} areas; accepted are up to 32")
        for number, node in enumerate(self.all_nodes):
            _integer(node.cpus, f"machine.nodes[{number}].cpus" if self.nodes else "machine.cpus", 0, MAX_CPUS)
        cpus = sum(node.cpus for node in self.all_nodes)
        if not 1 <= cpus <= MAX_CPUS:
            raise ScenarioError(f"machine.cpus: {cpus} in all; accepted is 1 to {MAX_CPUS}")
        if len(self.nodes) > MAX_NODES:
            raise ScenarioError(f"machine.nodes: {len(self.nodes)}; accepted are up to {MAX_NODES}")
        self._check_distances(len(self.all_nodes))
        managed = sum(zone.managed for zones in self.layout() for zone in zones)
        for number, device in enumerate(self.swap):
            if device.mem_limit_pages > managed:
                raise ScenarioError(
                    f"machine.swap[{number}].mem_limit: {device.mem_limit_pages} pages; accepted is up to {managed}, "
                    "the memory of the machine"
                )

    def _check_distances(self, n: int) -> None:
        accepted = f"{n} rows of {n} numbers from {LOCAL_DISTANCE} to 254"
        rows = self.distances
        if not isinstance(rows, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in rows):
            raise ScenarioError(f"machine.distances: {rows!r}; accepted are {accepted}")
        if rows and [len(row) for row in rows] != [n] * n:
            found = f"{len(rows)} rows of {[len(row) for row in rows]}"
            raise ScenarioError(f"machine.distances: {found}; accepted are {accepted}")
        for i, row in enumerate(rows):
            for distance in row:
                _integer(distance, f"machine.distances[{i}]", LOCAL_DISTANCE, 254)
        object.__setattr__(self, "distances", tuple(map(tuple, rows)))

    @property
    def all_nodes(self) -> tuple[Node, ...]:
        """The nodes, also of a machine that was given without."""
        return self.nodes or (Node(self.memory, self.cpus),)

    def layout(self) -> list[list[Zone]]:
        """Zones of every node with what is free at the start. ScenarioError if the memory is too small."""
        pfn, out = 1, []
        for number, node in enumerate(self.all_nodes):
            if node.zones:
                out.append(list(node.zones))
                continue
            key = f"machine.nodes[{number}].memory" if self.nodes else "machine.memory"
            pages = parse_pages(node.memory, key)
            if pages and not MIN_MEMORY <= pages <= MAX_MEMORY:
                raise ScenarioError(f"{key}: {node.memory!r}; accepted is 16MiB to 8TiB")
            zones, pfn = _split(pages, pfn)
            out.append(zones)
        if not any(out):
            raise ScenarioError("machine.memory: no node has any; accepted is 16MiB to 8TiB in at least one")
        if any(node.zones for node in self.all_nodes):
            held = sum(zone.managed - zone.free for zones in out for zone in zones)
            if sum(self.slab().values()) > held:
                raise ScenarioError(
                    f"machine.boot: slab of {sum(self.slab().values())} pages; accepted is up to the {held} pages that "
                    "the zones say are not free"
                )
        else:
            first = next(i for i, zones in enumerate(out) if zones)
            out[first] = self._boot(out[first], sum(zone.managed for zones in out for zone in zones))
        return out

    def slab(self) -> dict[str, int]:
        """Pages of slab in use when the run begins, by the names of `Boot`."""
        zones = [zone for zones in self._unbooted() for zone in zones]
        total = sum(zone.managed for zone in zones)
        most = 65536
        if any(node.zones for node in self.all_nodes):  # what the kernel holds is given too, and slab is part of it
            most = sum(zone.managed - zone.free for zone in zones) // 4
        typical = {"slab_reclaimable": total // 128, "slab_freeable": total // 256, "slab_unreclaimable": total // 64}
        out = {}
        for name, pages in typical.items():
            given = getattr(self.boot, name)
            out[name] = min(pages, most) if given is None else parse_pages(given, f"machine.boot.{name}")
        return out

    def _unbooted(self) -> list[list[Zone]]:
        pfn, out = 1, []
        for node in self.all_nodes:
            zones, pfn = (list(node.zones), pfn) if node.zones else _split(parse_pages(node.memory), pfn)
            out.append(zones)
        return out

    def _boot(self, zones: list[Zone], total: int) -> list[Zone]:
        """The first node that has memory, with the kernel's own taken from its largest zone."""
        given = self.boot.kernel
        kernel = min(total // 32, 16384) if given is None else parse_pages(given, "machine.boot.kernel")
        held = kernel + sum(self.slab().values())
        largest = max(range(len(zones)), key=lambda i: zones[i].managed)
        zone = zones[largest]
        if held > zone.managed // 2:
            raise ScenarioError(
                f"machine.boot: the kernel would hold {held} of {zone.managed} pages; accepted is up to half"
            )
        zones[largest] = Zone(
            zone.name, zone.start_pfn, zone.spanned, zone.present, zone.managed, zone.managed - held
        )
        return zones


def _split(pages: int, pfn: int) -> tuple[list[Zone], int]:
    """Zones of `pages` frames from `pfn` on, and the first frame number after them."""
    zones = []
    while pages > 0:
        if _HOLE <= pfn < _HOLE_END:
            pfn = _HOLE_END
        name, end = "Normal", pfn + pages
        if pfn < _HOLE:
            name, end = ("DMA", _DMA_END) if pfn < _DMA_END else ("DMA32", _HOLE)
        size = min(pages, end - pfn)
        # The memory map takes 64 bytes of each frame; the first MiB belongs to the firmware.
        reserved = _DMA_RESERVED if name == "DMA" else size // 64
        zones.append(Zone(name, pfn, size, size, max(size - reserved, 0), max(size - reserved, 0)))
        pages -= size
        pfn += size
    return zones, pfn


def _integer(value: Any, key: str, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ScenarioError(f"{key}: {value!r}; accepted is {low} to {high}")


def _all_of(cls: type, values: Any, key: str) -> tuple[Any, ...]:
    """The values as a tuple, when they are objects of `cls`."""
    if not isinstance(values, (list, tuple)):
        raise ScenarioError(f"{key}: {values!r}; accepted is a sequence of {cls.__name__} objects")
    for item in values:
        if not isinstance(item, cls):
            raise ScenarioError(f"{key}: {item!r}; accepted are {cls.__name__} objects")
    return tuple(values)


def _known(found: dict[str, Any], accepted: list[str], key: str) -> None:
    for name in found:
        if name not in accepted:
            raise ScenarioError(f"{key}.{name}: unknown key; accepted are {', '.join(accepted)}")


def _names(cls: type) -> list[str]:
    return [f.name for f in fields(cls)]


def _table(value: Any, key: str, accepted: list[str]) -> dict[str, Any]:
    """A copy of the table, when it has accepted keys only."""
    if not isinstance(value, dict):
        raise ScenarioError(f"{key}: {value!r}; accepted is a table")
    _known(value, accepted, key)
    return dict(value)


def _tables(value: Any, key: str, accepted: list[str], needed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The tables of an array, each checked by `_table` and for the keys it must have."""
    if not isinstance(value, list):
        raise ScenarioError(f"{key}: {value!r}; accepted is an array of tables")
    tables = [_table(item, f"{key}[{number}]", accepted) for number, item in enumerate(value)]
    for number, table in enumerate(tables):
        for name in needed:
            if name not in table:
                raise ScenarioError(f"{key}[{number}].{name}: missing")
    return tables


def machine_from(value: Any, key: str = "machine") -> Machine:
    """The machine of a TOML table; ScenarioError names an unknown key or a value that is not accepted."""
    table = _table(value, key, _names(Machine))
    accepted = ["size", "priority", *_names(Disk), *_names(Compression)]
    entries = _tables(table.pop("swap", []), f"{key}.swap", accepted, ["size"])
    table["swap"] = []
    for number, entry in enumerate(entries):
        if "backing" in entry:
            backing = _table(entry["backing"], f"{key}.swap[{number}].backing", _names(Disk))
            entry = {**entry, "backing": Disk(**backing)}
        table["swap"].append(SwapDevice(**entry))
    if "disk" in table:
        table["disk"] = Disk(**_table(table["disk"], f"{key}.disk", _names(Disk)))
    if "boot" in table:
        table["boot"] = Boot(**_table(table["boot"], f"{key}.boot", _names(Boot)))
    table["nodes"] = _nodes_from(table.get("nodes", []), f"{key}.nodes")
    return Machine(**table)


def _nodes_from(value: Any, key: str) -> list[Node]:
    nodes = []
    for number, entry in enumerate(_tables(value, key, _names(Node))):
        zones = _tables(entry.pop("zones", []), f"{key}[{number}].zones", _names(Zone), ZONE_NEEDS)
        nodes.append(Node(**entry, zones=tuple(Zone(**zone) for zone in zones)))
    return nodes
