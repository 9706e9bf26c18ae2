"""What drives a run on this machine: `python -m toolkit.drive FOLDER`, started detached, holding the run's lock.

A build is the build program's work: this only watches over it, so that its exit code and its death by memory are known.
Packaging and publishing are done here. Secrets come through standard input and are kept in memory only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from toolkit import settings as settings_module
from toolkit.core import events as ev
from toolkit.core import process
from toolkit.core.run import Run


def main() -> int:
    run = Run(Path(sys.argv[1]))
    secrets = json.loads(sys.stdin.buffer.read() or b"{}")
    if run.kind == "build":
        return drive_build(run)
    return drive_host_steps(run, secrets)


def drive_build(run: Run) -> int:
    """Run the build program and write the ending it could not write itself."""
    settings = settings_module.load()
    lock = int(os.environ[process.LOCK_VARIABLE])
    oom_before = process.oom_kills()
    argv = [str(settings.build_python), str(settings.containers / "build" / "run_steps.py"), str(run.folder), "--driver", "local"]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=(lock,))
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    code = child.wait()
    if not run.state().has_ending:
        out_of_memory = code == -signal.SIGKILL and process.oom_kills() > oom_before
        run.append(ev.RunInterrupted(exit_code=_as_exit_code(code), out_of_memory=out_of_memory, reason=_why(code, out_of_memory)))
    return _as_exit_code(code)


def _as_exit_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _why(code: int, out_of_memory: bool) -> str:
    if out_of_memory:
        return "the build program was killed: out of memory"
    if code < 0:
        return f"the build program was killed by {signal.Signals(-code).name}"
    return f"the build program ended with exit code {code} and no word; driver.log has its output"


def drive_host_steps(run: Run, secrets: dict) -> int:
    """Do the steps of a packaging or publishing run, one after another."""
    from toolkit.core.hoststeps import HostSteps  # only where it is needed: builds start faster without
    from toolkit.wiring import make_workbench

    signal.signal(signal.SIGTERM, _stopped)
    started = time.monotonic()
    run.append(ev.RunStarted(driver="host", handle=str(os.getpid())))
    try:
        if not HostSteps(make_workbench(), run, secrets).all_done():
            return 1
    except KeyboardInterrupt:
        run.append(ev.stop_or_interruption(run.folder))
        return 143
    run.append(ev.RunFinished(seconds=time.monotonic() - started))
    return 0


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
