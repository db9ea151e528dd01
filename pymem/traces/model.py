"""What a trace knows besides its records: tasks and their regions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.errors import TraceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pymem.regions import Anon, File

PAGE_SIZE = 4096
KINDS = ("anon", "file")
#: Largest flat space of a task: the page field of a record has 40 bits.
MAX_PAGES = 1 << 40


@dataclass(frozen=True)
class RegionInfo:
    """One region of a task, as recorded.

    Attributes
    ----------
    kind : {"anon", "file"}
    name : str
        Name of the region, for a file its path; file regions with the same name are the same file.
    start : int or None
        Virtual address of the first page in the recorded program; None for a file that was never mapped.
    pages : int
    shared, writable : bool
        Of the mapping; anonymous regions have the defaults.
    offset : int
        Page of the file that the first page of the region shows.
    executable : bool
        Whether a mapping of the file was executable; false in traces made before this was kept.
    """

    kind: str
    name: str
    start: int | None
    pages: int
    shared: bool = False
    writable: bool = True
    offset: int = 0
    executable: bool = False

    def __post_init__(self) -> None:
        def check(ok: bool, key: str, accepted: str) -> None:
            if not ok:
                found = getattr(self, key)
                raise TraceError(f"region {self.name!r}: {key} is {found!r}; accepted is {accepted}")

        check(isinstance(self.name, str), "name", "a string")
        check(self.kind in KINDS, "kind", "'anon' or 'file'")
        check(_is_int(self.pages) and 0 < self.pages <= MAX_PAGES, "pages", f"an integer from 1 to {MAX_PAGES}")
        aligned = self.start is None or (
            _is_int(self.start) and 0 <= self.start < 1 << 64 and self.start % PAGE_SIZE == 0
        )
        check(aligned, "start", f"an address that is a multiple of {PAGE_SIZE}, or None")
        check(isinstance(self.shared, bool), "shared", "true or false")
        check(isinstance(self.writable, bool), "writable", "true or false")
        check(isinstance(self.executable, bool), "executable", "true or false")
        check(_is_int(self.offset) and 0 <= self.offset < MAX_PAGES, "offset", "a number of pages from 0")

    def to_json(self) -> dict[str, Any]:
        """The region as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> RegionInfo:
        """The region of a JSON object; unknown or missing keys raise TraceError."""
        keys = set(cls.__dataclass_fields__)
        if not isinstance(value, dict) or set(value) | {"executable"} != keys:
            raise TraceError(f"a region is {value!r:.200}; accepted is an object with the keys {sorted(keys)}")
        return cls(**value)

    @classmethod
    def of(cls, region: Any) -> RegionInfo:
        """The description of a `pymem.Anon` or `pymem.File` (or of a RegionInfo, returned as it is)."""
        if isinstance(region, cls):
            return region
        if type(region).__name__ == "File":
            return cls(
                "file", region.name, None, int(region.pages), bool(region.shared), bool(region.writable),
                int(region.offset), bool(region.executable),
            )  # fmt: skip
        if type(region).__name__ == "Anon":
            return cls("anon", region.name or "anon", None, int(region.pages))
        raise TraceError(f"a region is {region!r}; accepted are pymem.Anon, pymem.File and RegionInfo")

    def to_region(self) -> Anon | File:
        """The `pymem.Anon` or `pymem.File` for a scenario."""
        from pymem.regions import Anon, File

        if self.kind == "anon":
            return Anon(pages=self.pages, name=self.name)
        return File(
            pages=self.pages, name=self.name, shared=self.shared, writable=self.writable, offset=self.offset,
            executable=self.executable,
        )  # fmt: skip


@dataclass
class TaskInfo:
    """One task of a trace.

    `records` counts stored records, `accesses` the loads, stores and pages of ``read()`` and ``write()`` that
    they stand for.
    """

    name: str
    regions: list[RegionInfo] = field(default_factory=list)
    records: int = 0
    accesses: int = 0

    @property
    def pages(self) -> int:
        """Pages of the flat space: all regions one after another."""
        return sum(region.pages for region in self.regions)

    def addresses(self, pages: ArrayLike) -> NDArray[np.uint64]:
        """Virtual addresses of dense pages.

        Parameters
        ----------
        pages : array of int
            Pages of the task's flat space, any shape.

        Returns
        -------
        array of uint64, same shape
            Address of the first byte of each page; for pages of a file that was never mapped the offset in
            the file.

        Raises
        ------
        TraceError
            A page outside all regions.
        """
        wanted = np.asarray(pages)
        if wanted.size and wanted.dtype.kind not in "iu":
            raise TraceError(f"pages have dtype {wanted.dtype}; accepted are integers")
        wanted = wanted.astype(np.int64)
        if not self.regions:
            raise TraceError(f"task {self.name!r} has no regions, so its pages have no addresses")
        if wanted.size and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.pages:
            raise TraceError(
                f"task {self.name!r}: pages {int(wanted.min())} to {int(wanted.max())}; "
                f"accepted are 0 to {self.pages - 1}"
            )
        bases = np.cumsum([0] + [region.pages for region in self.regions[:-1]])
        starts = np.array(
            [r.offset * PAGE_SIZE if r.start is None else r.start for r in self.regions], np.uint64
        )
        which = np.searchsorted(bases, wanted, side="right") - 1
        inside = (wanted - bases[which]).astype(np.uint64)
        result: NDArray[np.uint64] = starts[which] + inside * np.uint64(PAGE_SIZE)
        return result

    def to_json(self) -> dict[str, Any]:
        """The task as a JSON object."""
        return {
            "name": self.name, "records": self.records, "accesses": self.accesses,
            "regions": [region.to_json() for region in self.regions],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Any) -> TaskInfo:
        """The task of a JSON object; anything unexpected raises TraceError."""
        keys = {"name", "records", "accesses", "regions"}
        if not isinstance(value, dict) or set(value) != keys or not isinstance(value["regions"], list):
            raise TraceError(f"a task is {value!r:.200}; accepted is an object with the keys {sorted(keys)}")
        if not isinstance(value["name"], str) or not _is_int(value["records"]) or not _is_int(value["accesses"]):
            raise TraceError(f"a task is {value!r:.200}; accepted are a text name and whole numbers")
        regions = [RegionInfo.from_json(region) for region in value["regions"]]
        return cls(value["name"], regions, value["records"], value["accesses"])


@dataclass(frozen=True)
class TraceInfo:
    """What `Writer.info` and `TraceFile.info` tell about a trace."""

    path: str
    file_bytes: int
    version: int
    compression: str
    sha256: str
    records: int
    accesses: int
    chunks: int
    times: bool
    tasks: tuple[TaskInfo, ...]
    provenance: dict[str, Any]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
