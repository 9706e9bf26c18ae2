"""What surrounds us: Python, the terminal, and whether our processes outlive the session."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping

from toolkit.core.files import as_size
from toolkit.core.finding import Finding, Scene
from toolkit.core.machine import answer_of

COMFORTABLE = (80, 24)


def python(scene: Scene) -> Finding:
    memory = scene.bench.sampler().sample().memory_total
    return Finding(
        "python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs, {as_size(memory)}, {sys.executable}"
    )


def lingering(scene: Scene) -> Finding:
    """systemd may end a user's processes at log-out; local builds would die with the SSH session."""
    fine = Finding("lingering", "ok", "processes of this user outlive the session")
    tool = shutil.which("loginctl", path=scene.environ.get("PATH"))
    if os.getuid() == 0 or not tool or scene.bench.settings.engine == "docker":
        return fine
    try:
        said = answer_of([tool, "show-user", scene.environ.get("USER", str(os.getuid())), "--property=Linger"], 10)
    except (OSError, subprocess.SubprocessError):
        said = ""
    if "Linger=yes" in said:
        return fine
    seen = "local runs may be ended when you log out, if this system kills user processes"
    return Finding("lingering", "warning", seen, "`loginctl enable-linger`")


def terminal(scene: Scene) -> Finding:
    size = _size()
    if size is None:
        return Finding("terminal", "ok", "none here: output goes to a file or a pipe")
    term, width, height = scene.environ.get("TERM", ""), *size
    said = f"{term or 'TERM is not set'}, {colours(scene.environ)}, {_encoding(scene.environ)}, {width}x{height}"
    wrong = {
        "Set TERM to what your terminal is, such as xterm-256color.": term in ("", "dumb"),
        f"`{utf8_command(scene.environ)}`: lines and bars need UTF-8.": not _is_utf8(scene.environ),
        f"Make the window at least {COMFORTABLE[0]}x{COMFORTABLE[1]}.": width < COMFORTABLE[0] or height < COMFORTABLE[1],
    }
    fixes = [fix for fix, applies in wrong.items() if applies]
    return Finding("terminal", "warning" if fixes else "ok", said, " ".join(fixes))


def _size() -> os.terminal_size | None:
    """Of the terminal we are on, by whichever stream leads to it."""
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            return os.get_terminal_size(stream.fileno())
        except (OSError, ValueError, AttributeError):
            continue
    return None


def colours(environ: Mapping[str, str]) -> str:
    """By what the terminal says of itself."""
    if environ.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "direct" in environ.get("TERM", ""):
        return "true colour"
    return "256 colours" if "256color" in environ.get("TERM", "") else "16 colours"


def _locale(environ: Mapping[str, str]) -> str:
    return next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")


def _is_utf8(environ: Mapping[str, str]) -> bool:
    return "utf8" in _locale(environ).lower().replace("-", "")


def utf8_command(environ: Mapping[str, str]) -> str:
    """The command that makes the locale one of UTF-8: LANG counts only where nothing stronger is set."""
    stronger = [name for name in ("LC_ALL", "LC_CTYPE") if environ.get(name)]
    return f"unset {' '.join(stronger)}; export LANG=C.UTF-8" if stronger else "export LANG=C.UTF-8"


def _encoding(environ: Mapping[str, str]) -> str:
    name = _locale(environ)
    return f"locale {name}" if name else "no locale set"
