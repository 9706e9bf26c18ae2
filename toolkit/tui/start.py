"""Open the terminal UI, and leave it at once when asked, whatever still runs in the background."""

from __future__ import annotations

import asyncio
import os
import sys

from toolkit.core.workbench import Workbench
from toolkit.tui.app import EdgeApp
from toolkit.tui.pace import Pace


def run_app(bench: Workbench, pace: Pace | None = None) -> None:
    """Run the UI until the person leaves; ends the process.

    Threads that wait for an engine or a network would hold a normal exit up for seconds. Nothing they do needs an
    orderly end: runs are driven by processes of their own, and a chat's server ends when its connection goes.
    """
    app = EdgeApp(bench, pace)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(app.run_async())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(app.return_code or 0)
