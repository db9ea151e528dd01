"""The machine: nodes with their zones and CPUs, swap devices, and the disk that files lie on.

Zones are split as on x86-64: DMA below 16 MiB, DMA32 below 4 GiB (of which the last GiB is a hole for
devices), NORMAL above.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from pymem.codecs import CodecError
from pymem.codecs import get as get_codec
from pymem.errors import ScenarioError
from pymem.units import PAGE_SIZE, parse_bytes, parse_pages, parse_time

ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable")
MIN_MEMORY = 4096  # pages (16 MiB): below, the boot reserves alone would not fit
MAX_MEMORY = 1 << 31  # pages: 8 TiB
MAX_SLOTS = (1 << 32) - 2
MAX_NODES, MAX_CPUS = 64, 256

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
        if self.kind not in DISK_KINDS:
            raise ScenarioError(f"disk.kind: {self.kind!r}; accepted are {', '.join(sorted(DISK_KINDS))}")
        depth = self.queue_depth
        if depth is not None and (not isinstance(depth, int) or not 1 <= depth <= 65536):
            raise ScenarioError(f"disk.queue_depth: {depth!r}; accepted is 1 to 65536")
        if self.figures()["bandwidth"] < PAGE_SIZE:
            raise ScenarioError(f"disk.bandwidth: {self.bandwidth!r}; accepted is at least {PAGE_SIZE} bytes/s")

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
    read, write, queue_depth, bandwidth, rotational
        Of a disk, see `Disk`.
    priority : int, optional
        -1 to 32767, higher is used first; without one, areas come in the order given, after all that have one.
    codec, recompress, recompress_what, writeback_what, mem_limit, backing, idle_after, period
        Of a compressed one, see `Compression`.
    """

    size: int | str
    disk: Disk
    priority: int | None
    kind: str
    compression: Compression | None

    def __init__(self, size: int | str, kind: str = "nvme", priority: int | None = None, **figures: Any) -> None:
        compressed = kind in COMPRESSED_KINDS
        kinds = fields(Compression) if compressed else fields(Disk)
        _known(figures, [f.name for f in kinds if f.name != "kind"], "machine.swap")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "compression", Compression(**figures) if compressed else None)
        object.__setattr__(self, "disk", Disk("ramdisk") if compressed else Disk(kind, **figures))
        object.__setattr__(self, "priority", priority)
        if not 2 <= self.slots <= MAX_SLOTS:
            raise ScenarioError(f"machine.swap.size: {size!r} is {self.slots} slots; accepted is 2 to {MAX_SLOTS}")
        if priority is not None and (not isinstance(priority, int) or not -1 <= priority <= 32767):
            raise ScenarioError(f"machine.swap.priority: {priority!r}; accepted is -1 to 32767")
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
    """One zone in pages, as ``/proc/zoneinfo`` has it; `free` is what is not in use when the run begins."""

    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    free: int

    def __post_init__(self) -> None:
        if self.name not in ZONE_NAMES:
            raise ScenarioError(f"zone.name: {self.name!r}; accepted are {', '.join(ZONE_NAMES)}")
        if not 0 <= self.free <= self.managed <= self.present <= self.spanned:
            raise ScenarioError(
                f"zone {self.name}: free {self.free}, managed {self.managed}, present {self.present}, spanned "
                f"{self.spanned}; accepted is free <= managed <= present <= spanned"
            )


@dataclass(frozen=True)
class Node:
    """A NUMA node: `memory` bytes split into zones by address, or `zones` as given; `cpus` may be 0."""

    memory: int | str = 0
    cpus: int = 1
    zones: tuple[Zone, ...] = ()
    access: int | str = "90ns"


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
    """

    kernel: int | str | None = None
    slab_reclaimable: int | str | None = None
    slab_freeable: int | str | None = None
    slab_unreclaimable: int | str | None = None


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
    nodes: tuple[Node, ...] = ()
    distances: tuple[tuple[int, ...], ...] = ()
    boot: Boot = field(default_factory=Boot)

    def __post_init__(self) -> None:
        for name in ("swap", "nodes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for item in self.swap:
            if not isinstance(item, SwapDevice):
                raise ScenarioError(f"machine.swap: {item!r}; accepted are SwapDevice objects")
        if sum(device.slots for device in self.swap) > MAX_SLOTS:
            raise ScenarioError(f"machine.swap: more than {MAX_SLOTS} slots (16 TiB) together")
        if len(self.swap) > 32:
            raise ScenarioError(f"machine.swap: {len(self.swap)} areas; accepted are up to 32")
        cpus = [node.cpus for node in self.all_nodes]
        if any(isinstance(c, bool) or not isinstance(c, int) or c < 0 for c in cpus) or not 1 <= sum(cpus) <= MAX_CPUS:
            raise ScenarioError(f"machine.cpus: {self.cpus!r}; accepted is 1 to {MAX_CPUS} in all")
        if len(self.nodes) > MAX_NODES:
            raise ScenarioError(f"machine.nodes: {len(self.nodes)}; accepted are up to {MAX_NODES}")
        n = len(self.all_nodes)
        if self.distances and [len(row) for row in self.distances] != [n] * n:
            raise ScenarioError(f"machine.distances: accepted are {n} rows of {n} numbers")
        self.layout()

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
        if not any(node.zones for node in self.all_nodes):
            out[0] = self._boot(out[0], sum(zone.managed for zones in out for zone in zones))
        return out

    def slab(self) -> dict[str, int]:
        """Pages of slab in use when the run begins, by the names of `Boot`."""
        total = sum(zone.managed for zones in self._unbooted() for zone in zones)
        typical = {"slab_reclaimable": total // 128, "slab_freeable": total // 256, "slab_unreclaimable": total // 64}
        out = {}
        for name, pages in typical.items():
            given = getattr(self.boot, name)
            out[name] = min(pages, 65536) if given is None else parse_pages(given, f"machine.boot.{name}")
        return out

    def _unbooted(self) -> list[list[Zone]]:
        pfn, out = 1, []
        for node in self.all_nodes:
            zones, pfn = (list(node.zones), pfn) if node.zones else _split(parse_pages(node.memory), pfn)
            out.append(zones)
        return out

    def _boot(self, zones: list[Zone], total: int) -> list[Zone]:
        """Node 0 with the kernel's own memory taken from its largest zone."""
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


def _known(found: dict[str, Any], accepted: list[str], key: str) -> None:
    for name in found:
        if name not in accepted:
            raise ScenarioError(f"{key}.{name}: unknown key; accepted are {', '.join(accepted)}")


def _table(cls: type, value: Any, key: str, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table itself, when all its keys are fields of `cls` (or `extra`)."""
    if not isinstance(value, dict):
        raise ScenarioError(f"{key}: {value!r}; accepted is a table")
    _known(value, [*(f.name for f in fields(cls)), *extra], key)
    return value


def machine_from(value: Any, key: str = "machine") -> Machine:
    """The machine of a TOML table; ScenarioError names an unknown key or a value that is not accepted."""
    table = dict(_table(Machine, value, key))
    swaps = table.get("swap", [])
    if not isinstance(swaps, list):
        raise ScenarioError(f"{key}.swap: {swaps!r}; accepted is an array of tables")
    figures = tuple(f.name for cls in (Disk, Compression) for f in fields(cls))
    table["swap"] = []
    for number, item in enumerate(swaps):
        entry = _table(SwapDevice, item, f"{key}.swap[{number}]", figures)
        if "size" not in entry:
            raise ScenarioError(f"{key}.swap[{number}].size: missing")
        if "backing" in entry:
            backing = _table(Disk, entry["backing"], f"{key}.swap[{number}].backing")
            entry = {**entry, "backing": Disk(**backing)}
        table["swap"].append(SwapDevice(**entry))
    if "disk" in table:
        table["disk"] = Disk(**_table(Disk, table["disk"], f"{key}.disk"))
    if "boot" in table:
        table["boot"] = Boot(**_table(Boot, table["boot"], f"{key}.boot"))
    nodes = []
    for number, item in enumerate(table.get("nodes", [])):
        entry = dict(_table(Node, item, f"{key}.nodes[{number}]"))
        entry["zones"] = tuple(
            Zone(**_table(Zone, zone, f"{key}.nodes[{number}].zones[{k}]"))
            for k, zone in enumerate(entry.get("zones", []))
        )
        nodes.append(Node(**entry))
    table["nodes"] = nodes
    if "distances" in table:
        table["distances"] = tuple(tuple(row) for row in table["distances"])
    return Machine(**table)
