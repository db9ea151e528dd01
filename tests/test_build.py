"""How the project is built and packed: clean translation, stubs, metadata, what an sdist holds."""

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import Cython
import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTENSIONS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for folder in ("memcore", "pymem/traces", "pymem/workloads")
    for path in (ROOT / folder).glob("*.pyx")
)
STUBS = sorted(path.relative_to(ROOT) for top in ("memcore", "pymem") for path in (ROOT / top).rglob("*.pyi"))
VARIANTS = ("PYMEM_DEBUG", "PYMEM_ASAN", "PYMEM_COVERAGE")
DOOR = {"engine", "observe", "_testing"}
CHECKS = {"boundscheck", "initializedcheck", "nonecheck"}
# Slow to import or not installed by default: reached only when somebody needs them.
HEAVY = {
    "dask", "distributed", "hypothesis", "libcachesim", "lz4", "matplotlib", "optuna", "pandas", "polars",
    "pyarrow", "pydantic", "pytest", "rich", "typer", "xarray", "zstandard",
}  # fmt: skip

# Translates every module exactly as setup.py does, with all warnings shown.
TRANSLATE = """
import runpy, sys
from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError
setup = runpy.run_path("setup.py")
for extension in setup["extensions"]():
    print("MODULE", extension.name, file=sys.stderr, flush=True)
    try:
        cythonize([extension], build_dir=sys.argv[1], compiler_directives=setup["DIRECTIVES"], force=True,
                  quiet=True, show_all_warnings=True)
    except CompileError as error:
        print("warning: does not compile:", error, file=sys.stderr)
"""


def recipe(monkeypatch, *variants: str) -> dict:
    """The names setup.py defines in one variant."""
    for name in VARIANTS:
        monkeypatch.delenv(name, raising=False)
    for name in variants:
        monkeypatch.setenv(name, "1")
    return runpy.run_path(str(ROOT / "setup.py"))


def run_in_root(*command: str) -> subprocess.CompletedProcess:
    """Run a command in the source tree, as a release build would, output captured as text."""
    environment = {key: value for key, value in os.environ.items() if key not in {*VARIANTS, "LD_PRELOAD"}}
    environment.pop("MAKEFLAGS", None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


# ---- the engine -------------------------------------------------------------------------------------------


def fingerprint() -> str:
    """Digest of everything that what Cython says depends on."""
    digest = hashlib.sha256(Cython.__version__.encode())
    sources = [path for top in ("memcore", "pymem") for path in (ROOT / top).rglob("*.p[yx][xd]")]
    for path in [ROOT / "setup.py", Path(__file__), *sorted(sources)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def said_by_cython(tmp_path_factory, pytestconfig) -> dict[str, list[str]]:
    """Module name -> warnings and performance hints of a translation, remembered until a source changes."""
    key = fingerprint()
    remembered = pytestconfig.cache.get("pymem/said_by_cython", {})
    if remembered.get("key") == key:
        return remembered["said"]
    done = run_in_root(sys.executable, "-c", TRANSLATE, str(tmp_path_factory.mktemp("translated")))
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    for part in done.stderr.split("MODULE ")[1:]:
        name, _, output = part.partition("\n")
        # Only about files of the project: Cython's own utility code gives warnings as well.
        ours = r"(warning|performance hint): (memcore/|pymem/|does not compile)"
        said[name] = [line for line in output.splitlines() if re.match(ours, line)]
    pytestconfig.cache.set("pymem/said_by_cython", {"key": key, "said": said})
    return said


@pytest.mark.parametrize("name", EXTENSIONS)
def test_translation_gives_no_warning_or_performance_hint(name, said_by_cython):
    # A void function without noexcept costs 70 ns a call, and all Cython does about it is to print a hint.
    assert said_by_cython[name] == []


@pytest.mark.engine
@pytest.mark.parametrize("name", EXTENSIONS)
def test_every_extension_imports(name):
    assert Path(importlib.import_module(name).__file__).suffix == ".so"


def test_a_variant_only_adds_checks(monkeypatch):
    release = recipe(monkeypatch)
    for variant in VARIANTS:
        checked = recipe(monkeypatch, variant)
        before, after = release["DIRECTIVES"], checked["DIRECTIVES"]
        assert before.keys() == after.keys()
        differing = {key for key in before if before[key] != after[key]}
        assert differing == (CHECKS if variant == "PYMEM_DEBUG" else set())
        assert checked["TAG"] != release["TAG"]
        for names in (release, checked):
            flags = " ".join(names["compile_args"]())
            assert "-ffp-contract=off" in flags
            # Results must not depend on the machine.
            assert not re.search(r"-march|-mtune|-ffast-math|-Ofast", flags)


def test_numpy_is_a_build_requirement_only_if_the_engine_uses_its_c_interface():
    used = any(
        re.search(r"^\s*(cimport\s+numpy|from\s+numpy\S*\s+cimport)", path.read_text(encoding="utf-8"), re.M)
        for top in ("memcore", "pymem")
        for path in (ROOT / top).rglob("*.p[yx][xd]")
    )
    assert used == any(
        requirement.startswith("numpy") for requirement in PYPROJECT["build-system"]["requires"]
    )


# ---- types ------------------------------------------------------------------------------------------------


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Public names that statements of a stub declare; aliases and imports are no declarations."""
    names = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
    return {name: node for name, node in names.items() if not name.startswith("_")}


@pytest.mark.engine
@pytest.mark.parametrize("stub", [s for s in STUBS if s.stem != "__init__"], ids=str)
def test_stub_and_module_declare_the_same(stub):
    name = ".".join(stub.with_suffix("").parts)
    module = importlib.import_module(name)
    tree = ast.parse((ROOT / stub).read_text(encoding="utf-8"))
    stubbed = declared(tree.body)
    missing = sorted(n for n in stubbed if not hasattr(module, n))
    assert not missing, f"{stub} declares what {name} does not have: {missing}"
    own = {n for n, value in vars(module).items() if getattr(value, "__module__", None) == name}
    own = {n for n in own if not n.startswith("_")}
    assert own <= set(stubbed), f"{stub} lacks {sorted(own - set(stubbed))}"
    for class_name, node in stubbed.items():
        if not isinstance(node, ast.ClassDef):
            continue
        cls = getattr(module, class_name)
        attributes = declared(node.body)
        missing = sorted(n for n in attributes if not hasattr(cls, n))
        assert not missing, f"{stub}: {class_name} has no {missing}"
        public = {n for n in vars(cls) if not n.startswith("_")}
        assert public <= set(attributes), f"{stub}: {class_name} lacks {sorted(public - set(attributes))}"


@pytest.mark.parametrize("package", ["memcore", "pymem"])
def test_packages_are_marked_as_typed(package):
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("name", [n for n in EXTENSIONS if n.rpartition(".")[2] in DOOR])
def test_the_door_has_stubs(name):
    assert (ROOT / (name.replace(".", "/") + ".pyi")).is_file()


# ---- distribution -----------------------------------------------------------------------------------------


def test_every_folder_of_python_is_a_package():
    folders = {path.parent for top in ("memcore", "pymem") for path in (ROOT / top).rglob("*.py*")}
    folders = {folder for folder in folders if folder.name != "__pycache__"}
    lacking = sorted(str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file())
    assert not lacking, f"no __init__.py in {lacking}: their modules would not be installed"


def test_the_command_exists():
    module, _, function = PROJECT["scripts"]["pymem"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_version_is_the_same_everywhere():
    import pymem

    assert pymem.__version__ == PROJECT["version"]
    assert importlib.metadata.version(PROJECT["name"]) == PROJECT["version"]


def test_the_dev_extra_holds_all_others():
    extras = PROJECT["optional-dependencies"]
    held = re.search(r"\[(.*?)\]", extras["dev"][0]).group(1)
    assert set(held.split(",")) == set(extras) - {"dev"}


def test_import_is_lean():
    code = "import sys, pymem; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = run_in_root(sys.executable, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_an_sdist_holds_all_sources_and_nothing_built(tmp_path):
    done = run_in_root(
        sys.executable, "setup.py", "-q",
        "egg_info", "--egg-base", str(tmp_path),
        "sdist", "--dist-dir", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "setup.py", ".ci/run"}
    for top in ("memcore", "pymem", "tests", "docs", "examples", "benchmarks"):
        files = (path for path in (ROOT / top).rglob("*") if path.is_file())
        wanted |= {p.relative_to(ROOT).as_posix() for p in files if p.suffix not in {".so", ".pyc"}}
    assert not wanted - names, f"missing from the sdist: {sorted(wanted - names)[:10]}"
    assert not [n for n in names if n.endswith((".so", ".c", ".pyc")) or n.startswith(("build/", "out/"))]


@pytest.mark.parametrize("target", ["run", "test", "bench", "docs", "lint", "debug", "asan", "cover", "clean"])
def test_make_has_the_target(target):
    done = run_in_root("make", "--no-print-directory", "-n", target)
    assert done.returncode == 0, done.stderr
