"""What tests of registering share: a store of models in the lab, a folder to put there, and publishing's own way to do it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from deploy.model_registry import model_registry
from tests.azure.arm import SUBSCRIPTION
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelCard, ModelRegistry, Moved
from toolkit.settings import Settings

PLACE = f"{SUBSCRIPTION}/team/lab"
EMPTY_LIST = b"<BlockList><UncommittedBlocks/></BlockList>"
BLOCKS, COMMIT = r"comp=block&", r"comp=blocklist"
CARD = ModelCard("ft-for-travel", "1", description="Answers about travel", tags={"stage": "trial"}, properties={"edge.device": "cpu"})
PROGRAM = """
import sys
from pathlib import Path
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelCard
from toolkit.wiring import make_workbench
store, folder = make_workbench().cloud().model_registry(sys.argv[1]), Path(sys.argv[2])
card, digest = ModelCard(sys.argv[3], sys.argv[4]), folder_digest(folder)
made = store.register(folder, digest, ModelCard(card.name, store.plan(card, digest).version), lambda moved: print(moved.done, moved.skipped, flush=True))
print(made.id)
"""


def open_store(place: str) -> ModelRegistry:
    return model_registry(Settings(home=Path()), place)


def small_content(folder: Path) -> Path:
    """With what others trip over."""
    return written(
        folder,
        {
            "device.json": b"{}",
            "model/genai_config.json": b'{"model": {}}',
            "model/model.onnx.data": os.urandom(300_000),
            "model/é 1.txt": b"unicode",
            "model/empty": b"",
            "model/.gitignore": b"*.data\n",
            ".amlignore": b"*\n",
            "adapters/travel.onnx_adapter": os.urandom(1000),
        },
    )


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def register(store: ModelRegistry, folder: Path, card: ModelCard = CARD, told: list[Moved] | None = None):
    """As publishing does it: planned first."""
    digest = folder_digest(folder)
    planned = store.plan(card, digest)
    return store.register(folder, digest, replace(card, version=planned.version), (told if told is not None else []).append)


def stored(lab, folder: Path, name: str = CARD.name) -> dict[str, bytes]:
    prefix = f"models/{name}/{folder_digest(folder)}/"
    return {
        blob[len(prefix) :]: lab.container.download_blob(blob).readall() for blob in lab.container.list_blob_names(name_starts_with=prefix)
    }
