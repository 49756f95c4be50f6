"""The page of what is supported says what the code does."""

from __future__ import annotations

import pathlib
import runpy

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_page_of_what_is_supported_is_current() -> None:
    written = runpy.run_path(str(ROOT / "tests" / "support" / "write.py"))["page"]()
    assert (ROOT / "numtorch" / "SUPPORT.md").read_text() == written, "run `make support`"
