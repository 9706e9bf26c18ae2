"""A compute instance of Azure ML that we run on: its small disk, its large one that is emptied, and what shuts it down under a run.

What is known of it comes from Azure's documentation and libraries: a setup script's variables, the file that names the instance, the
mount of the workspace's files, and what counts as activity: kernels and terminals of Jupyter, Azure ML's jobs, connections of VS Code,
custom applications. A run of ours is none of these, nor is SSH.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.choices import workspace_in
from toolkit.core.cloud import Workspace, parse_workspace
from toolkit.core.files import as_duration, as_size
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError

FILES = Path("mnt/batch/tasks/shared/LS_root/mounts/clusters")
"""Under it lie the workspace's files, in a folder named after the instance."""
NAMED = Path("mnt/azmnt/.nbvm")
"""Lines of `key=value`; Azure's own libraries look for it too."""
ITS_OWN = ("CI_WORKSPACE", "CI_RESOURCE_GROUP", "CI_LOCAL_UBUNTU_USER")
"""Variables beside CI_NAME, which alone others set too."""
TEMPORARY = Path("mnt")
"""Where the machine's own large disk is mounted; stopping the instance empties it."""
OWN_FOLDER = "edge"
ASK_SECONDS = 15.0
"""For what Azure says of the instance; whoever starts a run does not wait longer."""
LOSS = "Stopping the instance, also when idle, empties that disk: publish or copy away what shall stay."
SPARE_BYTES = 5_000_000_000
"""To leave on the system disk: an instance whose disk is full may not start again."""
MERGE = (
    'sudo python3 -c \'import json, pathlib; file = pathlib.Path("/etc/docker/daemon.json"); '
    'known = json.loads(file.read_text()) if file.exists() else {{}}; known["data-root"] = "{root}"; '
    "file.write_text(json.dumps(known, indent=2))' && sudo systemctl restart docker"
)
"""Keeps what is there, such as NVIDIA's runtime."""


@dataclass(frozen=True)
class Instance:
    """The compute instance that this is."""

    name: str
    workspace: Workspace | None = None
    """None: not known."""
    temporary: Path | None = None
    """Mount of the disk that is emptied; None: it has none of its own."""
    files: Path | None = None
    """Mount of the workspace's file share; on some instances it lies under `temporary`, and is no part of that disk."""

    def is_temporary(self, path: Path) -> bool:
        """It lies on the disk that is emptied."""
        return self.temporary is not None and path.is_relative_to(self.temporary) and not self.is_shared(path)

    def is_shared(self, path: Path) -> bool:
        """It lies on the workspace's file share, which is slow, and no place for a run."""
        return self.files is not None and path.is_relative_to(self.files)


def instance_here(
    environ: Mapping[str, str] = os.environ, root: Path = Path("/"), is_mount: Callable[[Path], bool] = os.path.ismount
) -> Instance | None:
    """None where this is no compute instance."""
    set_here = any(environ.get(variable) for variable in ITS_OWN)
    name = (environ.get("CI_NAME", "") if set_here else "") or _named_by_files(root)
    if not name:
        return None
    large, files = root / TEMPORARY, root / FILES
    return Instance(name, _workspace(environ, name, root), large if is_mount(large) else None, files if files.is_dir() else None)


def _named_by_files(root: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        lines = (line.partition("=") for line in (root / NAMED).read_text("utf-8").splitlines())
        if name := {key.strip(): value.strip() for key, _, value in lines}.get("instance"):
            return name
    with suppress(OSError):
        names = sorted(path.name for path in (root / FILES).iterdir())
        return names[0] if names else ""
    return ""


def _workspace(environ: Mapping[str, str], name: str, root: Path) -> Workspace | None:
    """The one of the file that Azure lays above its users' folders; the one a person chose may be another."""
    users = root / FILES / name / "code" / "Users"
    folders = [users, *(path for path in users.glob("*") if path.is_dir())] if users.is_dir() else []
    for folder in folders:
        with suppress(ToolkitError):
            if named := workspace_in(folder):
                return parse_workspace(named)
    with suppress(ToolkitError):
        return parse_workspace(environ.get("EDGE_WORKSPACE", ""))
    return None


def idle_minutes(bench: Workbench, instance: Instance, seconds: float = ASK_SECONDS) -> int | None:
    """After how many idle minutes it shuts down; 0: never; None: nobody who is signed in here could be asked, or not in time."""
    workspace = instance.workspace
    with suppress(ToolkitError):
        workspace = workspace or parse_workspace(bench.settings.workspace)
    if workspace is None:
        return None
    came: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def ask() -> None:
        with suppress(ToolkitError):
            came.put(bench.cloud().idle_minutes(workspace, instance.name))
            return
        came.put(None)

    threading.Thread(target=ask, daemon=True).start()
    with suppress(queue.Empty):
        return came.get(timeout=seconds)
    return None


def idle_words(instance: Instance, minutes: int | None) -> str:
    """What ends runs here; empty: nothing does."""
    if minutes == 0:
        return ""
    when = f"after {as_duration(minutes * 60)} of idleness" if minutes else "when it has been idle for a while, where that is set,"
    return f"{instance.name} shuts down {when} and to Azure ML it is idle while nothing but a run goes on: neither that nor SSH counts"


def idle_fix(instance: Instance) -> str:
    place = f" --workspace-name {instance.workspace.name} --resource-group {instance.workspace.group}" if instance.workspace else ""
    return (
        "Keep a terminal of Jupyter or VS Code open in the studio until the run has ended; or set a longer idle shutdown there: Compute, "
        f"{instance.name}, Schedules (`az ml compute show --name {instance.name}{place}` tells it). `edge resume` goes on with a run that was ended."
    )


def move_words(bench: Workbench, instance: Instance, engine_root: str = "") -> str:
    """How to put runs and the engine's data on the large disk; empty: there is none, it is no larger, or they are there."""
    large = instance.temporary
    if large is None:
        return ""
    home, there = bench.settings.home, bench.disk(large).free
    told = []
    if not instance.is_temporary(home) and (instance.is_shared(home) or there > bench.disk(home).free):
        own = large / OWN_FOLDER
        told.append(f'runs: `sudo install -d -o "$USER" {own} && export EDGE_HOME={own}` (and that export into ~/.bashrc)')
    if engine_root and not instance.is_temporary(Path(engine_root)) and there > bench.disk(Path(engine_root)).free:
        told.append(f"the engine, which then has no images yet: `{MERGE.format(root=large / 'docker')}`")
    return f"{large} has {as_size(there)} free. {'; '.join(told)}. {LOSS}" if told else ""


def place_words(bench: Workbench, instance: Instance) -> str:
    """What is amiss with where runs lie; empty: nothing."""
    home = bench.settings.home
    if instance.is_shared(home):
        return f"{home} lies on the workspace's file share, which is slow, and no place for a run"
    if instance.is_temporary(home):
        return f"{home} lies on the disk that is emptied when the instance stops: publish or copy away what shall stay"
    return ""


def before_a_run(
    bench: Workbench,
    environ: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
    is_mount: Callable[[Path], bool] = os.path.ismount,
) -> list[str]:
    """What to know before a run starts here; nothing where this is no compute instance."""
    instance = instance_here(environ, root, is_mount)
    if instance is None:
        return []
    idle = idle_words(instance, idle_minutes(bench, instance))
    told = [f"{idle}. {idle_fix(instance)}"] if idle else []
    place = place_words(bench, instance)
    return [*told, f"{place}."] if place else told
