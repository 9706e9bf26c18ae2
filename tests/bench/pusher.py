"""One direct push in a process of its own, whose memory can be told: `python -m tests.bench.pusher LAYOUT TARGET USER FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit.core import oci_layout, reference
from toolkit.core.direct_push import DirectPush
from toolkit.core.engine import Credentials, PushProgress
from toolkit.core.push_keeper import remembered


def main(layout: str, target: str, user: str, folder: str) -> None:
    """Prints bytes done of the layer that moves, so that whoever reads it can end us at a place of its choice."""
    access = Credentials(user, os.environ["BENCH_PASSWORD"])
    way = DirectPush(oci_layout.read(Path(layout)), access, remembered(Path(folder)))
    for step in way.push(reference.parse(target)):
        if isinstance(step, PushProgress) and step.total > 1 << 30:
            print(step.done, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
