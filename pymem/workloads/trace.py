"""Records that are there already: in an array, or in a trace file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pymem.errors import ScenarioError, TraceError
from pymem.records import MAX_FAST_PAGE, Op, unpack
from pymem.regions import Anon, File, Region, region_from
from pymem.workloads.base import Workload, check_keys, integer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pymem.workloads.base import Records

SLICE = 1 << 18
MAX_REPEAT = 1 << 40
BUILTIN = "builtin:"

_PAGELESS = (Op.SLEEP, Op.EXIT)
_COUNTED = (Op.LOAD, Op.STORE, Op.READ, Op.WRITE)
_FILE_ONLY = (Op.READ, Op.WRITE, Op.FSYNC)


@dataclass(frozen=True, init=False, eq=False)
class Trace(Workload):
    """The records of an array.

    Parameters
    ----------
    array : array of uint32 or uint64
        See `pymem.records`; one dimension.  It is not copied, so do not change it afterwards.
    regions : sequence of Anon and File, optional
        What the pages are; default is anonymous memory up to the highest page in the records.

    Raises
    ------
    ScenarioError
        Another kind of array, a page outside all regions, or ``read()`` and the like of no file.
    """

    kind: ClassVar[str] = "trace"
    array: NDArray[Any]
    regions: tuple[Region, ...]

    def __init__(self, array: Any, regions: Sequence[Any] | None = None) -> None:
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype not in (np.uint32, np.uint64):
            found = type(array).__name__
            if isinstance(array, np.ndarray):
                found = f"{array.dtype} of shape {array.shape}"
            raise ScenarioError(f"trace.array: {found}; accepted is one dimension of uint32 or uint64")
        if len(array) == 0:
            raise ScenarioError("trace.array: no records; accepted is at least one")
        object.__setattr__(self, "array", np.ascontiguousarray(array))
        given = None if regions is None else tuple(region_from(r, "trace.regions") for r in regions)
        top, accesses = _survey(self.array, given)
        object.__setattr__(self, "regions", (Anon(pages=top),) if given is None else given)
        object.__setattr__(self, "_accesses", accesses)

    @property
    def length(self) -> int:
        """Accesses that the records stand for."""
        return int(self._accesses)  # type: ignore[attr-defined]

    def chunks(self, seed: int) -> Iterator[Records]:
        """The records; see `Workload.chunks`."""
        for first in range(0, len(self.array), SLICE):
            yield self.array[first : first + SLICE]

    @classmethod
    def from_table(cls, table: dict[str, Any], key: str, base: Path) -> Workload:
        """From ``{kind = "trace", path = "records.npy", regions = [...]}``."""
        for name in table:
            if name not in ("path", "regions"):
                raise ScenarioError(f"{key}.{name}: unknown key; accepted are kind, path, regions")
        if not isinstance(table.get("path"), str):
            raise ScenarioError(f"{key}.path: {table.get('path')!r}; accepted is the name of a .npy file")
        regions = table.get("regions")
        if regions is not None and not isinstance(regions, list):
            raise ScenarioError(f"{key}.regions: {regions!r}; accepted is an array of tables")
        path = base / table["path"]
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ScenarioError(f"{key}.path: {path} cannot be read ({error})") from None
        return cls(array, regions)


def _survey(array: NDArray[Any], regions: tuple[Region, ...] | None) -> tuple[int, int]:
    """Pages that the records need, and accesses they stand for; ScenarioError if `regions` do not fit."""
    ends = np.cumsum([r.pages for r in regions or ()], dtype=np.int64)
    limit = int(ends[-1]) if len(ends) else (1 << 32) - 1
    is_file = np.array([isinstance(r, File) for r in regions or ()], np.bool_)
    top = 1
    accesses = len(array) if array.dtype == np.uint32 else 0
    for first in range(0, len(array), SLICE):
        part = array[first : first + SLICE]
        if part.dtype == np.uint32:
            last = (part & np.uint32(MAX_FAST_PAGE)).astype(np.int64)
        else:
            page, op, count = unpack(part)
            if int(op.max()) > max(Op):
                where, found = first + int(op.argmax()), int(op.max())
                most = int(max(Op))
                raise ScenarioError(f"trace.array[{where}]: operation {found}; accepted is 0 to {most}")
            accesses += int(count[np.isin(op, _COUNTED)].sum())
            # The count of a load or store repeats it; that of anything else is a number of pages.
            last = np.where(op <= Op.STORE, page, page + count - 1)
            last[np.isin(op, _PAGELESS)] = 0
            _check_files(first, page, last, op, ends, is_file)
        if int(last.max()) >= limit:
            where = int((last >= limit).argmax())
            raise ScenarioError(
                f"trace.array[{first + where}]: page {int(last[where])}; accepted is 0 to {limit - 1}, "
                "the pages of the regions"
            )
        top = max(top, int(last.max()) + 1)
    return top, accesses


def _check_files(
    first: int, page: NDArray[np.int64], last: NDArray[np.int64], op: NDArray[np.int64],
    ends: NDArray[np.int64], is_file: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Refuse ``read()``, ``write()`` and ``fsync()`` of anything but pages of one file region."""
    calls = np.flatnonzero(np.isin(op, _FILE_ONLY))
    if len(calls) == 0:
        return
    region = np.searchsorted(ends, page[calls], side="right")
    inside = region < len(ends)
    known = region[inside]
    inside[inside] = is_file[known] & (last[calls][inside] < ends[known])
    if not inside.all():
        at = int(calls[int((~inside).argmax())])
        raise ScenarioError(
            f"trace.array[{first + at}]: {Op(int(op[at])).name} of pages {int(page[at])} to {int(last[at])}; "
            "accepted are pages of one File region"
        )


def locate(path: str | Path, key: str = "trace") -> Path:
    """The file of a trace; ``"builtin:NAME"`` is one that comes with pymem, ScenarioError if there is no such."""
    text = str(path)
    if not text.startswith(BUILTIN):
        return Path(path)
    folder = Path(__file__).resolve().parent.parent / "data" / "traces"
    known = sorted(file.stem for file in folder.glob("*.pmt"))
    name = text.removeprefix(BUILTIN)
    if name not in known:
        accepted = ", ".join(repr(BUILTIN + k) for k in known) or "none: this installation has no traces"
        raise ScenarioError(f"{key}: {text!r}; accepted are {accepted}")
    return folder / f"{name}.pmt"


@dataclass(frozen=True)
class Recorded(Workload):
    """One task of a recorded trace.

    Parameters
    ----------
    path : str or Path
        A trace file, or ``"builtin:NAME"`` for one that comes with pymem.
    task : str or int, optional
        Name or number of the task; may be left out where there is only one.
    repeat : int
        How many times the records are played.
    """

    kind: ClassVar[str] = "recorded"
    path: str | Path
    task: str | int | None = None
    repeat: int = 1

    def __post_init__(self) -> None:
        integer("recorded.repeat", self.repeat, 1, MAX_REPEAT)
        if not isinstance(self.path, (str, Path)):
            raise ScenarioError(f"recorded.path: {self.path!r}; accepted is the name of a trace file")
        with self._open() as trace:
            tasks = trace.info.tasks
            number = self._number([task.name for task in tasks])
            info = tasks[number]
            regions = tuple(region.to_region() for region in info.regions)
        if not regions:
            raise ScenarioError(f"recorded.task: task {info.name!r} of {self.path} has no regions")
        object.__setattr__(self, "regions", regions)
        object.__setattr__(self, "_chosen", number)
        object.__setattr__(self, "_accesses", info.accesses * self.repeat)

    def _number(self, names: list[str]) -> int:
        listed = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        if self.task is None and len(names) == 1:
            return 0
        if isinstance(self.task, str) and names.count(self.task) == 1:
            return names.index(self.task)
        if isinstance(self.task, int) and not isinstance(self.task, bool) and 0 <= self.task < len(names):
            return self.task
        raise ScenarioError(
            f"recorded.task: {self.task!r}; accepted are {listed}, or a number from 0 to {len(names) - 1}"
        )

    def file(self) -> Path:
        """Where the trace lies."""
        return locate(self.path, "recorded.path")

    def _open(self) -> Any:
        path = self.file()
        from pymem.traces.store import TraceFile

        try:
            return TraceFile(path)
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None

    @property
    def length(self) -> int:
        """Accesses that the records stand for."""
        return int(self._accesses)  # type: ignore[attr-defined]

    def chunks(self, seed: int) -> Iterator[Records]:
        """The records; see `Workload.chunks`.  A thread reads and checks the next ones meanwhile."""
        from concurrent.futures import ThreadPoolExecutor

        from pymem.traces.pipeline import ahead

        source = self._records()
        with ThreadPoolExecutor(1, "trace") as pool:
            for records in ahead(pool, lambda _: next(source, None), repeat(None), 1):
                if records is None:
                    return
                for first in range(0, len(records), SLICE):
                    yield np.ascontiguousarray(records[first : first + SLICE])

    def _records(self) -> Iterator[NDArray[Any]]:
        with self._open() as trace:
            for _ in range(self.repeat):
                yield from trace.records(self._chosen)  # type: ignore[attr-defined]

    @classmethod
    def from_table(cls, table: dict[str, Any], key: str, base: Path) -> Workload:
        """From ``{kind = "recorded", path = "my.pmt", task = "sqlite", repeat = 2}``."""
        check_keys(cls, table, key)
        path = table["path"]
        if isinstance(path, str) and not path.startswith(BUILTIN):
            path = str(base / path)
        return cls(**{**table, "path": path})
