"""Why an image for a GPU is packaged and not tried: there is none here. The image then says so on itself."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from toolkit.core.cuda_verdict import ALLOW_CPU
from toolkit.core.device import Device
from toolkit.core.engine import LABEL
from toolkit.core.flavour import GPU_RUNTIME, NO_RUNTIME, gpu_here
from toolkit.core.run import Run

if TYPE_CHECKING:
    from toolkit.core.workbench import Workbench

UNTRIED = f"{LABEL}.untried"
"""Label of an image that was not tried where it was packaged: why not."""
FILE = "smoke.json"
"""What an image answered when it was packaged, or why it was not asked."""


def why_untried(bench: Workbench, device: Device, engine: str) -> str:
    """Why an image for this device cannot be asked a question here; empty: it can. With EDGE_ALLOW_CPU=1 it is, on the CPU."""
    if device.accelerator == "cpu" or os.environ.get(ALLOW_CPU) == "1":
        return ""
    if engine == "docker":
        return "" if GPU_RUNTIME in bench.image_engine().facts().runtimes else f"not tried on a GPU: {NO_RUNTIME}"
    return "" if device.accelerator in gpu_here().flavours else f"not tried on a GPU: {gpu_here()}"


def told_by(run: Run) -> str:
    """Why the image of this packaging was not tried; empty where it was, or where that is not known yet."""
    try:
        return str(json.loads((run.folder / FILE).read_text("utf-8")).get("untried", ""))
    except (OSError, ValueError, AttributeError):
        return ""
