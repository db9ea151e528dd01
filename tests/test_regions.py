"""Regions of a task: sizes, defaults, and tables of scenario files."""

import pytest

from pymem.errors import ScenarioError
from pymem.regions import MAX_PAGES, Anon, File, region_from


def test_pages_and_size_say_the_same():
    assert Anon(pages=512) == Anon(size="2MiB") == Anon(size=2 << 20)
    assert File(pages=3, name="x") == File(size=3 * 4096, name="x")


def test_defaults_are_those_of_a_shared_mapping_of_a_file():
    file = File(1)
    assert (file.name, file.shared, file.writable, file.offset) == ("data", True, True, 0)
    assert (file.executable, file.advice, file.locked) == (False, "normal", False)
    assert Anon(1).locked is False


@pytest.mark.parametrize("cls", [Anon, File])
@pytest.mark.parametrize("pages", [0, -1, MAX_PAGES + 1, 1.0, "3", True])
def test_a_number_of_pages_that_is_none(cls, pages):
    with pytest.raises(ScenarioError, match=rf"\.pages: .*; accepted is 1 to {MAX_PAGES}"):
        cls(pages=pages)


@pytest.mark.parametrize("cls", [Anon, File])
@pytest.mark.parametrize("arguments", [{}, {"pages": 1, "size": 4096}])
def test_either_pages_or_size(cls, arguments):
    with pytest.raises(ScenarioError, match="give either pages or size"):
        cls(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "4MB2"}, r"region anon\.size: '4MB2' is not understood"),
        ({"size": 0}, r"region anon\.pages: 0; accepted is 1"),
        ({"size": "5k"}, r"region anon\.size: '5k' is 5120 bytes; accepted is a multiple"),
        ({"size": "16384PiB"}, "too large"),
    ],
)
def test_a_size_that_is_none(arguments, message):
    with pytest.raises(ScenarioError, match=message):
        Anon(**arguments)


@pytest.mark.parametrize("offset", [-1, 1.5, "0", True, MAX_PAGES + 1])
def test_an_offset_that_is_none(offset):
    with pytest.raises(ScenarioError, match=r"region file 'log'\.offset: .*; accepted is a page from 0 to"):
        File(1, name="log", offset=offset)


def test_advice_is_one_of_three():
    assert File(1, advice="random").advice == "random"
    with pytest.raises(ScenarioError, match=r"'data'\.advice: 'willneed'; accepted are normal, sequential, random"):
        File(1, advice="willneed")


def test_a_region_does_not_change():
    for region in (Anon(1), File(1)):
        with pytest.raises(AttributeError):
            region.pages = 2


@pytest.mark.parametrize(
    ("table", "region"),
    [
        ({"size": "64MiB"}, Anon(pages=16384)),
        ({"kind": "anon", "pages": 3, "name": "heap", "locked": True}, Anon(3, name="heap", locked=True)),
        (
            {"kind": "file", "size": "8KiB", "name": "db", "shared": False, "offset": 7, "advice": "sequential"},
            File(2, name="db", shared=False, offset=7, advice="sequential"),
        ),
        ({"kind": "file", "pages": 1, "executable": True, "writable": False}, File(1, executable=True, writable=False)),
    ],
)
def test_tables_of_scenario_files(table, region):
    assert region_from(table, "r") == region
    assert region_from(region, "r") is region


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"^tasks\[0\].regions\[1\]: 3; accepted is a table with kind = 'anon' or 'file'"),
        ({"kind": "shm"}, r"^tasks\[0\].regions\[1\]\.kind: 'shm'; accepted are 'anon' and 'file'"),
        ({"kind": ["anon"]}, r"^tasks\[0\].regions\[1\]\.kind: \['anon'\]; accepted are 'anon' and 'file'"),
        (
            {"pages": 1, "shared": True},
            r"regions\[1\]\.shared: unknown key; accepted are kind, size, pages, name, locked",
        ),
        ({"kind": "file", "pages": 1, "mode": "r"}, r"regions\[1\]\.mode: unknown key; accepted are kind, size, pages"),
        ({"pages": 0}, r"^tasks\[0\].regions\[1\]: region anon\.pages: 0; accepted"),
        ({"size": "1.5 lines"}, r"^tasks\[0\].regions\[1\]: region anon\.size: unit 'lines'|is not understood"),
        ({"pages": 1, "locked": "no"}, r"regions\[1\]: region anon\.locked: 'no'; accepted is true or false"),
        ({"kind": "file", "pages": 1, "shared": 0}, r"regions\[1\]: region file 'data'\.shared: 0; accepted is true"),
        ({"pages": 1, "name": 3}, r"regions\[1\]: region anon\.name: 3; accepted is a text"),
    ],
)
def test_a_table_that_is_no_region(value, message):
    with pytest.raises(ScenarioError, match=message):
        region_from(value, "tasks[0].regions[1]")
