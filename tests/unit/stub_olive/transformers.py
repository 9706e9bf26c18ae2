"""Only what the steps ask before they call Olive."""

import json
from pathlib import Path
from types import SimpleNamespace


class AutoTokenizer:
    @staticmethod
    def from_pretrained(folder, **_options):
        return None


class AutoConfig:
    @staticmethod
    def from_pretrained(folder, **_options):
        return SimpleNamespace(**json.loads((Path(folder) / "config.json").read_text()))
