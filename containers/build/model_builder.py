"""Which model builder exports: ONNX Runtime GenAI's own, or an older one that is kept apart because Olive cannot drive the newer.

Standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path

VERSION = "0.14.1"
"""Of the one kept apart (model-builder.lock); newer ones lack modules that Olive 0.13.0 imports."""
FOLDER = Path(sys.prefix, "model_builder", "onnxruntime_genai")


def use_the_fitting_one(folder: Path = FOLDER) -> None:
    """Let `onnxruntime_genai.models` be the builder kept apart, where there is one; all else stays that of the installed version."""
    if not folder.is_dir():
        return
    import onnxruntime_genai

    if str(folder) not in onnxruntime_genai.__path__:
        onnxruntime_genai.__path__.insert(0, str(folder))
