"""Tests of what runs in the build image. Those that need torch are left out where it is not installed."""

import importlib.util
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "containers" / "build"))

os.environ.setdefault("CI", "1")  # Olive sends its first message before it looks at its own switch
os.environ |= {
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

NEED_OLIVE = [
    "test_awq.py",
    "test_awq_quality.py",
    "test_architectures.py",
    "test_lora_inputs.py",
    "test_finetune.py",
    "test_merge.py",
    "test_accelerator.py",
    "test_graph_operators.py",
]

collect_ignore = [] if importlib.util.find_spec("olive") else NEED_OLIVE
