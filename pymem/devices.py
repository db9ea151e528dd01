"""Block devices: the disk that files lie on, and swap areas, on disks or compressed in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pymem.codecs import CodecError
from pymem.codecs import get as get_codec
from pymem.errors import ScenarioError
from pymem.units import PAGE_SIZE, parse_bytes, parse_pages, parse_time

MAX_SLOTS = (1 << 32) - 2
MAX_LATENCY = 3600 * 10**9  # ns


@dataclass(frozen=True)
class Disk:
    """A block device.

    Parameters
    ----------
    kind : {"nvme", "sata", "hdd", "pmem", "ramdisk"}
        Where the other figures come from unless given (reference figures of one 4 KiB request).
    read, write : int or str, optional
        Latency of one request on the idle device, for example ``"80us"``.
    queue_depth : int, optional
        Requests the device works on at once.
    bandwidth : int or str, optional
        Bytes per second.
    rotational : bool, optional
    synchronous : bool, optional
        Memory that a CPU copies to and from while it waits (brd, pmem): a request takes CPU time instead of waiting,
        and a page swapped in from there skips the swap cache (SWP_SYNCHRONOUS_IO).
    """

    kind: str = "nvme"
    read: int | str | None = None
    write: int | str | None = None
    queue_depth: int | None = None
    bandwidth: int | str | None = None
    rotational: bool | None = None
    synchronous: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in DISK_KINDS:
            raise ScenarioError(f"disk.kind: {self.kind!r}; accepted are {', '.join(sorted(DISK_KINDS))}")
        if self.queue_depth is not None:
            integer(self.queue_depth, "disk.queue_depth", 1, 65536)
        for name in ("rotational", "synchronous"):
            if not isinstance(getattr(self, name), bool | None):
                raise ScenarioError(f"disk.{name}: {getattr(self, name)!r}; accepted is true or false")
        figures = self.figures()
        if figures["bandwidth"] < PAGE_SIZE:
            raise ScenarioError(f"disk.bandwidth: {self.bandwidth!r}; accepted is at least {PAGE_SIZE} bytes/s")
        for name in ("read", "write"):
            if figures[f"{name}_ns"] > MAX_LATENCY:
                raise ScenarioError(f"disk.{name}: {getattr(self, name)!r}; accepted is up to 1h")

    def figures(self) -> dict[str, Any]:
        """What the engine wants to know: ns, requests, bytes/s."""
        read, write, depth, bandwidth, rotational, synchronous = DISK_KINDS[self.kind]
        return {
            "read_ns": read if self.read is None else parse_time(self.read, "disk.read"),
            "write_ns": write if self.write is None else parse_time(self.write, "disk.write"),
            "queue_depth": depth if self.queue_depth is None else self.queue_depth,
            "bandwidth": bandwidth if self.bandwidth is None else parse_bytes(self.bandwidth, "disk.bandwidth"),
            "rotational": rotational if self.rotational is None else self.rotational,
            "synchronous": synchronous if self.synchronous is None else self.synchronous,
        }


# read ns, write ns, queue depth, bytes/s, rotational, synchronous.  Published 4 KiB figures: 7200 rpm disk 7.5/5.4 ms,
# SATA SSD 152/30 µs at depth 1, NVMe 72/24 µs; see docs/model.md.
DISK_KINDS: dict[str, tuple[int, int, int, int, bool, bool]] = {
    "hdd": (8_000_000, 6_000_000, 1, 150_000_000, True, False),
    "sata": (130_000, 35_000, 32, 500_000_000, False, False),
    "nvme": (80_000, 25_000, 64, 2_000_000_000, False, False),
    "pmem": (1_000, 2_000, 64, 6_000_000_000, False, True),
    "ramdisk": (1_000, 1_000, 64, 10_000_000_000, False, True),
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
    priority : int, optional
        -1 to 32767, higher is used first; without one, areas come in the order given, after all that have one.
    **figures
        Of a disk `read`, `write`, `queue_depth`, `bandwidth`, `rotational` and `synchronous`, see `Disk`; of a
        compressed one `codec`, `recompress`, `recompress_what`, `writeback_what`, `mem_limit`, `backing`, `idle_after`
        and `period`, see `Compression`.
    """

    size: int | str
    disk: Disk
    priority: int | None
    kind: str
    compression: Compression | None

    def __init__(self, size: int | str, kind: str = "nvme", priority: int | None = None, **figures: Any) -> None:
        compressed = kind in COMPRESSED_KINDS
        accepted = ["kind", *field_names(Compression)] if compressed else field_names(Disk)
        known(figures, ["size", "priority", *accepted], "machine.swap")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "compression", Compression(**figures) if compressed else None)
        object.__setattr__(self, "disk", Disk("ramdisk") if compressed else Disk(kind, **figures))
        object.__setattr__(self, "priority", priority)
        if not 2 <= self.slots <= MAX_SLOTS:
            raise ScenarioError(f"machine.swap.size: {size!r} is {self.slots} slots; accepted is 2 to {MAX_SLOTS}")
        if priority is not None:
            integer(priority, "machine.swap.priority", -1, 32767)
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


def integer(value: Any, key: str, low: int, high: int) -> None:
    """Raise ScenarioError unless the value is an integer within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ScenarioError(f"{key}: {value!r}; accepted is {low} to {high}")


def known(found: dict[str, Any], accepted: list[str], key: str) -> None:
    """Raise ScenarioError if a table has a key that is not accepted."""
    for name in found:
        if name not in accepted:
            raise ScenarioError(f"{key}.{name}: unknown key; accepted are {', '.join(accepted)}")


def field_names(cls: type) -> list[str]:
    """Names of the fields of a dataclass."""
    return [f.name for f in fields(cls)]
