"""Would compressed swap help, and with which codec? Measures real pages and puts the answer into words.

>>> from pymem.compressibility import analyse, verdict
>>> from pymem.content import ArraySource
>>> import numpy as np
>>> report = analyse(ArraySource(np.zeros(1 << 16)), codecs=["zlib"])
>>> report.zero_share
1.0
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.codecs import available, get
from pymem.codecs.base import PAGE_SIZE, Codec, CodecError
from pymem.compressed_pool import PoolModel
from pymem.content.base import SAME_FILLED, ZERO_FILLED, flags_of
from pymem.content.sources import sample_indices
from pymem.errors import PymemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pymem.content.sources import PageSource

BUCKETS = 8  # of the histogram: 512 bytes each, and one more for pages that do not get smaller
POOL_PAGES = 20_000  # pages in the modelled pool, so that half-filled zspages do not distort a small sample
FAULT_NS = 1_500  # of a page fault served from the pool, besides decompression
NVME_READ_NS = 80_000

WORTH_IT = 0.25  # share of memory that a pool has to save
CLEARLY_MORE = 0.08  # share of memory that a slower codec has to save beyond a faster one


class CompressibilityError(PymemError):
    """The pages cannot be analysed as asked."""


@dataclass(frozen=True, slots=True)
class CodecReport:
    """What one codec makes of the sampled pages."""

    codec: str
    ratio: float
    """Original to compressed bytes over the pages that are not same-filled; nan if there are none."""
    pool_ratio: float
    """Original bytes of all pages to the memory they take: frames of the pool, and pages it rejects."""
    incompressible: float
    """Share of all pages whose compressed size is 4096 bytes or more."""
    compress_us: float
    """Median time to compress a page that is not same-filled, microseconds."""
    decompress_us: float
    histogram: tuple[int, ...]
    """Pages per 512 bytes of compressed size; the last number counts those of 4096 bytes and more."""
    modelled: bool
    """Sizes come from a model of the format, as no library produces it. The times are those of the cost
    model, scaled by how this machine and these pages differ from the cost models of the codecs that ran."""

    @property
    def saved(self) -> float:
        """Share of the memory of the pages that storing them would give back, 0 or less if none."""
        return 1.0 - 1.0 / self.pool_ratio


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an analysis."""

    name: str
    pages: int
    """Pages of the source."""
    sampled: int
    zero_share: float
    same_filled_share: float
    """Share of pages that repeat one 8-byte word, zero pages included."""
    allocator: str
    chain: int
    note: str
    codecs: tuple[CodecReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; undefined ratios are None."""
        out = asdict(self)
        for codec, report in zip(out["codecs"], self.codecs, strict=True):
            codec["saved"] = report.saved
            codec["ratio"] = None if np.isnan(report.ratio) else report.ratio
            codec["histogram"] = list(report.histogram)
        out["verdict"] = verdict(self)
        return out


def analyse(
    source: PageSource,
    *,
    codecs: Sequence[str | Codec] | None = None,
    sample: int | None = 2048,
    seed: int = 0,
    allocator: str = "zsmalloc",
    chain: int = 8,
) -> Report:
    """Compress a sample of the pages of a source with each codec.

    Parameters
    ----------
    source
        Where the pages come from.
    codecs
        Names or codecs; None: all that are installed.
    sample
        Most pages to look at, chosen at random; None: all.
    seed
        Of that choice.
    allocator, chain
        Of the pool, see `CompressedPool`.

    Raises
    ------
    CodecError
        Unknown codec, missing library, or a codec that does not give back what it was given.
    ContentError
        The source cannot be read.
    CompressibilityError
        Impossible allocator or chain, or no codec.

    """
    chosen = [get(codec) for codec in (available() if codecs is None else codecs)]
    if not chosen:
        raise CompressibilityError("no codec to analyse with")
    try:
        PoolModel(allocator=allocator, chain=chain)
    except ValueError as error:
        raise CompressibilityError(str(error)) from None
    pages = list(source.read(sample_indices(source.pages, sample, seed)))
    flags = np.array([flags_of(page) for page in pages], np.uint8)
    same = (flags & SAME_FILLED) != 0
    others = [page for page, filled in zip(pages, same, strict=True) if not filled]
    reports = [_codec_report(codec, others, len(pages), allocator, chain) for codec in chosen]
    return Report(
        name=source.name,
        pages=source.pages,
        sampled=len(pages),
        zero_share=float(((flags & ZERO_FILLED) != 0).mean()),
        same_filled_share=float(same.mean()),
        allocator=allocator,
        chain=chain,
        note=source.note,
        codecs=tuple(_scale_modelled(chosen, reports)),
    )


def _codec_report(codec: Codec, others: list[bytes], total: int, allocator: str, chain: int) -> CodecReport:
    """`others` are the pages that are not same-filled, `total` counts all."""
    if codec.has_bytes:
        sizes, compress_ns, decompress_ns = _measure(codec, others)
    else:
        sizes = np.array([codec.size(page) for page in others], np.int64)
        compress_ns, decompress_ns = float(codec.cost.compress_ns), float(codec.cost.decompress_ns)
    buckets = np.minimum(sizes // (PAGE_SIZE // BUCKETS), BUCKETS)
    return CodecReport(
        codec=codec.name,
        ratio=sizes.size * PAGE_SIZE / int(sizes.sum()) if sizes.size else float("nan"),
        pool_ratio=_pool_ratio(sizes, total, allocator, chain),
        incompressible=float((sizes >= PAGE_SIZE).sum()) / total,
        compress_us=compress_ns / 1000,
        decompress_us=decompress_ns / 1000,
        histogram=tuple(np.bincount(buckets, minlength=BUCKETS + 1).tolist()),
        modelled=not codec.has_bytes,
    )


def _scale_modelled(codecs: list[Codec], reports: list[CodecReport]) -> list[CodecReport]:
    """Times of modelled codecs as if they had run here too, judged by the codecs that did."""
    ran = [(c.cost, r) for c, r in zip(codecs, reports, strict=True) if not r.modelled and r.compress_us > 0]
    if not ran:
        return reports
    slower = float(np.median([r.compress_us * 1000 / cost.compress_ns for cost, r in ran]))
    slower_back = float(np.median([r.decompress_us * 1000 / cost.decompress_ns for cost, r in ran]))
    return [
        replace(r, compress_us=r.compress_us * slower, decompress_us=r.decompress_us * slower_back)
        if r.modelled
        else r
        for r in reports
    ]


def _measure(codec: Codec, pages: list[bytes]) -> tuple[NDArray[np.int64], float, float]:
    """Compressed sizes, and median times in ns; each page is checked to come back as it was."""
    clock = time.perf_counter_ns
    sizes = np.zeros(len(pages), np.int64)
    times = np.zeros((2, len(pages)), np.int64)
    for i, page in enumerate(pages):
        start = clock()
        data = codec.compress(page)
        middle = clock()
        back = codec.decompress(data, PAGE_SIZE)
        end = clock()
        if back != page:
            raise CodecError(f"codec {codec.name!r} does not give back the page that it was given")
        sizes[i], times[0, i], times[1, i] = len(data), middle - start, end - middle
    if not pages:
        return sizes, 0.0, 0.0
    return sizes, float(np.median(times[0])), float(np.median(times[1]))


def _pool_ratio(sizes: NDArray[np.int64], total: int, allocator: str, chain: int) -> float:
    """All pages to frames, if the pages were stored again and again until the pool is large."""
    pool = PoolModel(allocator=allocator, chain=chain)
    repeats = max(1, POOL_PAGES // max(1, sizes.size))
    fitting = np.minimum(sizes, PAGE_SIZE + 1).astype(np.uint16)
    _, rejected, _ = pool.fill(np.tile(fitting, repeats))
    frames = (pool.pages + rejected) / repeats
    # A pool of nothing but same-filled pages takes no frames; the word of each page is kept in 8 bytes.
    return total / max(frames, total * 8 / PAGE_SIZE)


# ---- the answer in words ----------------------------------------------------------------------------------


def recommend(report: Report) -> CodecReport | None:
    """The codec to use, or None if none saves enough memory.

    The fastest one that is worth it, unless a slower one saves clearly more memory per step and still costs
    less than reading the page from a fast disk.
    """
    useful = [codec for codec in report.codecs if codec.saved >= WORTH_IT]
    useful.sort(key=lambda codec: (codec.compress_us + codec.decompress_us, codec.codec))
    if not useful:
        return None
    best = useful[0]
    for slower in useful[1:]:
        affordable = (slower.compress_us + slower.decompress_us) * 1000 < NVME_READ_NS
        if affordable and slower.saved >= best.saved + CLEARLY_MORE:
            best = slower
    return best


def verdict(report: Report) -> str:
    """Would zswap help, and with which codec: some sentences of plain text."""
    most = max(report.codecs, key=lambda codec: codec.saved)
    if report.same_filled_share == 1.0:
        return (
            "Yes, with any codec: all pages are same-filled and take practically no memory. From Linux 6.12 "
            "on, zero pages cost nothing in plain swap either."
        )
    best = recommend(report)
    if best is None:
        saved = max(0.0, most.saved)
        return (
            f"No: even {most.codec} gives back only {saved:.0%} of the memory of these pages "
            f"({most.incompressible:.0%} do not get smaller at all), less than the {WORTH_IT:.0%} that make "
            "a pool worth its time. Swap to a disk instead, or give the machine more memory."
        )
    back_us = best.decompress_us + FAULT_NS / 1000
    text = (
        f"Yes, with {best.codec}: {best.pool_ratio:.1f} pages fit into one frame, so each GiB of pool keeps "
        f"{best.pool_ratio:.1f} GiB and gives back {best.saved:.0%} of what is stored. A page comes back in "
        f"about {back_us:.0f} microseconds where a fast disk needs {NVME_READ_NS / 1000:.0f}."
    )
    if most.codec != best.codec and most.saved > best.saved + 0.01:
        times = (most.compress_us + most.decompress_us) / (best.compress_us + best.decompress_us)
        text += f" {most.codec} would give back {most.saved:.0%}, but takes {times:.0f} times as long."
    if best.incompressible >= 0.10:
        text += (
            f" {best.incompressible:.0%} of the pages do not get smaller: keep a disk behind the pool so "
            "that they can leave memory."
        )
    return text
