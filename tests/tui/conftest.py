"""A stage for every test of the terminal UI, and a terminal that is the same on every machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.stage import Stage, stands_still


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """True colour, no choice of the person's: what the environment of a terminal says."""
    for name in ("NO_COLOR", "EDGE_THEME", "COLORFGBG", "TMUX", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.fixture
def snap_compare(snap_compare):
    """The plugin's comparison, taken once the screen stands still: a busy machine may still be laying it out."""

    def compare(app, run_before=None, **options) -> bool:
        async def settled(pilot) -> None:
            if run_before is not None:
                await run_before(pilot)
            await stands_still(pilot)

        return snap_compare(app, run_before=settled, **options)

    return compare
