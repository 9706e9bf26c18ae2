"""What NVIDIA's container runtimes look for in an image before they put the driver's libraries into it. Standard library only.

They run the host's `ldconfig` in the container, which makes libcuda.so.1 out of what they mounted; some leave that out where an image has
no cache, as one without a shell has none. By Debian's version they know that libraries lie in its folder for this kind of machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from origins import Origins

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
VERSION = Path("/etc/debian_version")


def lay_out(layer: Path, origins: Origins) -> None:
    """An empty cache, to be filled on the device, and where to look for libraries."""
    settings = layer / "etc"
    (settings / "ld.so.conf.d").mkdir(parents=True)
    (settings / "ld.so.conf").write_text(f"include /etc/ld.so.conf.d/*.conf\n{LIBRARIES}\n")
    shutil.copyfile(VERSION, settings / VERSION.name)
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    # It misses the folder of libraries, which is in another layer.
    subprocess.run([str(ldconfig), "-X", "-r", layer], check=True, stderr=subprocess.DEVNULL)
    for name in ("ld.so.conf", "ld.so.cache", VERSION.name):
        origins.made_here(settings / name, "for the runtime that brings the driver")
