"""`python -m tests.tui.screens`: the pictures of the documentation into docs/screens, as `make screens` does.

They are pictures that the tests hold the screens against, so they are of today.
"""

from __future__ import annotations

import shutil
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screens"
AGREED = Path(__file__).with_name("__snapshots__")
PICTURES = {
    "home": "test_home_pictures/test_a_busy_home_in_a_large_terminal",
    "new": "test_new_pictures/test_the_form[large]",
    "plan": "test_new_pictures/test_the_plan[large]",
    "run": "test_run_pictures/test_the_run_screen_looks_as_agreed[training_large]",
    "images": "test_images_pictures/test_images[large]",
    "chat": "test_chat_pictures/test_large[side_by_side]",
    "publish": "test_publish_pictures/test_a_plan[large]",
    "doctor": "test_doctor_pictures/test_a_machine_that_lacks_nothing_in_a_large_terminal",
}
"""Name in docs/screens -> the test whose picture it is."""


def agreed(name: str) -> Path:
    return AGREED / f"{PICTURES[name]}.svg"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        shutil.copyfile(agreed(name), FOLDER / f"{name}.svg")
        print(f"docs/screens/{name}.svg")


if __name__ == "__main__":
    main()
