"""The regions of a task: what its flat space of pages consists of, one region after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pymem.errors import ScenarioError
from pymem.mempolicy import MemPolicy, policy_from
from pymem.units import parse_pages

Advice = Literal["normal", "sequential", "random"]
ADVICES = ("normal", "sequential", "random")
MAX_PAGES = (1 << 32) - 1


def _pages(key: str, pages: int | None, size: int | str | None) -> int:
    if (pages is None) == (size is None):
        raise ScenarioError(f"{key}: give either pages or size")
    count = parse_pages(size, f"{key}.size") if size is not None else pages
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MAX_PAGES:
        raise ScenarioError(f"{key}.pages: {count!r}; accepted is 1 to {MAX_PAGES}")
    return count


def _flag(key: str, value: Any) -> bool:
    # Not every truth value: locked = "no" would be true.
    if not isinstance(value, bool):
        raise ScenarioError(f"{key}: {value!r}; accepted is true or false")
    return value


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ScenarioError(f"{key}.name: {value!r}; accepted is a text")
    return value


def _advice(key: str, advice: str) -> Advice:
    if advice not in ADVICES:
        raise ScenarioError(f"{key}.advice: {advice!r}; accepted are {', '.join(ADVICES)}")
    return advice  # type: ignore[return-value]


@dataclass(frozen=True, init=False)
class Anon:
    """Anonymous private memory (``MAP_PRIVATE | MAP_ANONYMOUS``).

    Parameters
    ----------
    pages : int, optional
    size : int or str, optional
        Instead of `pages`: bytes or ``"64MiB"``.
    name : str
    locked : bool
        As after ``mlock``.
    content : str, mapping or pymem.content.Content, optional
        What the pages contain, as far as compression sees it: see `pymem.content.spec`.  None: as the task says.
    policy : pymem.MemPolicy, str or mapping, optional
        From which NUMA nodes its pages come (``mbind``).  None: as the task says.
    """

    pages: int
    name: str = ""
    locked: bool = False
    content: Any = None
    policy: MemPolicy | None = None

    def __init__(
        self, pages: int | None = None, size: int | str | None = None, name: str = "", locked: bool = False,
        content: Any = None, policy: Any = None,
    ) -> None:  # fmt: skip
        object.__setattr__(self, "pages", _pages("region anon", pages, size))
        object.__setattr__(self, "name", _name("region anon", name))
        object.__setattr__(self, "locked", _flag("region anon.locked", locked))
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "policy", policy_from(policy, "region anon.policy"))


@dataclass(frozen=True, init=False)
class File:
    """Pages of a file: mapped for loads and stores, and read and written by ``read()`` and ``write()``.

    Regions with the same name show the same file, in whichever tasks they are.

    Parameters
    ----------
    pages : int, optional
    size : int or str, optional
        Instead of `pages`.
    name : str
        Name of the file.
    shared : bool
        ``MAP_SHARED``: stores go to the file.  A private mapping copies a page at the first store.
    writable : bool
    offset : int
        First page of the file that the region shows.
    executable : bool
        Mapped pages of program text survive their first reclaim scan (``VM_EXEC``).
    advice : {"normal", "sequential", "random"}
        As given by ``madvise``: governs readahead.
    locked : bool
        As after ``mlock``.
    policy : pymem.MemPolicy, str or mapping, optional
        From which NUMA nodes the copies come that stores to a private mapping make.  Pages of the file itself follow
        the policy of the task that reads them.
    """

    pages: int
    name: str = "data"
    shared: bool = True
    writable: bool = True
    offset: int = 0
    executable: bool = False
    advice: Advice = "normal"
    locked: bool = False
    policy: MemPolicy | None = None

    def __init__(
        self, pages: int | None = None, size: int | str | None = None, name: str = "data", shared: bool = True,
        writable: bool = True, offset: int = 0, executable: bool = False, advice: str = "normal",
        locked: bool = False, policy: Any = None,
    ) -> None:  # fmt: skip
        place = f"region file {name!r}"
        if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= MAX_PAGES:
            raise ScenarioError(f"{place}.offset: {offset!r}; accepted is a page from 0 to {MAX_PAGES}")
        flags = {"shared": shared, "writable": writable, "executable": executable, "locked": locked}
        for key, value in {
            "pages": _pages(place, pages, size), "name": _name(place, name), "offset": offset,
            "advice": _advice(place, advice), "policy": policy_from(policy, f"{place}.policy"),
            **{key: _flag(f"{place}.{key}", value) for key, value in flags.items()},
        }.items():  # fmt: skip
            object.__setattr__(self, key, value)


Region = Anon | File


def region_from(value: Any, key: str) -> Region:
    """The region of a table such as ``{kind = "anon", size = "64MiB"}``; an unknown key raises ScenarioError."""
    if isinstance(value, (Anon, File)):
        return value
    if not isinstance(value, dict):
        raise ScenarioError(f"{key}: {value!r}; accepted is a table with kind = 'anon' or 'file'")
    kinds: dict[str, type[Anon] | type[File]] = {"anon": Anon, "file": File}
    rest = dict(value)
    kind = rest.pop("kind", "anon")
    if not isinstance(kind, str) or kind not in kinds:
        raise ScenarioError(f"{key}.kind: {kind!r}; accepted are 'anon' and 'file'")
    fields = ["size", *kinds[kind].__dataclass_fields__]
    for name in rest:
        if name not in fields:
            raise ScenarioError(f"{key}.{name}: unknown key; accepted are kind, {', '.join(fields)}")
    try:
        return kinds[kind](**rest)
    except ScenarioError as error:
        raise ScenarioError(f"{key}: {error}") from None


