"""The Python interface is documented: every public name with its parameters, on a page of its own kind."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import pymem

API = Path(__file__).resolve().parent.parent / "docs" / "api"
PACKAGES = {"workloads": pymem.workloads.__all__, "oom": pymem.oom.__all__, "units": [
    name for name, value in vars(pymem.units).items() if inspect.isfunction(value) and not name.startswith("_")
]}  # fmt: skip
NAMES = [f"pymem.{name}" for name in pymem.__all__ if not name.startswith("__")]
NAMES += [f"pymem.{package}.{name}" for package, names in PACKAGES.items() for name in names]


def look_up(name: str) -> object:
    place, _, last = name.rpartition(".")
    return getattr(importlib.import_module(place), last)


CALLABLES = [name for name in NAMES if callable(look_up(name))]


def parameters(value) -> list[str]:
    """Names of the parameters a person passes."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return []  # raised by pymem only
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def undocumented(value) -> list[str]:
    """What a docstring does not say; all of it where the docstring is none, or made up by `dataclass`."""
    text = inspect.getdoc(value) or ""
    protocol = getattr(value, "_is_protocol", False)
    names = [] if protocol else parameters(value)
    if not text or text.startswith(f"{getattr(value, '__name__', '')}("):
        return names or ["everything"]
    return [name for name in names if not re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize("name", CALLABLES)
def test_a_public_name_has_a_docstring_with_its_parameters(name):
    assert not undocumented(look_up(name))


@pytest.mark.parametrize("name", [n for n in CALLABLES if n.count(".") == 1 and inspect.isclass(look_up(n))])
def test_methods_of_what_pymem_exports_are_documented(name):
    cls = look_up(name)
    missing = {}
    for method, value in vars(cls).items():
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not method.startswith("_") and inspect.isfunction(value) and (lacking := undocumented(value)):
            missing[method] = lacking
    assert not missing


@pytest.mark.parametrize("name", PACKAGES)
def test_modules_that_are_exported_are_explained(name):
    assert (getattr(pymem, name).__doc__ or "").strip()


def test_the_page_of_pymem_has_every_name():
    page = (API / "pymem.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto(?:class|function|exception):: pymem\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(n.rpartition(".")[2] for n in CALLABLES if n.count(".") == 1)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_have_pages(package):
    assert f".. automodule:: pymem.{package}\n" in (API / f"{package}.md").read_text(encoding="utf-8")


def test_what_is_not_documented_is_found():
    def good(size, kind="x"):
        """Takes a size and a kind."""

    def bad(size, kind="x"):
        """Takes a size."""

    def silent(size):
        pass

    assert undocumented(good) == []
    assert undocumented(bad) == ["kind"]
    assert undocumented(silent) == ["size"]
