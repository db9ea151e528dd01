"""Contents whose compressed sizes follow a distribution, and mixes of contents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from pymem.codecs import get
from pymem.codecs.base import PAGE_SIZE, Codec
from pymem.content.base import Content, ContentError, constant, random_bytes, uniform
from pymem.content.models import Random, Zero

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_SIZE = 32  # no model draws a page smaller than the smallest class of zsmalloc
OVERHEAD = 31  # about what a codec adds to random bytes followed by zeros


@dataclass(frozen=True, kw_only=True)
class Sized(Content):
    """Pages whose compressed size is drawn; none is same-filled."""

    codec: str = "lz4"
    """Codec that the parameters are meant for; sizes under others are scaled by the typical ratios."""

    @abstractmethod
    def draw(self, pages: ArrayLike, version: ArrayLike, codec: Codec) -> NDArray[np.float64]:
        """Sizes in bytes before rounding and clipping, float64 of shape (n,)."""

    def scale(self, codec: Codec) -> float:
        """How much larger typical pages are under `codec` than under the reference codec."""
        return get(self.codec).cost.ratio / codec.cost.ratio

    def sizes(
        self, pages: ArrayLike, version: ArrayLike = 0, codec: str | Codec = "lz4"
    ) -> NDArray[np.uint16]:
        """Sizes drawn from the distribution, 32..4096 bytes."""
        drawn = self.draw(pages, self._version(version), get(codec))
        return np.clip(np.rint(drawn), MIN_SIZE, PAGE_SIZE).astype(np.uint16)

    def flags(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.uint8]:
        """All 0."""
        return constant(pages, 0).astype(np.uint8)

    def page(self, number: int, version: int = 0) -> bytes:
        """Random bytes, then zeros: as long as the reference codec makes them, within some bytes."""
        size = int(self.sizes([number], version, self.codec)[0])
        drawn = random_bytes(self.seed, number, self._one_version(version), max(size - OVERHEAD, 8))
        return drawn.ljust(PAGE_SIZE, b"\0")


@dataclass(frozen=True, kw_only=True)
class Compressible(Sized):
    """Sizes around a mean: log-normal, clipped to 32..4096 bytes.

    The clipping moves the mean by less than 1 % for a spread of up to 0.3 and a ratio of 2 or more.
    """

    ratio: float | None = None
    """Original bytes to mean compressed bytes, 1 or more; None: typical for each codec."""
    spread: float = 0.3
    """Standard deviation of the size, as a share of its mean; 0: all pages alike."""

    def __post_init__(self) -> None:
        if self.ratio is not None and not 1.0 <= self.ratio <= PAGE_SIZE / MIN_SIZE:
            raise ContentError(f"ratio {self.ratio}: must lie in 1..{PAGE_SIZE // MIN_SIZE}")
        if not 0.0 <= self.spread <= 2.0:
            raise ContentError(f"spread {self.spread}: must lie in 0..2")
        get(self.codec)

    def draw(self, pages: ArrayLike, version: ArrayLike, codec: Codec) -> NDArray[np.float64]:
        """Log-normal sizes; the normal deviates come from Box and Muller's transform."""
        ratio = get(self.codec).cost.ratio if self.ratio is None else self.ratio
        mean = PAGE_SIZE / ratio * self.scale(codec)
        variance = np.log1p(self.spread**2)
        radius = np.sqrt(-2.0 * np.log1p(-uniform(self.seed, pages, version, 1)))
        deviates = radius * np.cos(2.0 * np.pi * uniform(self.seed, pages, version, 2))
        drawn: NDArray[np.float64] = mean * np.exp(np.sqrt(variance) * deviates - variance / 2)
        return drawn


@dataclass(frozen=True, kw_only=True)
class Histogram(Sized):
    """Sizes from a measured histogram of equal buckets over 0..4096 bytes, even within a bucket."""

    weights: Sequence[float] | Mapping[str, Sequence[float]]
    """Weight of each bucket, in any unit; a mapping gives each codec its own, others use that of `codec`."""

    def __post_init__(self) -> None:
        get(self.codec)
        if isinstance(self.weights, Mapping) and self.codec not in self.weights:
            raise ContentError(f"histogram without weights for its reference codec {self.codec!r}")
        for name in self.weights if isinstance(self.weights, Mapping) else [self.codec]:
            weights = np.asarray(self._weights(name), np.float64)
            valid = weights.ndim == 1 and weights.size and np.isfinite(weights).all() and (weights >= 0).all()
            if not (valid and weights.sum() > 0):
                raise ContentError(
                    f"histogram weights {self._weights(name)!r}: must be 0 or more, not all of them 0"
                )

    def _weights(self, codec: str) -> Sequence[float]:
        return self.weights[codec] if isinstance(self.weights, Mapping) else self.weights

    def draw(self, pages: ArrayLike, version: ArrayLike, codec: Codec) -> NDArray[np.float64]:
        """Inverse of the cumulative histogram; one draw decides the size under every codec."""
        own = isinstance(self.weights, Mapping) and codec.name in self.weights
        weights = np.asarray(self._weights(codec.name if own else self.codec), np.float64)
        edges = np.linspace(0.0, PAGE_SIZE, weights.size + 1)
        cumulative = np.concatenate([[0.0], np.cumsum(weights)])
        drawn: NDArray[np.float64] = np.interp(
            uniform(self.seed, pages, version, 1) * cumulative[-1], cumulative, edges
        )
        return drawn if own else drawn * np.float64(self.scale(codec))


@dataclass(frozen=True, kw_only=True)
class Mix(Content):
    """Each page belongs to one of several contents, drawn by weight.

    If pages change on write, a page that was written to may also move from one part to another.
    """

    parts: Sequence[tuple[float, Content]]
    """(weight, content) pairs; weights in any unit."""

    def __post_init__(self) -> None:
        weights = np.array([weight for weight, _ in self.parts], np.float64)
        if not (weights.size and np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ContentError(f"weights {weights.tolist()} of a mix: must be 0 or more, not all of them 0")

    def with_seed(self, seed: int) -> Self:
        """The same mix with other seeds, a different one for each part."""
        parts = [(w, part.with_seed(seed * 31 + i + 1)) for i, (w, part) in enumerate(self.parts)]
        return replace(self, seed=seed, parts=tuple(parts))

    def _choose(self, pages: ArrayLike, version: ArrayLike) -> NDArray[np.intp]:
        cumulative = np.cumsum([weight for weight, _ in self.parts])
        drawn = uniform(self.seed, pages, self._version(version), 3) * cumulative[-1]
        chosen: NDArray[np.intp] = np.searchsorted(cumulative, drawn, side="right")
        return chosen

    def sizes(
        self, pages: ArrayLike, version: ArrayLike = 0, codec: str | Codec = "lz4"
    ) -> NDArray[np.uint16]:
        """Sizes from the part that each page belongs to."""
        pages = np.atleast_1d(np.asarray(pages))
        version = np.broadcast_to(np.asarray(version), pages.shape)
        out = np.zeros(pages.shape, np.uint16)
        chosen = self._choose(pages, version)
        for i, (_, part) in enumerate(self.parts):
            mine = chosen == i
            if mine.any():
                out[mine] = part.sizes(pages[mine], version[mine], codec)
        return out

    def flags(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.uint8]:
        """Flags from the part that each page belongs to."""
        pages = np.atleast_1d(np.asarray(pages))
        version = np.broadcast_to(np.asarray(version), pages.shape)
        out = np.zeros(pages.shape, np.uint8)
        chosen = self._choose(pages, version)
        for i, (_, part) in enumerate(self.parts):
            mine = chosen == i
            if mine.any():
                out[mine] = part.flags(pages[mine], version[mine])
        return out

    def page(self, number: int, version: int = 0) -> bytes:
        """The page of the part it belongs to."""
        return self.parts[int(self._choose([number], version)[0])][1].page(number, version)


# ---- measured presets -------------------------------------------------------------------------------------
# Share of non-uniform pages per bucket of 512 compressed bytes, %, as measured page by page.


def heap(seed: int = 0, changes_on_write: bool = False) -> Mix:
    """Heaps of Python processes: 27.6 % zero, 0.4 % incompressible pages; ratio 3.6 by LZ4, 7.5 by zstd."""
    sizes = Histogram(
        changes_on_write=changes_on_write,
        weights={
            "lz4": (0, 63, 12, 15, 9, 0, 0, 0),
            "lzo": (0, 73, 4, 22, 1, 0, 0, 0),
            "lzo-rle": (0, 73, 4, 22, 1, 0, 0, 0),
            "zstd": (59, 29, 10, 1, 1, 0, 0, 0),
        },
    )
    return Mix(
        changes_on_write=changes_on_write, parts=((27.6, Zero()), (72.0, sizes), (0.4, Random()))
    ).with_seed(seed)


def executables(seed: int = 0, changes_on_write: bool = False) -> Mix:
    """Code and constants of programs: 1.2 % incompressible, ratio 1.6 under LZ4 and 2.0 under zstd."""
    sizes = Histogram(
        changes_on_write=changes_on_write,
        weights={
            "lz4": (0, 1, 4, 11, 16, 45, 21, 1),
            "lzo": (0, 1, 5, 12, 21, 42, 16, 1),
            "lzo-rle": (0, 1, 5, 12, 21, 42, 16, 1),
            "zstd": (1, 4, 13, 31, 33, 16, 0, 0),
        },
    )
    return Mix(changes_on_write=changes_on_write, parts=((98.8, sizes), (1.2, Random()))).with_seed(seed)


def typical(seed: int = 0, changes_on_write: bool = False) -> Mix:
    """Anonymous memory where nothing is known: 15 % zero pages, 3 % incompressible, the rest compressible."""
    return Mix(
        changes_on_write=changes_on_write,
        parts=((15.0, Zero()), (82.0, Compressible(changes_on_write=changes_on_write)), (3.0, Random())),
    ).with_seed(seed)
