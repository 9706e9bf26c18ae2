"""`python -m tests.tui.screens`: a picture of every place into docs/screens, as `make screens` does."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from tests.tui.pictures import PICTURES, Picture
from tests.tui.stage import Stage

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screens"
TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


async def drawn(picture: Picture, folder: Path) -> str:
    """The SVG of one picture; the same on every machine and at any time."""
    async with picture.shown(Stage(folder)) as pilot:
        return pilot.app.export_screenshot(title="edge")


def in_docs() -> list[Picture]:
    return [picture for picture in PICTURES if picture.is_in_docs]


def main() -> None:
    os.environ.update(TERMINAL)
    os.environ.pop("NO_COLOR", None)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for picture in in_docs():
        with tempfile.TemporaryDirectory() as folder:
            (FOLDER / f"{picture.name}.svg").write_text(asyncio.run(drawn(picture, Path(folder))) + "\n", "utf-8")
        print(f"docs/screens/{picture.name}.svg")


if __name__ == "__main__":
    main()
