"""The access traces behind recorded kernel runs, generated again exactly.

A recording does not store its trace: it follows from a short text (the *spec*) and a seed through a
counter-based generator, and the recording carries a hash that proves a regenerated trace right.

Spec: statements separated by ``;``, each ``word,key=value,...``::

    region,kind=anon|fmmap|fread,pages=N,content=..,adv=random
    phase,n=N[,mix=rr|rand]
    stream,r=R,pat=seq|uniform|zipf[,s=S][,off=O][,len=L][,wr=W][,w=WEIGHT][,start=S0]

Access i (counted over all phases) draws ``u(i, k)`` from splitmix64: k = 0 picks the stream, 1 the page,
2 decides read or write. All arithmetic is modulo 2^64 and in IEEE doubles, so it is exact everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pymem.errors import ValidationError
from pymem.records import WRITE

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(slots=True)
class SpecRegion:
    """A region of the replaying program: ``kind`` anon, fmmap (mapped file) or fread (read()/write())."""

    kind: str
    pages: int
    content: str = "random"
    advice: str = ""


@dataclass(slots=True)
class SpecStream:
    """Accesses to one region: pattern, part of the region, share of writes, weight in its phase."""

    region: int
    pattern: str
    s: float = 1.0
    offset: int = 0
    length: int = 0
    writes: float = 0.0
    weight: int = 1
    start: int = 0


@dataclass(slots=True)
class SpecPhase:
    """``n`` accesses drawn from its streams, in turns (rr) or at random (rand)."""

    n: int
    mix: str = "rr"
    streams: list[SpecStream] = field(default_factory=list)


@dataclass(slots=True)
class Spec:
    """A parsed spec."""

    regions: list[SpecRegion]
    phases: list[SpecPhase]

    @property
    def accesses(self) -> int:
        return sum(p.n for p in self.phases)

    @property
    def pages(self) -> int:
        return sum(r.pages for r in self.regions)


def parse_spec(text: str) -> Spec:
    """Parses a spec. Raises ValidationError naming the statement that is wrong."""
    spec = Spec([], [])
    for statement in filter(None, (s.strip() for s in text.split(";"))):
        word, *pairs = statement.split(",")
        try:
            kv = dict(p.split("=", 1) for p in pairs)
            if word == "region":
                spec.regions.append(
                    SpecRegion(kv["kind"], int(kv["pages"]), kv.get("content", "random"), kv.get("adv", ""))
                )
            elif word == "phase":
                spec.phases.append(SpecPhase(int(kv["n"]), kv.get("mix", "rr")))
            elif word == "stream":
                region, off = int(kv["r"]), int(kv.get("off", 0))
                spec.phases[-1].streams.append(
                    SpecStream(
                        region,
                        kv["pat"],
                        float(kv.get("s", 1.0)),
                        off,
                        int(kv.get("len", 0)) or spec.regions[region].pages - off,
                        float(kv.get("wr", 0)),
                        int(kv.get("w", 1)),
                        int(kv.get("start", 0)),
                    )
                )
            else:
                raise ValueError(f"unknown word {word!r}; known are region, phase, stream")
        except (ValueError, KeyError, IndexError) as e:
            raise ValidationError(f"trace spec: statement {statement!r}: {e}") from None
    return spec


def mix64(z: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser, element by element (uint64)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def uniforms(seed: int, index: np.ndarray, k: int) -> np.ndarray:
    """u(i, k) in [0, 1) for every access number in ``index`` (uint64)."""
    draws = np.uint64(seed) + (np.uint64(3) * index + np.uint64(k + 1)) * GOLDEN
    return np.asarray((mix64(draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def zipf_cdf(n: int, s: float) -> np.ndarray:
    """Cumulated (m+1)^-s, summed left to right in double and divided by the last entry."""
    cdf = np.add.accumulate(np.array([float(m) ** -s for m in range(1, n + 1)]))
    return np.asarray(cdf / cdf[-1])


def _pages(stream: SpecStream, seed: int, index: np.ndarray) -> np.ndarray:
    """Page within the stream's part of its region, for the accesses the stream got (in order)."""
    n = stream.length
    if stream.pattern == "seq":
        return (np.uint64(stream.start) + np.arange(len(index), dtype=np.uint64)) % np.uint64(n)
    u = uniforms(seed, index, 1)
    if stream.pattern == "uniform":
        return (u * n).astype(np.uint64)
    if stream.pattern == "zipf":
        rank = np.searchsorted(zipf_cdf(n, stream.s), u, side="right").astype(np.uint64)
        return (rank * np.uint64(2654435761)) % np.uint64(n)
    raise ValidationError(f"trace spec: unknown pattern {stream.pattern!r}; known are seq, uniform, zipf")


def generate(text: str, seed: int) -> np.ndarray:
    """The trace of a spec: uint32 words, bit 31 = write, low bits = page in the flat space of all regions."""
    spec = parse_spec(text)
    base = np.concatenate([[0], np.cumsum([r.pages for r in spec.regions])])
    out = np.empty(spec.accesses, dtype=np.uint32)
    first = 0
    with np.errstate(over="ignore"):
        for phase in spec.phases:
            index = np.arange(first, first + phase.n, dtype=np.uint64)
            if len(phase.streams) == 1:
                chosen = np.zeros(phase.n, dtype=np.intp)
            else:
                bounds = np.cumsum([s.weight for s in phase.streams])
                if phase.mix == "rr":
                    x = np.arange(phase.n, dtype=np.int64) % bounds[-1]
                else:
                    x = (uniforms(seed, index, 0) * bounds[-1]).astype(np.int64)
                chosen = np.searchsorted(bounds, x, side="right")
            words = out[first : first + phase.n]
            for k, stream in enumerate(phase.streams):
                mine = np.flatnonzero(chosen == k)
                at = index[mine]
                page = _pages(stream, seed, at) + np.uint64(stream.offset) + np.uint64(base[stream.region])
                if stream.writes >= 1:
                    write = np.ones(len(mine), dtype=bool)
                elif stream.writes <= 0:
                    write = np.zeros(len(mine), dtype=bool)
                else:
                    write = uniforms(seed, at, 2) < stream.writes
                words[mine] = page.astype(np.uint32) | np.where(write, WRITE, np.uint32(0))
            first += phase.n
    return out


def trace_hash(words: np.ndarray) -> str:
    """The recordings' hash: h = mix64(h ^ word) + golden over all words; 16 hex digits."""
    mask = (1 << 64) - 1
    h = 0
    for w in words.tolist():
        z = h ^ w
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        h = ((z ^ (z >> 31)) + 0x9E3779B97F4A7C15) & mask
    return f"{h:016x}"
