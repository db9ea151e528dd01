"""The documentation as pages: made without warnings, with the interface, the guides and working links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pymem

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, as `make docs` makes them."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "cache"]
    done = subprocess.run([*command, ROOT / "docs", folder / "html"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder / "html"


def test_every_public_name_has_a_place(site):
    page = (site / "api" / "pymem.html").read_text(encoding="utf-8")
    missing = [
        name for name in pymem.__all__ if callable(getattr(pymem, name)) and f'id="pymem.{name}"' not in page
    ]
    assert not missing


def test_every_document_is_a_page(site):
    for source in (ROOT / "docs").rglob("*.md"):
        assert (site / source.relative_to(ROOT / "docs").with_suffix(".html")).exists()


def test_links_between_pages_work(site):
    broken = set()
    for page in site.rglob("*.html"):
        for target in re.findall(r'href="([^"#:]+\.html)', page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.add((page.name, target))
    assert not broken


def test_documents_named_in_the_readme_are_links(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<a [^>]*href="model\.html"[^>]*>.*?docs/model\.md', page)
