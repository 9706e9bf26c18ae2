"""What a look at this machine yields, and what its checks share."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core import cuda_stack
from toolkit.core.cuda_driver import Driver, Places, Sight, driver_here, sight
from toolkit.core.engine import EngineFacts
from toolkit.core.machine import answer_of
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing, ToolkitError

LEVELS = ("problem", "warning", "ok")
"""Worst first."""
ENGINE_SECONDS = 15.0
PACKAGES_SECONDS = 60.0
WANTED = ("olive-ai", "torch", "transformers", "peft", "onnxruntime", "onnxruntime-gpu", "onnxruntime-genai", "onnxruntime-genai-cuda")
_LIST_PACKAGES = f"from importlib.metadata import distributions as d; print(*(f'{{x.name}} {{x.version}}' for x in d() if x.name in {WANTED!r}), sep='\\n')"

_LIST_PATH = "import sys; print(*filter(None, sys.path), sep='\\n')"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ok, warning or problem; what was seen, and what to do about it."""

    subject: str
    level: str
    seen: str
    fix: str = ""


@dataclass
class Scene:
    """What several checks ask; each thing is asked once, in a thread of its own, so that whoever waits can stop waiting."""

    bench: Workbench
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    places: Places = field(default_factory=Places)
    """Where the NVIDIA driver is looked for."""
    root: Path = Path("/")
    """Of the file system that a compute instance is recognized by."""
    is_mount: Callable[[Path], bool] = os.path.ismount
    _asked: dict[str, Future] = field(default_factory=dict)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def engine(self) -> EngineFacts:
        """What the container engine says of itself.

        Raises:
            ToolkitError: it is not there, or gives no answer.
        """
        try:
            return self._once("engine", lambda: self.bench.image_engine().facts()).result(ENGINE_SECONDS)
        except NoAnswer as exc:
            raise EngineMissing(f"The engine gave no answer within {ENGINE_SECONDS:.0f} s.", "Restart it; its own log says more.") from exc

    def engine_or_none(self) -> EngineFacts | None:
        try:
            return self.engine()
        except ToolkitError:
            return None

    def packages(self) -> dict[str, str]:
        """Versions of what matters in the local build environment, by name.

        Raises:
            OSError, subprocess.SubprocessError: its Python does not run.
        """
        argv = [str(self.bench.settings.build_python), "-c", _LIST_PACKAGES]
        try:
            said = self._once("packages", lambda: answer_of(argv, PACKAGES_SECONDS)).result(PACKAGES_SECONDS + 1)
        except NoAnswer as exc:
            raise subprocess.TimeoutExpired(argv, PACKAGES_SECONDS) from exc
        return dict(line.split(" ", 1) for line in said.splitlines())

    def stack(self) -> cuda_stack.Stack:
        """The runtime libraries of the local build environment, by the files on its path.

        Raises:
            OSError, subprocess.SubprocessError: its Python does not run.
        """
        argv = [str(self.bench.settings.build_python), "-c", _LIST_PATH]
        said = answer_of(argv, PACKAGES_SECONDS)
        return cuda_stack.look(map(Path, said.splitlines()), cuda_stack.system_libraries(self.environ))

    def driver(self) -> Driver | None:
        """The NVIDIA driver.

        Raises:
            OSError, subprocess.SubprocessError: nvidia-smi does not answer.
        """
        return self._once("driver", lambda: driver_here(self.places)).result()

    def sight(self) -> Sight | None:
        """The GPUs that a program which starts now would get."""
        return self._once("sight", lambda: sight(self.places)).result()

    def _once(self, name: str, ask: Callable[[], object]) -> Future:
        with self._asking:
            if name not in self._asked:
                self._asked[name] = in_background(ask)
            return self._asked[name]


def in_background(ask: Callable[[], object]) -> Future:
    """The coming answer of something that may hang; nobody has to wait for it, not even the end of the program."""
    answer: Future = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as exc:
            answer.set_exception(exc)

    threading.Thread(target=work, daemon=True, name="check").start()
    return answer
