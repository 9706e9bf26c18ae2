"""Several threads at one heap of work, while the caller tells how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from deploy.blob_store import Stopped

T = TypeVar("T")
TELL_SECONDS = 0.5
"""It is told at least so often, also where nothing moves."""


class Hands:
    """Does every task with a few threads. The first failure stops all of them and is raised to the caller."""

    def __init__(self, count: int, stop: threading.Event) -> None:
        """`stop` is set once anything fails or the caller is interrupted: tasks look at it."""
        self._count, self._stop = count, stop
        self._taking = threading.Lock()
        self._failure: BaseException | None = None

    def do(self, tasks: Iterator[T], work: Callable[[T], None], tell: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self._work, args=(tasks, work), daemon=True) for _ in range(self._count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(TELL_SECONDS)
                    if not self._failure:
                        tell()
        except BaseException:
            self._stop.set()
            raise
        if self._failure:
            raise self._failure

    def _work(self, tasks: Iterator[T], work: Callable[[T], None]) -> None:
        try:
            while not self._stop.is_set():
                with self._taking:
                    task = next(tasks, None)
                if task is None:
                    return
                work(task)
        except Stopped:
            return
        except BaseException as exc:
            with self._taking:
                self._failure = self._failure or exc
            self._stop.set()
