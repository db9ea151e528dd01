"""What every test shares: hypothesis profiles and the choice of the engine build under test."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: the debug and sanitizer builds are many times slower than the release build.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("ci", settings(derandomize=True, database=None, max_examples=60, **_COMMON))
settings.register_profile("dev", settings(max_examples=60, **_COMMON))
settings.register_profile("thorough", settings(max_examples=2000, **_COMMON))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# `make debug`, `make asan` and `make cover` test a complete copy of the packages built somewhere else.  It
# has to come before this folder's parent, which holds the release build.
BUILD_LIB = os.environ.get("PYMEM_BUILD_LIB")
if BUILD_LIB:
    sys.path.insert(0, BUILD_LIB)

# What needs an extra that the tests do without is collected only where it is there; .ci/run makes the documentation.
collect_ignore = [] if importlib.util.find_spec("sphinx") else ["test_docs_build.py"]


def pytest_report_header() -> str:
    """Say which engine is under test."""
    spec = importlib.util.find_spec("memcore")
    return f"memcore: {spec.origin if spec else 'not built'}"


def pytest_sessionstart() -> None:
    """Refuse to test another build than the one asked for."""
    if not BUILD_LIB:
        return
    for name in ("memcore", "pymem"):
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or not Path(origin).is_relative_to(BUILD_LIB):
            pytest.exit(f"PYMEM_BUILD_LIB asks for {BUILD_LIB}, but {name} comes from {origin}", returncode=3)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Folder of the source tree."""
    return ROOT
