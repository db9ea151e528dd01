"""Sizes, times and shares as people write them: the only parser and the only formatter.

Sizes are binary whichever way they are spelled (``4k``, ``4KB``, ``4KiB`` are all 4096 bytes), as everywhere in
``/proc/meminfo``.  Times become integer nanoseconds.
"""

from __future__ import annotations

import re

from pymem.errors import UnitError

PAGE_SIZE = 4096

_NUMBER = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-zA-Zµ%]*)\s*")
_SIZES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


def _split(text: str, key: str, accepted: str) -> tuple[str, str]:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise UnitError(f"{key}: {text!r} is not understood; accepted is {accepted}")
    return found.group(1).replace("_", ""), found.group(2)


def _scaled(number: str, factor: int) -> int:
    whole, _, part = number.partition(".")
    return int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)


def parse_bytes(value: int | str, key: str = "size") -> int:
    """Bytes of a size such as 4096, ``"4k"``, ``"512MiB"`` or ``"1.5GiB"``.

    Raises
    ------
    UnitError
        Not a size, or negative.
    """
    accepted = "a number of bytes, or a number with KiB, MiB, GiB or TiB, such as '512MiB'"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UnitError(f"{key}: {value!r} is not understood; accepted is {accepted}")
    if isinstance(value, int):
        if value < 0:
            raise UnitError(f"{key}: {value} is negative; accepted is {accepted}")
        return value
    number, unit = _split(value, key, accepted)
    letter = unit.lower().removesuffix("ib").removesuffix("b") if unit.lower() != "b" else ""
    if letter not in _SIZES:
        raise UnitError(f"{key}: unit {unit!r} of {value!r} is unknown; accepted is {accepted}")
    return _scaled(number, 1 << _SIZES[letter])


def parse_pages(value: int | str, key: str = "size") -> int:
    """Whole pages of 4096 bytes in a size; a size that is no multiple raises UnitError."""
    size = parse_bytes(value, key)
    if size % PAGE_SIZE:
        raise UnitError(f"{key}: {value!r} is {size} bytes; accepted is a multiple of the page size, {PAGE_SIZE}")
    return size // PAGE_SIZE


def parse_time(value: int | str, key: str = "time") -> int:
    """Nanoseconds of a time such as ``"5ms"`` or ``"1.5s"``; a bare integer is nanoseconds.

    Raises
    ------
    UnitError
        Not a time, or negative.
    """
    accepted = "a whole number of ns, or a number with ns, us, ms, s, min or h, such as '5ms'"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UnitError(f"{key}: {value!r} is not understood; accepted is {accepted}")
    if isinstance(value, int):
        if value < 0:
            raise UnitError(f"{key}: {value} is negative; accepted is {accepted}")
        return value
    number, unit = _split(value, key, accepted)
    if unit not in _TIMES:
        raise UnitError(f"{key}: unit {unit!r} of {value!r} is unknown; accepted is {accepted}")
    return _scaled(number, _TIMES[unit])


def parse_share(value: float | str, key: str = "share") -> float:
    """A share from 0 to 1: a number, or percent such as ``"10%"``. Raises UnitError."""
    accepted = "a number from 0 to 1, or percent such as '10%'"
    share: float
    if isinstance(value, str):
        number, unit = _split(value, key, accepted)
        if unit not in ("", "%"):
            raise UnitError(f"{key}: unit {unit!r} of {value!r} is unknown; accepted is {accepted}")
        share = float(number) / (100 if unit else 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        share = float(value)
    else:
        raise UnitError(f"{key}: {value!r} is not understood; accepted is {accepted}")
    if not 0 <= share <= 1:
        raise UnitError(f"{key}: {value!r} is out of range; accepted is {accepted}")
    return share


def format_bytes(size: float) -> str:
    """A size for people: ``512.0 MiB``."""
    sign, rest = ("-", -size) if size < 0 else ("", size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if rest < 1024 or unit == "TiB":
            break
        rest /= 1024
    return f"{sign}{rest:.0f} B" if unit == "B" else f"{sign}{rest:.1f} {unit}"


def format_pages(pages: float) -> str:
    """A number of pages as a size for people."""
    return format_bytes(pages * PAGE_SIZE)


def format_time(ns: float) -> str:
    """A time for people: ``1.25 ms``."""
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if abs(ns) >= factor:
            return f"{ns / factor:.2f} {unit}"
    return f"{ns:.0f} ns"
