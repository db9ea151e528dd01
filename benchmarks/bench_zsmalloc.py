"""Compressed pools: store and free without bytes, and real pages beside the codec's own time.

Run as ``python -m benchmarks.bench_zsmalloc``. Each line is the best of several runs with fixed seeds.

Targets: at least 8 M store + free cycles a second without bytes; real pages within 1.3 of the codec alone.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.codecs import available, get
from pymem.compressed_pool import CompressedPool, PoolModel
from pymem.content import parse

if TYPE_CHECKING:
    from collections.abc import Callable

CYCLES = 2_000_000
PAGES = 1000
REPEATS = 5


def best(call: Callable[[], Any]) -> float:
    """Shortest of several runs, seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def bare_loop(live: int) -> float:
    """Millions of random exchanges a second in a flat array of as many words: the ceiling."""
    words = np.zeros(live, np.uint32)
    where = np.random.default_rng(1).integers(0, live, CYCLES)
    return CYCLES / best(lambda: words.__setitem__(where, 1)) / 1e6


def churn(content: str, live: int, **pool: Any) -> float:
    """Millions of free + store pairs a second among `live` objects chosen at random."""
    sizes = parse(content, seed=1).sizes(np.arange(live))
    sizes = np.minimum(sizes[sizes > 0], 3968).astype(np.uint16)

    def run() -> None:
        PoolModel(**pool).churn(sizes, CYCLES, 1)

    return CYCLES / best(run) / 1e6


def real_pages(codec: str, content: str) -> tuple[float, float]:
    """Microseconds per page: the codec alone, and a store that replaces a page of a full pool."""
    one = parse(content, seed=1)
    pages = [one.page(n) for n in range(PAGES)]
    compress = get(codec).compress
    pool = CompressedPool(codec)
    handles = [pool.store(page) for page in pages]

    def alone() -> None:
        for page in pages:
            compress(page)

    def store() -> None:
        for i, page in enumerate(pages):
            pool.free(handles[i])
            handles[i] = pool.store(page)

    return best(alone) / PAGES * 1e6, best(store) / PAGES * 1e6


def main() -> None:
    """Print all figures."""
    print("free + store without bytes, M/s")
    for live in (1_000, 10_000, 100_000):
        print(f"  flat array, {live} words{bare_loop(live):>40.1f}")
        for name, pool in (
            ("chain 8", {"chain": 8}),
            ("chain 4", {"chain": 4}),
            ("zbud", {"allocator": "zbud"}),
        ):
            for content in ("half", "compressible"):
                print(f"  {name:8} {content:13} {live:>7} live {churn(content, live, **pool):>24.1f}")
    print("free + store of real pages, microseconds: codec alone, pool, quotient")
    for codec in available(real_bytes=True):
        for content in ("half", "zero64", "random", "compressible"):
            alone, stored = real_pages(codec, content)
            print(f"  {codec:5} {content:13} {alone:>8.2f} {stored:>8.2f} {stored / alone:>6.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
