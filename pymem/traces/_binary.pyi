from typing import Any

from numpy.typing import NDArray

def requests(
    data: NDArray[Any], layout: Any, first: int, meanings: NDArray[Any]
) -> tuple[list[int], int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def commands(
    data: NDArray[Any], layout: Any, version: int, meanings: NDArray[Any]
) -> tuple[list[int], int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def instructions(data: NDArray[Any], layout: Any) -> tuple[list[int], NDArray[Any], NDArray[Any]]: ...

class Entries:
    pids: dict[int, int]
    def __init__(self, fetched: NDArray[Any]) -> None: ...
    def take(
        self, data: NDArray[Any]
    ) -> tuple[
        list[int], int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any]
    ]: ...
