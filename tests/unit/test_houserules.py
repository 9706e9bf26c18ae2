"""The walls of the house: who may import whom, and what a light command must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_the_import_contracts_hold():
    from importlinter.cli import lint_imports

    assert lint_imports(no_cache=True) == 0


@pytest.mark.parametrize("module", ["toolkit.cli", "toolkit.cli.runs", "toolkit.wiring", "toolkit.core.lifecycle", "toolkit.drive"])
def test_a_light_import_leaves_the_heavy_libraries_alone(module):
    heavy = ("textual", "docker", "azure", "torch", "tokenizers", "numpy", "rich", "pydantic")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_build_programs_and_the_toolkit_share_one_file_only():
    found = subprocess.run(["grep", "-rlE", r"^(from|import) toolkit", "containers"], capture_output=True, text=True)
    assert found.stdout == ""
