from typing import Any

from numpy.typing import NDArray

class ReuseDistances:
    cold: int
    live: int
    def __init__(self, pages: int, *, slots: int = 65536) -> None: ...
    def feed(self, pages: NDArray[Any]) -> None: ...
    def histogram(self) -> NDArray[Any]: ...
