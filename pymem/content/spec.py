"""Contents from text, as scenarios write them.

    "half"                                          one content
    "compressible(ratio=3, spread=0.2)"             with parameters
    "15*zero + 82*compressible + 3*random"          a mix; weights in any unit, 1 if left out
    "file:/var/tmp/sample.bin", "core:core.1234"    real bytes (lengths as the codec really makes them)
    "pid:1234"                                      a sample of a live process, taken when the text is read

Parameters that every content takes: `seed` (integer) and `changes_on_write` (true or false).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pymem.content.base import Content, ContentError
from pymem.content.distributions import Compressible, Histogram, Mix, executables, heap, typical
from pymem.content.models import Half, Random, SameFilled, Zero, Zero64
from pymem.content.real import RealBytes
from pymem.content.sources import ElfCoreSource, FileSource, PageSource, ProcessSource

NAMES: dict[str, Callable[..., Content]] = {
    "compressible": Compressible,
    "executables": executables,
    "half": Half,
    "heap": heap,
    "histogram": Histogram,
    "random": Random,
    "same": SameFilled,
    "typical": typical,
    "zero": Zero,
    "zero64": Zero64,
}
SOURCES: dict[str, Callable[[str], PageSource]] = {
    "core": ElfCoreSource,
    "file": FileSource,
    "pid": lambda text: ProcessSource(_pid(text)),
}

_TERM = re.compile(
    r"\s*(?:(?P<weight>[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*\*\s*)?(?P<name>[a-z][a-z0-9]*)"
    r"\s*(?:\((?P<arguments>[^()]*)\))?\s*"
)
_ARGUMENT = re.compile(r"\s*([a-z_]+)\s*=\s*(\[[^\]]*\]|[^,\[\]]+?)\s*(?:,|$)")


def parse(spec: str | Content | Mapping[str, float] | None, seed: int = 0) -> Content:
    """A content from text, from a mapping of texts to weights, or as it is; None: `typical`.

    Parameters
    ----------
    spec
        See the module.
    seed
        Given to the content unless it names its own.

    Raises
    ------
    ContentError
        Unknown name or parameter, a value of the wrong kind or out of range, unreadable bytes.

    """
    if isinstance(spec, Content):
        return spec
    if spec is None:
        return typical(seed)
    if isinstance(spec, Mapping):
        if not spec:
            raise ContentError("content: an empty table; it maps contents to their weights")
        return Mix(parts=tuple((_weight(w, text), parse(text)) for text, w in spec.items())).with_seed(seed)
    if not isinstance(spec, str):
        raise ContentError(
            f"content {spec!r}: must be text such as 'half' or a table of contents and weights"
        )
    kind, colon, rest = spec.partition(":")
    if colon and kind.strip() in SOURCES:
        return RealBytes(source=SOURCES[kind.strip()](rest.strip()), seed=seed)
    terms = _terms(spec)
    if len(terms) == 1 and terms[0][0] is None:
        return _build(spec, terms[0][1], terms[0][2], seed)
    parts = tuple(
        (1.0 if w is None else w, _build(spec, name, arguments, None)) for w, name, arguments in terms
    )
    return Mix(parts=parts).with_seed(seed)


def _terms(spec: str) -> list[tuple[float | None, str, str]]:
    """(weight, name, text of the arguments) of each term of a sum."""
    terms = []
    at = 0
    while True:
        match = _TERM.match(spec, at)
        if match is None:
            raise ContentError(
                f"content {spec!r}: no content at {spec[at:]!r}; known are {', '.join(sorted(NAMES))}"
            )
        weight = None if match["weight"] is None else _weight(match["weight"], spec)
        terms.append((weight, match["name"], match["arguments"] or ""))
        at = match.end()
        if at == len(spec):
            return terms
        if spec[at] != "+":
            raise ContentError(f"content {spec!r}: '+' expected at {spec[at:]!r}")
        at += 1


def _weight(value: object, spec: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ContentError(f"content {spec!r}: weight {value!r} is no number") from None


def _build(spec: str, name: str, arguments: str, seed: int | None) -> Content:
    """One content by its name; a seed in the arguments goes before the given one."""
    make = NAMES.get(name)
    if make is None:
        raise ContentError(
            f"content {spec!r}: nothing is called {name!r}; known are {', '.join(sorted(NAMES))}"
        )
    given: dict[str, Any] = {} if seed is None else {"seed": seed}
    at = 0
    while at < len(arguments.rstrip()):
        match = _ARGUMENT.match(arguments, at)
        if match is None:
            raise ContentError(f"content {spec!r}: 'name=value' expected at {arguments[at:]!r}")
        given[match[1]] = _value(match[2], spec)
        at = match.end()
    try:
        return make(**given)
    except TypeError as error:
        raise ContentError(f"content {spec!r}: wrong parameters for {name!r}: {_short(error)}") from None


def _value(text: str, spec: str) -> object:
    """A number, true or false, none, a word, or a list of numbers in brackets."""
    if text.startswith("["):
        return tuple(_weight(item, spec) for item in text[1:-1].split(","))
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (lambda number: int(number, 0), float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def _short(error: TypeError) -> str:
    return str(error).replace("__init__() ", "").replace("got an unexpected keyword argument", "unknown is")


def _pid(text: str) -> int:
    if not text.isdecimal():
        raise ContentError(f"content 'pid:{text}': {text!r} is no process id")
    return int(text)
