"""Configurations of masim, the simulator of access patterns that users of DAMON have, as workloads.

::

    # regions: name, bytes, perhaps a file with initial data
    a, 104857600, none

    the name of a phase
    1000
    # region, 1 for random, stride in bytes, weight, perhaps ro, wo or rw
    a, 1, 64, 80, wo

Paragraphs are divided by empty lines, comments begin with ``#``.  As masim does, a phase draws one of its patterns by
weight, makes 131,072 accesses by it and draws again; random accesses do not use the stride, sequential ones begin anew
in each phase, and without a mode they store.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from pymem.errors import ScenarioError
from pymem.records import WRITE
from pymem.regions import Anon
from pymem.units import PAGE_SIZE
from pymem.workloads.base import MAX_PATTERN_PAGES, Workload, check_keys, generator, integer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BATCH = 1 << 17
MAX_BYTES = 1 << 20
MAX_NUMBER = (1 << 31) - 1
MODES = ("wo", "ro", "rw")
Line = tuple[int, str]


class _Pattern(NamedTuple):
    base: int  # first page of the region
    size: int  # bytes
    random: bool
    stride: int
    weight: int
    mode: str


class _Phase(NamedTuple):
    ms: int
    patterns: list[_Pattern]


@dataclass(frozen=True)
class Masim(Workload):
    """The accesses of a masim configuration.

    Parameters
    ----------
    path : str or Path
        The configuration.
    accesses_per_ms : int
        masim runs each phase for a time, and how much it does meanwhile depends on the machine; it prints this number.
        A phase has as many accesses as this and its time make.

    Raises
    ------
    ScenarioError
        A file that cannot be read, or a line that is none of masim's, with its number.
    """

    kind: ClassVar[str] = "masim"
    path: str | Path
    accesses_per_ms: int = 10_000

    def __post_init__(self) -> None:
        integer("masim.accesses_per_ms", self.accesses_per_ms, 1, 1 << 30)
        if not isinstance(self.path, (str, Path)):
            raise ScenarioError(f"masim.path: {self.path!r}; accepted is the name of a configuration of masim")
        try:
            data = Path(self.path).read_bytes() if Path(self.path).stat().st_size <= MAX_BYTES else None
        except OSError as error:
            raise ScenarioError(f"masim.path: {self.path}: {error.strerror}") from None
        if data is None:
            raise ScenarioError(f"masim.path: {self.path} is larger than {MAX_BYTES} bytes, which no configuration is")
        regions, phases = _parsed(str(self.path), data)
        areas = tuple(Anon(pages=-(-size // PAGE_SIZE), name=name) for name, size in regions)
        object.__setattr__(self, "regions", areas)
        object.__setattr__(self, "_phases", phases)

    @property
    def length(self) -> int | None:
        """Accesses in all; None where it depends on what is drawn: with ``rw``, which loads and stores."""
        modes = {pattern.mode for phase in self._all() for pattern in phase.patterns}
        if modes > {"rw"}:
            return None
        return sum(phase.ms for phase in self._all()) * self.accesses_per_ms * (2 if modes == {"rw"} else 1)

    @property
    def ahead(self) -> bool:
        """See `Workload.ahead`."""
        return True

    def _all(self) -> list[_Phase]:
        phases: list[_Phase] = self._phases  # type: ignore[attr-defined]
        return phases

    def chunks(self, seed: int) -> Iterator[NDArray[np.uint32]]:
        """The records; see `Workload.chunks`."""
        rng = generator(seed)
        for phase in self._all():
            weights = np.cumsum([pattern.weight for pattern in phase.patterns])
            steps = [0] * len(phase.patterns)  # sequential accesses so far
            left = phase.ms * self.accesses_per_ms
            while left:
                number = int(np.searchsorted(weights, rng.integers(0, weights[-1]), side="right"))
                pattern = phase.patterns[number]
                count = min(BATCH, left)
                left -= count
                page = _pages(pattern, count, steps[number], rng)
                steps[number] += count
                if pattern.mode == "rw":
                    page = np.repeat(page, 2)
                    page[1::2] |= WRITE
                elif pattern.mode == "wo":
                    page |= WRITE
                yield page

    @classmethod
    def from_table(cls, table: dict[str, Any], key: str, base: Path) -> Workload:
        """From ``{kind = "masim", path = "stairs.cfg", accesses_per_ms = 5000}``."""
        check_keys(cls, table, key)
        path = table["path"]
        return cls(**{**table, "path": base / path if isinstance(path, str) else path})


def _pages(pattern: _Pattern, count: int, done: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    if pattern.random:
        offset = rng.integers(0, pattern.size, count)
    else:
        # The first access is one stride in, and what would lie behind the end begins at 0.
        turn = -(-pattern.size // pattern.stride)
        offset = (np.arange(done + 1, done + 1 + count) % turn) * pattern.stride
    return (pattern.base + offset // PAGE_SIZE).astype(np.uint32)


# ---- reading ----------------------------------------------------------------------------------------------


def _parsed(name: str, data: bytes) -> tuple[list[tuple[str, int]], list[_Phase]]:
    """Regions as (name, bytes), and the phases."""
    paragraphs: list[list[Line]] = [[]]
    for number, line in enumerate(data.decode("utf-8", "backslashreplace").splitlines(), 1):
        if line.startswith("#"):
            continue
        if line.strip():
            paragraphs[-1].append((number, line.strip()))
        elif paragraphs[-1]:
            paragraphs.append([])
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    if len(paragraphs) < 2:
        raise ScenarioError(f"masim.path: {name} has {len(paragraphs)} paragraphs; accepted are regions, then phases")
    places: dict[str, tuple[int, int]] = {}
    pages = 0
    for number, line in paragraphs[0]:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) not in (2, 3) or not fields[0] or fields[0] in places or not _is_number(fields[1], 1 << 43):
            raise _wrong(name, number, line, "'name, bytes' with a new name and up to 8 TiB, perhaps ', file'")
        places[fields[0]] = (pages, int(fields[1]))
        pages += -(-int(fields[1]) // PAGE_SIZE)
        if pages > MAX_PATTERN_PAGES:
            raise _wrong(name, number, line, "regions of up to 8 TiB together")
    phases = [_phase(name, paragraph, places) for paragraph in paragraphs[1:]]
    return [(region, size) for region, (_, size) in places.items()], phases


def _phase(name: str, lines: list[Line], places: dict[str, tuple[int, int]]) -> _Phase:
    if len(lines) < 3:
        number, line = lines[-1]
        raise _wrong(name, number, line, "phases of three lines or more: a name, milliseconds, patterns")
    number, line = lines[1]
    if not _is_number(line, MAX_NUMBER):
        raise _wrong(name, number, line, f"the time of the phase in milliseconds, 1 to {MAX_NUMBER}")
    patterns = []
    for at, text in lines[2:]:
        fields = [field.strip() for field in text.split(",")]
        if len(fields) not in (4, 5) or fields[0] not in places:
            raise _wrong(name, at, text, f"'region, random, stride, weight', of the regions {', '.join(places)}")
        if fields[1] not in ("0", "1") or not all(_is_number(field, MAX_NUMBER) for field in fields[2:4]):
            raise _wrong(name, at, text, f"0 or 1, then a stride and a weight from 1 to {MAX_NUMBER}")
        mode = fields[4] if len(fields) == 5 else MODES[0]
        if mode not in MODES:
            raise _wrong(name, at, text, "ro, wo or rw at the end")
        patterns.append(_Pattern(*places[fields[0]], fields[1] == "1", int(fields[2]), int(fields[3]), mode))
    return _Phase(int(line), patterns)


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= most


def _wrong(name: str, number: int, line: str, accepted: str) -> ScenarioError:
    return ScenarioError(f"masim.path: {name}, line {number}: {line!r:.80}; accepted is {accepted}")
