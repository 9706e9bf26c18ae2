"""Every place and state worth a picture: what lies in the home, which keys are pressed, and what is then to be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from textual.pilot import Pilot

from tests.tui.stage import LARGE, Stage, text_of, until
from toolkit.core import events as ev
from toolkit.tui.app import EdgeApp
from toolkit.tui.places import PLACES


def nothing(stage: Stage) -> None:
    """An empty home."""


@dataclass(frozen=True)
class Picture:
    name: str
    """Of the file in docs/screens, and of its test."""
    keys: tuple[str, ...]
    """Pressed one after the other."""
    shows: str
    """What is to be read before the picture is taken."""
    story: Callable[[Stage], object] = nothing
    """Fills the home before `edge` is opened."""
    size: tuple[int, int] = LARGE
    is_in_docs: bool = True
    """False for what readers need not see, or what would look otherwise on another machine."""

    @asynccontextmanager
    async def shown(self, stage: Stage, size: tuple[int, int] | None = None, theme: str = "") -> AsyncIterator[Pilot]:
        """The app, brought to where the picture is taken."""
        self.story(stage)
        app = stage.app()
        async with app.run_test(size=size or self.size) as pilot:
            app.theme = theme or app.theme
            for key in self.keys:
                await pilot.press(key)
            await until(pilot, lambda: self.shows in text_of(app))
            await until(pilot, Settled(app))
            yield pilot


class Settled:
    """True once nothing has changed for a while: whatever looks round in the background has told all it found."""

    LOOKS = 40

    def __init__(self, app: EdgeApp) -> None:
        self._app, self._last, self._same = app, "", 0

    def __call__(self) -> bool:
        seen = text_of(self._app)
        self._same = self._same + 1 if seen == self._last else 0
        self._last = seen
        return self._same >= self.LOOKS


def months_of_work(stage: Stage) -> None:
    """Runs of every kind and ending, one of them under way."""
    for name, age in (("persona", 90_000.0), ("travel", 7200.0)):
        done = stage.add_run(name=name, age=age)
        for number, step in enumerate(done.request["steps"]):
            done.append(ev.StepStarted(at=done_at(age, number), step=step["name"]))
            done.append(ev.StepFinished(at=done_at(age, number) + 60, step=step["name"], seconds=60.0))
        done.append(ev.RunFinished(at=done_at(age, 6), seconds=430))
    failed = stage.add_run(name="faq", age=5000)
    failed.append(ev.StepStarted(at=done_at(5000, 0), step="quantize"))
    failed.append(
        ev.StepFailed(at=done_at(5000, 1), step="quantize", error="The step was killed (137), often for want of memory.", exit_code=137)
    )
    running = stage.add_run(name="travel", age=240)
    stage.drive(running)
    stage.engine.says(
        running,
        ev.StepStarted(at=done_at(240, 0), step="quantize"),
        ev.StepFinished(at=done_at(240, 1), step="quantize", seconds=61.5),
        ev.StepStarted(at=done_at(240, 1), step="finetune-travel"),
        *(
            ev.StepProgress(
                at=done_at(240, 1) + 2 * step,
                step="finetune-travel",
                done=step,
                total=100,
                unit="steps",
                metrics={"loss": 3.1 / (1 + step / 12) + 0.4, "learning_rate": 2e-3 * (1 - step / 100)},
            )
            for step in range(1, 41)
        ),
    )


def done_at(age: float, minutes: float) -> float:
    """A moment so many minutes after a run of that age began."""
    from tests.tui.stage import NOW

    return NOW - age + 60 * minutes


SETTLED = {"home": "0004-build-travel", "doctor": "This machine: nothing is amiss"}
"""What is to be read once a place has found out all that it shows; else its name in the top line is enough."""

PICTURES = (
    *(
        Picture(place.name, (place.key,), SETTLED.get(place.name, place.title), months_of_work, is_in_docs=place.name != "doctor")
        for place in PLACES
    ),
    *(Picture(f"{place.name}-empty", (place.key,), f"{place.key}[{place.title}]", is_in_docs=False) for place in PLACES),
    Picture("keys", ("question_mark",), "Keys here", is_in_docs=False),
    Picture("palette", ("ctrl+p",), "Go to Chat", is_in_docs=False),
)
