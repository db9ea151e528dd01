from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

class _SizeClass(TypedDict):
    size: int
    chain: int
    objects_per_zspage: int
    zspages: list[int]
    allocated: int
    used: int
    pages: int
    freeable: int
    fragmentation: float

class _ModelStats(TypedDict):
    objects: int
    bytes: int
    pages: int
    pages_compacted: int
    peak_pages: int

class _PoolStats(TypedDict):
    pages: int
    same_filled: int
    huge: int
    original_bytes: int
    compressed_bytes: int
    pool_bytes: int
    peak_pool_bytes: int
    ratio: float
    pages_compacted: int
    classes: list[_SizeClass]

class _Codec(Protocol):
    @property
    def compress(self) -> Any: ...
    @property
    def decompress(self) -> Any: ...

class _Pool:
    max_pages: int
    @property
    def allocator(self) -> str: ...
    @property
    def kernel(self) -> str: ...
    @property
    def pages(self) -> int: ...
    @property
    def objects(self) -> int: ...
    @property
    def max_size(self) -> int: ...
    @property
    def huge_class_size(self) -> int: ...
    def compact(self) -> int: ...
    def freeable(self) -> int: ...
    def verify(self) -> None: ...
    def size_classes(self) -> list[_SizeClass]: ...
    def size_class(self, size: int) -> int: ...

class PoolModel(_Pool):
    def __init__(
        self,
        *,
        allocator: str = "zsmalloc",
        chain: int = 8,
        kernel: str | None = None,
        max_pages: int | None = None,
    ) -> None: ...
    def alloc(self, size: int) -> int: ...
    def size_of(self, handle: int) -> int: ...
    def place_of(self, handle: int) -> tuple[int, int, int, int]: ...
    def free(self, handle: int) -> None: ...
    def fill(self, sizes: NDArray[np.uint16]) -> tuple[int, int, int]: ...
    def churn(self, sizes: NDArray[np.uint16], cycles: int, seed: int = 0) -> int: ...
    def stats(self) -> _ModelStats: ...

class CompressedPool(_Pool):
    def __init__(
        self,
        codec: _Codec,
        *,
        allocator: str = "zsmalloc",
        chain: int = 8,
        kernel: str | None = None,
        max_bytes: int | None = None,
    ) -> None: ...
    @property
    def codec(self) -> Any: ...
    def store(self, page: Buffer) -> int: ...
    def load(self, handle: int) -> bytes: ...
    def free(self, handle: int) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, handle: int) -> bool: ...
    def stats(self) -> _PoolStats: ...
