"""Sizes, times and shares: what is read, what is refused, what is printed."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem import units
from pymem.errors import UnitError

POWERS = {"": 0, "B": 0, "k": 1, "KB": 1, "KiB": 1, "m": 2, "MiB": 2, "G": 3, "GB": 3, "TiB": 4, "PiB": 5}
TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


@pytest.mark.parametrize("unit", POWERS)
@pytest.mark.parametrize("space", ["", " "])
def test_a_size_is_binary_however_it_is_spelled(unit, space):
    assert units.parse_bytes(f"3{space}{unit}") == 3 * 1024 ** POWERS[unit]
    assert units.parse_bytes(f"3{space}{unit.lower()}") == 3 * 1024 ** POWERS[unit]


@given(st.integers(0, 9999), st.integers(0, 999), st.sampled_from([unit for unit in POWERS if POWERS[unit]]))
def test_fractions_of_a_size_are_exact_and_rounded_down(whole, thousandths, unit):
    exact = (whole + Fraction(thousandths, 1000)) * 1024 ** POWERS[unit]
    assert units.parse_bytes(f"{whole}.{thousandths:03d}{unit}") == int(exact)


@given(st.integers(0, 9999), st.integers(0, 999), st.sampled_from(sorted(TIMES)))
def test_fractions_of_a_time_are_exact_and_rounded_down(whole, thousandths, unit):
    exact = (whole + Fraction(thousandths, 1000)) * TIMES[unit]
    assert units.parse_time(f"{whole}.{thousandths:03d} {unit}") == int(exact)


def test_plain_numbers_stand_for_themselves():
    assert units.parse_bytes(4097) == 4097
    assert units.parse_bytes("4_097") == 4097
    assert units.parse_time(17) == 17
    assert units.parse_time("1_000") == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "MiB",
        "-1",
        "1.5.2k",
        "1e3",
        "1__0",
        "1_",
        "_1",
        ".5k",
        "4.k",
        "4i",
        "4ib",
        "4bb",
        "4bib",
        "4 K B",
        "4ms",
        "４k",
        "4k\0",
        "0x10",
        "4" * 5000,
        "1.5",
        "1.5B",
    ],
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UnitError, match=r"^disk: .*accepted is a number of bytes"):
        units.parse_bytes(text, "disk")


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1.5", "5MS", "5Min", "5 sec", "5m", "5k", "1__0ns", "1e3s", "9" * 5000]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UnitError, match=r"^start: .*accepted is a whole number of ns"):
        units.parse_time(text, "start")


@pytest.mark.parametrize("value", [True, False, None, 1.5, [], {}, b"4k"])
def test_other_types_are_refused(value):
    for parse in (units.parse_bytes, units.parse_pages, units.parse_time):
        with pytest.raises(UnitError, match="is not understood; accepted is"):
            parse(value)


def test_numbers_the_engine_could_not_hold_are_refused():
    assert units.parse_bytes("8191PiB") == 8191 << 50
    assert units.parse_time(units.MAX_TIME) == 1 << 62
    for parse, value in (
        (units.parse_bytes, "8192PiB"),
        (units.parse_bytes, 1 << 63),
        (units.parse_time, "2000000h"),
        (units.parse_time, (1 << 62) + 1),
    ):
        with pytest.raises(UnitError, match="too large; accepted is up to"):
            parse(value)
    for parse in (units.parse_bytes, units.parse_time):
        with pytest.raises(UnitError, match="-1 is negative"):
            parse(-1)


def test_pages_are_whole():
    assert units.parse_pages("1MiB") == 256
    assert units.parse_pages(0) == 0
    with pytest.raises(UnitError, match=r"swap: '1k' is 1024 bytes; accepted is a multiple of the page size, 4096"):
        units.parse_pages("1k", "swap")


@pytest.mark.parametrize(
    ("value", "share"), [(0, 0.0), (1, 1.0), (0.25, 0.25), ("10%", 0.1), ("2.5 %", 0.025), ("0.5", 0.5)]
)
def test_shares(value, share):
    assert units.parse_share(value) == pytest.approx(share, abs=1e-15)


@pytest.mark.parametrize("value", [1.01, -0.1, float("nan"), float("inf"), "101%", "-1%", "half", "5k", True, None, ""])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(UnitError, match=r"^writes: .*accepted is a number from 0 to 1"):
        units.parse_share(value, "writes")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (-1536, "-1.5 KiB"),
        (512 << 20, "512.0 MiB"),
        (5 << 50, "5120.0 TiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1023.9 * 1024, "1023.9 KiB"),
        (1023.7, "1.0 KiB"),
    ],
)
def test_sizes_are_printed_in_the_unit_that_fits_after_rounding(size, text):
    assert units.format_bytes(size) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (999.7, "1.00 µs"),
        (1250, "1.25 µs"),
        (999_999, "1.00 ms"),
        (-5_000_000, "-5.00 ms"),
        (999_999_999, "1.00 s"),
        (3600 * 10**9, "3600.00 s"),
    ],
)
def test_times_are_printed_in_the_unit_that_fits_after_rounding(ns, text):
    assert units.format_time(ns) == text


@given(st.integers(0, (1 << 50) - 1))
def test_a_printed_size_reads_back_within_half_of_its_last_digit(size):
    text = units.format_bytes(size)
    unit = units.parse_bytes("1" + text.split()[1])
    assert abs(units.parse_bytes(text) - size) <= unit * 0.05 + 1


@given(st.integers(0, 10**15))
def test_a_printed_time_reads_back_within_half_of_its_last_digit(ns):
    text = units.format_time(ns)
    unit = units.parse_time("1" + text.split()[1])
    assert abs(units.parse_time(text) - ns) <= unit * 0.005 + 1


def test_pages_are_printed_as_a_size():
    assert units.format_pages(256) == "1.0 MiB"
