from typing import Any

from numpy.typing import NDArray

ADDRESS: int
BLOCK: int
KEY: int

class Places:
    kind: int
    known: int
    empty: int
    def __init__(self, kind: int) -> None: ...
    def take(
        self, place: NDArray[Any], size: NDArray[Any], write: NDArray[Any], stream: NDArray[Any] | None = None,
        time: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any] | None]: ...
    def all(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
