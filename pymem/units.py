"""Sizes, times and shares as people write them: the only parser and the only formatter.

Sizes are binary whichever way they are spelled (``4k``, ``4KB``, ``4KiB`` are all 4096 bytes), as everywhere in
``/proc/meminfo``.  Times become integer nanoseconds.
"""

from __future__ import annotations

import re

from pymem.errors import UnitError

PAGE_SIZE = 4096
MAX_BYTES = (1 << 63) - 1
MAX_TIME = 1 << 62  # ns: 146 years

# Both ways to write micro, and no more digits than any size or time has.
_NUMBER = re.compile(r"\s*((?:[0-9]_?){0,29}[0-9](?:\.[0-9]{1,30})?)\s*([a-zA-Zµμ%]*)\s*")
_SIZE = re.compile(r"(?:([kmgtp])(?:i?b)?|b|)", re.IGNORECASE)
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


def _split(text: str, key: str, accepted: str) -> tuple[str, str]:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise UnitError(f"{key}: {text!r:.80} is not understood; accepted is {accepted}")
    return found.group(1).replace("_", ""), found.group(2)


def _scaled(number: str, factor: int) -> int:
    whole, _, part = number.partition(".")
    return int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)


def _bounded(number: int, value: int | str, key: str, limit: int, accepted: str) -> int:
    if number < 0:
        raise UnitError(f"{key}: {value} is negative; accepted is {accepted}")
    if number > limit:
        raise UnitError(f"{key}: {value} is too large; accepted is up to {limit}")
    return number


def parse_bytes(value: int | str, key: str = "size") -> int:
    """Bytes of a size such as 4096, ``"4k"``, ``"512MiB"`` or ``"1.5GiB"``.

    Parameters
    ----------
    value : int or str
    key : str
        What an error calls it.

    Raises
    ------
    UnitError
        Not a size, negative, or above 2^63 - 1.
    """
    accepted = "a number of bytes, or a number with KiB, MiB, GiB or TiB, such as '512MiB'"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UnitError(f"{key}: {value!r} is not understood; accepted is {accepted}")
    if isinstance(value, int):
        return _bounded(value, value, key, MAX_BYTES, accepted)
    number, unit = _split(value, key, accepted)
    found = _SIZE.fullmatch(unit)
    if found is None or (found[1] is None and "." in number):
        raise UnitError(f"{key}: unit {unit!r} of {value!r} does not fit; accepted is {accepted}")
    return _bounded(_scaled(number, 1 << _SHIFTS[(found[1] or "").lower()]), value, key, MAX_BYTES, accepted)


def parse_pages(value: int | str, key: str = "size") -> int:
    """Whole pages of 4096 bytes in a size, see `parse_bytes`.

    Parameters
    ----------
    value : int or str
    key : str
        What an error calls it.

    Raises
    ------
    UnitError
        Not a size, or no multiple of a page.
    """
    size = parse_bytes(value, key)
    if size % PAGE_SIZE:
        raise UnitError(f"{key}: {value!r} is {size} bytes; accepted is a multiple of the page size, {PAGE_SIZE}")
    return size // PAGE_SIZE


def parse_time(value: int | str, key: str = "time") -> int:
    """Nanoseconds of a time such as ``"5ms"`` or ``"1.5s"``; a bare integer, also as text, is nanoseconds.

    Parameters
    ----------
    value : int or str
    key : str
        What an error calls it.

    Raises
    ------
    UnitError
        Not a time, negative, or more than 2^62 ns.
    """
    accepted = "a whole number of ns, or a number with ns, us, ms, s, min or h, such as '5ms'"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UnitError(f"{key}: {value!r} is not understood; accepted is {accepted}")
    if isinstance(value, int):
        return _bounded(value, value, key, MAX_TIME, accepted)
    number, unit = _split(value, key, accepted)
    if not unit and "." not in number:
        unit = "ns"
    if unit not in _TIMES:
        raise UnitError(f"{key}: unit {unit!r} of {value!r} is unknown; accepted is {accepted}")
    return _bounded(_scaled(number, _TIMES[unit]), value, key, MAX_TIME, accepted)


def parse_share(value: float | str, key: str = "share") -> float:
    """A share from 0 to 1: a number, or percent such as ``"10%"``.

    Parameters
    ----------
    value : float or str
    key : str
        What an error calls it.

    Raises
    ------
    UnitError
        Not a share.
    """
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
    """A `size` in bytes for people: ``512.0 MiB``."""
    sign, rest = ("-", -size) if size < 0 else ("", size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if round(rest, 0 if unit == "B" else 1) < 1024 or unit == "TiB":  # as printed: never "1024.0 KiB"
            break
        rest /= 1024
    return f"{sign}{rest:.0f} B" if unit == "B" else f"{sign}{rest:.1f} {unit}"


def format_pages(pages: float) -> str:
    """A number of `pages` as a size for people."""
    return format_bytes(pages * PAGE_SIZE)


def format_time(ns: float) -> str:
    """A time of so many `ns` for people: ``1.25 ms``."""
    if round(abs(ns)) < 1000:
        return f"{ns:.0f} ns"
    for unit, factor in (("µs", 10**3), ("ms", 10**6)):
        if round(abs(ns) / factor, 2) < 1000:  # as printed: never "1000.00 µs"
            return f"{ns / factor:.2f} {unit}"
    return f"{ns / 10**9:.2f} s"
