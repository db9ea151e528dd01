"""Models of content whose pages are all of one kind; distributions and mixes are in `distributions`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pymem.codecs import get
from pymem.codecs.base import PAGE_SIZE, Codec
from pymem.content.base import (
    SAME_FILLED,
    ZERO_FILLED,
    Content,
    ContentError,
    constant,
    hash_pages,
    random_bytes,
    same_filled_page,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class SameFilled(Content):
    """Pages that repeat one 8-byte word."""

    value: int | None = None
    """The word, 0..2**64-1; None: another one for each page, never zero."""

    def __post_init__(self) -> None:
        if self.value is not None and not 0 <= self.value < 1 << 64:
            raise ContentError(f"same-filled value {self.value}: must lie in 0..2**64-1")

    def sizes(
        self, pages: ArrayLike, version: ArrayLike = 0, codec: str | Codec = "lz4"
    ) -> NDArray[np.uint16]:
        """All 0."""
        return constant(pages, 0).astype(np.uint16)

    def flags(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.uint8]:
        """All SAME_FILLED, with ZERO_FILLED where the value is 0."""
        flags = SAME_FILLED | ZERO_FILLED if self.value == 0 else SAME_FILLED
        return constant(pages, flags).astype(np.uint8)

    def page(self, number: int, version: int = 0) -> bytes:
        """The page itself."""
        if self.value is not None:
            return same_filled_page(self.value)
        drawn = hash_pages(self.seed, [number], self._version(version))[0]
        return same_filled_page(int(drawn) | 1)


@dataclass(frozen=True, kw_only=True)
class Zero(SameFilled):
    """Pages of zero bytes."""

    value: int | None = 0


@dataclass(frozen=True, kw_only=True)
class Alike(Content):
    """Pages of one pattern with random bytes in it, which therefore all compress to the same size."""

    period: ClassVar[int]
    """Bytes after which the pattern starts again."""
    random: ClassVar[int]
    """Random bytes at the start of each period; the others are zero."""
    known: ClassVar[Mapping[str, int]]
    """Sizes by codec, measured; other codecs are asked once for one page."""

    def sizes(
        self, pages: ArrayLike, version: ArrayLike = 0, codec: str | Codec = "lz4"
    ) -> NDArray[np.uint16]:
        """The one size."""
        found = get(codec)
        size = self.known.get(found.name)
        return constant(pages, _measured(type(self), found) if size is None else size).astype(np.uint16)

    def flags(self, pages: ArrayLike, version: ArrayLike = 0) -> NDArray[np.uint8]:
        """All 0."""
        return constant(pages, 0).astype(np.uint8)

    def page(self, number: int, version: int = 0) -> bytes:
        """The page itself."""
        times = PAGE_SIZE // self.period
        drawn = random_bytes(self.seed, number, self._one_version(version), self.random * times)
        rest = bytes(self.period - self.random)
        return b"".join(drawn[i * self.random : (i + 1) * self.random] + rest for i in range(times))


@lru_cache
def _measured(model: type[Alike], codec: Codec) -> int:
    return codec.size(model().page(0))


class Random(Alike):
    """Incompressible pages: 4096 random bytes."""

    period, random = PAGE_SIZE, PAGE_SIZE
    known: ClassVar[Mapping[str, int]] = {
        "lz4": 4114,
        "lzo": 4116,
        "lzo-rle": 4118,
        "zlib": 4140,
        "zstd": 4105,
    }


class Half(Alike):
    """20 random and 44 zero bytes in each 64: LZ4 makes 2.6:1 of it, LZO 2.44:1 (as zram measured it)."""

    period, random = 64, 20
    known: ClassVar[Mapping[str, int]] = {
        "lz4": 1601,
        "lzo": 1681,
        "lzo-rle": 1681,
        "zlib": 1452,
        "zstd": 1350,
    }


class Zero64(Alike):
    """64 random bytes, then zeros: almost nothing is left, yet no page is same-filled."""

    period, random = PAGE_SIZE, 64
    known: ClassVar[Mapping[str, int]] = {"lz4": 91, "lzo": 109, "lzo-rle": 101, "zlib": 97, "zstd": 83}
