"""`events`, the one module shared with the host: beside this file in an image, in `toolkit/core` in a checkout.

It is loaded by its path. Its folder in a checkout must not be importable, for other modules there carry names of
libraries that steps need.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent


def _load() -> ModuleType:
    beside = HERE / "events.py"
    path = beside if beside.exists() else HERE.parents[1] / "toolkit" / "core" / "events.py"
    spec = importlib.util.spec_from_file_location("events", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["events"] = module
    spec.loader.exec_module(module)
    return module


events = sys.modules.get("events") or _load()
