"""The tables of docs/architecture.md, enforced: who may use whom.

The engine is checked by reading its cimports and includes as text, Python by its syntax tree.  A file that
is in no table fails here by name: give it a place on purpose, here and in the document.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MEMCORE = ROOT / "memcore"
PYMEM = ROOT / "pymem"

# A module cimports only from a strictly lower level; modules of one level are strangers.
MEMCORE_LEVELS = [
    "types debug hostmem",  # 0
    "vmstat page pte params clock coro records zonelist zpool",  # 1
    "list watermark pagetable filemap memcg swapfile zsmalloc zbud blkdev psi thread mempolicy",  # 2
    "buddy lruvec mm",  # 3
    "node workingset mobility",  # 4
    "pcp",  # 5
    "machine",  # 6
    "balance fragmentation",  # 7
    "frames rmap sample content placement timer",  # 8
    "slab",  # 9
    "migrate writeback zswap zram",  # 10
    "pageout swapcopy",  # 11
    "shrink zshrink",  # 12
    "scan_count compaction",  # 13
    "vmscan mglru",  # 14
    "page_alloc",  # 15
    "numa readahead swap_state",  # 16
    "fault",  # 17
    "mmap",  # 18
    "task oom",  # 19
    "sched",  # 20
    "assemble topology pagestate",  # 21
    "engine observe compressed_pool _testing",  # 22
]
# The only levels where Python objects, memoryviews and exceptions meet the engine: the last, and parts of it.
DOOR_LEVEL = len(MEMCORE_LEVELS) - 2

# A row imports only from lower rows and from itself.  `pymem/__init__.py` is above all of them.
PYMEM_ROWS = [
    "errors _version",
    "units records files statistics mempolicy",
    "tunables regions codecs numa",
    "devices content compressed_pool",
    "topology traces compressibility",
    "workloads",
    "oom",
    "scenario",
    "provenance procfs objectives settings sysctl plots",
    "result",
    "simulation saved",
    "reports interop sweeps validation hosts teaching",
    "comparison tuning",
    "cli",
    "__main__",
]
# Rows that may import memcore, always at its door.
MEMCORE_USERS = {"simulation", "saved", "result", "procfs", "compressed_pool"}


# ---- the engine -------------------------------------------------------------------------------------------


def memcore_level(module: str) -> int | None:
    """Level of a memcore module, or None where the table does not know it."""
    return next((level for level, names in enumerate(MEMCORE_LEVELS) if module in names.split()), None)


def engine_files(folder: Path, *suffixes: str) -> list[Path]:
    """The files of one folder with these suffixes, sorted."""
    return sorted(path for path in folder.glob("*") if path.suffix in suffixes)


def code_of(path: Path) -> str:
    """Text without comments and docstrings, line count kept, so that prose is never taken for code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".h":
        text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
        return re.sub(r"//.*", "", text)
    text = re.sub(r'"""(?:[^\\]|\\.)*?"""', lambda m: '""' + "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r"\\\n", " ", text)
    # Imported names in parentheses may run over several lines.
    text = re.sub(r"(?:cimport|import)\s*\(([^)]*)\)", lambda m: m.group().replace("\n", " "), text)
    return re.sub(r"#.*", "", text)


def cimported(path: Path) -> set[str]:
    """Dotted names of the modules that a .pyx or .pxd file cimports, relative ones resolved."""
    package = path.parent.relative_to(ROOT).parts
    found = set()
    for line in code_of(path).splitlines():
        if match := re.match(r"\s*from\s+(\.*)([\w.]*)\s+cimport\s+(.*)", line):
            dots, module, names = match.groups()
            base = package[: len(package) - len(dots) + 1] if dots else ()
            target = [*base, *filter(None, module.split("."))]
            if tuple(target) == ("memcore",):  # `from . cimport page, pte as p`
                modules = [name.split()[0] for name in re.sub(r"[()]", "", names).split(",") if name.strip()]
                found |= {".".join([*target, module]) for module in modules}
            else:
                found.add(".".join(target))
        elif match := re.match(r"\s*cimport\s+(.*)", line):
            found |= {name.split()[0] for name in match.group(1).split(",")}
    return found


def test_every_engine_file_has_a_level():
    unknown = [
        path.relative_to(ROOT).as_posix()
        for path in engine_files(MEMCORE, ".pyx", ".pxd", ".h", ".pyi")
        if memcore_level(path.stem) is None
    ]
    assert not unknown, f"not in MEMCORE_LEVELS: {', '.join(unknown)}"


def test_no_engine_name_is_on_two_levels():
    names = " ".join(MEMCORE_LEVELS).split()
    assert len(names) == len(set(names))


def test_the_document_shows_the_same_tables():
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for heading, table in (("levels of the engine", MEMCORE_LEVELS), ("rows of pymem", PYMEM_ROWS)):
        section = re.search(rf"^## The {heading}$(.*?)^## ", document, re.DOTALL | re.MULTILINE).group(1)
        shown: dict[str, int] = {}
        for level, modules in re.findall(r"^\| (\d+) \| ([^|]+) \|", section, re.MULTILINE):
            shown |= {module: int(level) for module in re.findall(r"`(\w+)`", modules)}
        here = {module: level for level, modules in enumerate(table) for module in modules.split()}
        private = {module for module in here if module.startswith("_") and module not in shown}
        assert shown == {m: level for m, level in here.items() if m not in private}


@pytest.mark.parametrize("path", engine_files(MEMCORE, ".pyx", ".pxd"), ids=lambda p: p.name)
def test_cimports_point_down(path):
    own = memcore_level(path.stem)
    assert own is not None, f"{path.name} is not in MEMCORE_LEVELS"
    for target in cimported(path):
        if not target.startswith("memcore"):
            continue
        module = target.removeprefix("memcore.").split(".")[0]
        if module == path.stem:
            continue  # a body reads its own header
        level = memcore_level(module)
        assert level is not None, f"{path.name} cimports {target}, which has no level"
        assert level < own, f"{path.name} (level {own}) cimports {module} (level {level}), which is not lower"


@pytest.mark.parametrize("path", engine_files(MEMCORE, ".pyx", ".pxd", ".h"), ids=lambda p: p.name)
def test_c_headers_point_down(path):
    own = memcore_level(path.stem)
    assert own is not None, f"{path.name} is not in MEMCORE_LEVELS"
    for name in re.findall(r'(?:cdef extern from|#\s*include)\s+"([^"]+)"', code_of(path)):
        assert (MEMCORE / name).is_file(), f"{path.name} includes {name}, which is not in memcore"
        header = Path(name).stem
        assert header == path.stem or memcore_level(header) < own, f"{path.name} includes {name}, not lower"


@pytest.mark.parametrize("path", engine_files(MEMCORE, ".pyx", ".pxd"), ids=lambda p: p.name)
def test_below_the_door_there_is_no_python(path):
    code = code_of(path)
    assert not re.search(r"^\s*(from\s+pymem|c?import\s+pymem)\b", code, re.M), f"{path.name} knows pymem"
    assert not re.search(r"^\s*(include|DEF|IF)\s+[\"'\w]", code, re.M), f"{path.name}: include, DEF or IF"
    directive = r"^#\s*cython\s*:|@cython\.(?!final|no_gc|internal|freelist|auto_pickle)\w+"
    assert not re.search(directive, path.read_text(encoding="utf-8"), re.M), (
        f"{path.name} sets a directive; they belong into setup.py"
    )
    if memcore_level(path.stem) >= DOOR_LEVEL:
        return
    forbidden = {
        "a Python function": r"^\s*(async\s+)?def\s",
        "cpdef": r"\bcpdef\b(?!\s+enum)",
        "a cdef class": r"^\s*cdef\s+class\b",
        "a Python import": r"^\s*(import\s|from\s+\S+\s+import\b)",
        "a memoryview": r"\w\s*\[\s*(::?1|:)\s*(,\s*(::?1|:)\s*)*\]\s*\w",
        "try": r"^\s*try\s*:",
    }
    for what, pattern in forbidden.items():
        match = re.search(pattern, code, re.MULTILINE)
        line = code[: match.start()].count("\n") + 1 if match else 0
        assert not match, f"memcore/{path.name}:{line} has {what}, allowed only at level {DOOR_LEVEL}"


def test_memcore_has_no_python_modules():
    modules = {path.name for path in MEMCORE.rglob("*.py")}
    assert modules <= {"__init__.py"}, f"Python belongs into pymem, not memcore: {sorted(modules)}"


# ---- Python -----------------------------------------------------------------------------------------------


def pymem_row(unit: str) -> int | None:
    """Row of a top-level module or package of pymem, or None where the table does not know it."""
    return next((row for row, names in enumerate(PYMEM_ROWS) if unit in names.split()), None)


def unit_of(path: Path) -> str:
    """The top-level module or package of pymem that a file belongs to."""
    return path.relative_to(PYMEM).parts[0].removesuffix(".py").removesuffix(".pyi").removesuffix(".pyx")


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of every import that runs, inside functions too.

    Names imported from ``pymem`` itself are resolved to ``pymem.<name>``.  Imports for annotations only
    (under ``if TYPE_CHECKING:``) do not count.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = list(path.relative_to(ROOT).parts[:-1])
    found: list[tuple[int, str]] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.extend((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            if module == ["pymem"]:
                found.extend((node.lineno, f"pymem.{alias.name}") for alias in node.names)
            else:
                found.append((node.lineno, ".".join(module)))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


PYMEM_FILES = sorted(path for path in PYMEM.rglob("*.py") if path != PYMEM / "__init__.py")


def test_every_pymem_module_has_a_row():
    sources = [*PYMEM_FILES, *PYMEM.rglob("*.pyx")]
    unknown = sorted({unit_of(path) for path in sources if pymem_row(unit_of(path)) is None})
    assert not unknown, f"not in PYMEM_ROWS: {', '.join(unknown)}"


@pytest.mark.parametrize("path", PYMEM_FILES, ids=lambda p: p.relative_to(PYMEM).as_posix())
def test_imports_point_down(path):
    own = unit_of(path)
    assert pymem_row(own) is not None, f"{own} is not in PYMEM_ROWS"
    for line, target in imports_of(path):
        where = f"{path.relative_to(ROOT).as_posix()}:{line}"
        if target.split(".")[0] == "memcore":
            assert own in MEMCORE_USERS, f"{where} imports {target}; only {sorted(MEMCORE_USERS)} may"
        if not target.startswith("pymem."):
            assert target != "pymem", f"{where} imports pymem as a whole; name the module"
            continue
        unit = target.split(".")[1]
        if unit == own or unit.startswith("__"):
            continue
        row = pymem_row(unit)
        assert row is not None, f"{where} imports {target}, which has no row: import from the module itself"
        assert row < pymem_row(own), f"{where}: {own} (row {pymem_row(own)}) imports {unit} (row {row})"


# ---- the check itself -------------------------------------------------------------------------------------


def test_the_reader_sees_every_form_of_cimport(monkeypatch, tmp_path):
    source = tmp_path / "memcore" / "sample.pyx"
    source.parent.mkdir()
    source.write_text(
        '"""from memcore.never cimport mentioned"""\n'
        "# from memcore.never cimport commented\n"
        "from .page cimport page_t\n"
        "from memcore.pte cimport (pte_t,\n    pte_make)\n"
        "from . cimport list as lst, mm\n"
        "from memcore cimport (node,\n    machine)\n"
        "cimport memcore.rmap, cython\n"
        "    from memcore.buddy cimport free_area\n"
        "from libc.stdlib cimport free\n"
    )
    monkeypatch.setattr("test_layering.ROOT", tmp_path)
    engine = {"page", "pte", "list", "mm", "node", "machine", "rmap", "buddy"}
    assert cimported(source) == {f"memcore.{name}" for name in engine} | {"cython", "libc.stdlib"}


def test_the_reader_sees_every_form_of_import(monkeypatch, tmp_path):
    source = tmp_path / "pymem" / "traces" / "sample.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "from .. import units\n"
        "from ..errors import TraceError\n"
        "from .store import write\n"
        "import pymem.records as r\n"
        "if TYPE_CHECKING:\n    from pymem.cli import main\n"
        "def late():\n    from pymem.result import Result\n    from pymem import oom\n"
    )
    monkeypatch.setattr("test_layering.ROOT", tmp_path)
    seen = {name for _, name in imports_of(source) if name.startswith("pymem")}
    modules = ["errors", "oom", "records", "result", "traces.store", "units"]
    assert sorted(seen) == [f"pymem.{module}" for module in modules]
