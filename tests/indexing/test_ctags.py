"""Our definitions beside universal-ctags' on Python's standard library and on the system's headers."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from bench.definitions import compare, row
from worker.indexing.languages import Language

pytestmark = pytest.mark.skipif(
    shutil.which("ctags") is None, reason="universal-ctags is not installed: scripts/setup-test-tools"
)


def test_python_standard_library() -> None:
    """Of what ctags finds nearly all is found, and nearly all that is found ctags finds, before any excuse."""
    folder = Path(sysconfig.get_path("stdlib"))
    found = row(Language.PYTHON, compare(folder / "asyncio", {Language.PYTHON})[Language.PYTHON])
    assert found["ctags"] > 500
    assert found["recall_raw"] >= 0.98
    assert found["precision_raw"] >= 0.98


def test_headers_of_c() -> None:
    """The same for headers, full of macros and directives."""
    folder = Path("/usr/include/linux")
    if not folder.is_dir():
        pytest.skip("this machine has no headers in /usr/include/linux")
    found = row(Language.CPP, compare(folder, {Language.CPP}, 200)[Language.CPP])
    assert found["ctags"] > 100
    assert found["recall"] >= 0.95
    assert found["precision"] >= 0.95
