from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

class LackeyParser:
    name: str
    window: int
    lines: int
    fetches: int
    loads: int
    stores: int
    modifies: int
    records: int
    runs: int
    def __init__(
        self,
        sink: Callable[[NDArray[Any]], None],
        other: Callable[[bytes, int], None] | None = None,
        window: int = 64,
        name: str = "<lackey>",
    ) -> None: ...
    @property
    def pages(self) -> int: ...
    def touched(self) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def touch(self, page: int, write: bool) -> None: ...
    def drain(self) -> None: ...
    def event(self, record: int) -> None: ...
    def flush(self) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def close(self) -> None: ...
