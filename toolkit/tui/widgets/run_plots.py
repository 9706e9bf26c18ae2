"""The curves of a run: loss with learning rate of one fine-tuning step, and the machine it runs on."""

from __future__ import annotations

from collections.abc import Mapping

from textual import getters
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from toolkit.core.curves import Curve
from toolkit.core.files import as_duration
from toolkit.core.watch import Picture
from toolkit.tui.widgets.plot import Line, Plot

MACHINE_MARKS = {
    "cpu": ("CPU", "█", "$primary"),
    "memory": ("memory", "•", "$accent"),
    "gpu": ("GPU", "■", "$success"),
    "gpu_memory": ("GPU memory", "▒", "$warning"),
}
NO_LOSS = "No curve yet: the loss is drawn while a step is fine-tuned."
NO_SAMPLE = "No sample of the machine yet."


class RunPlots(Vertical, can_focus=True):
    BINDINGS = [Binding("left", "choose(-1)", "Curve before", show=False), Binding("right", "choose(1)", "Next curve", show=False)]
    loss = getters.query_one("#loss", Plot)
    machine = getters.query_one("#machine", Plot)

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self._curves: Mapping[tuple[str, str], Curve] = {}
        self._chosen: str | None = None
        """None: the step that runs, or ran last."""

    def compose(self) -> ComposeResult:
        yield Plot(NO_LOSS, may_log=True, id="loss", classes="panel")
        yield Plot(NO_SAMPLE, bounds=(0.0, 1.0), id="machine", classes="panel")

    def show(self, picture: Picture) -> None:
        """Draw what was measured so far."""
        self._curves = picture.curves
        has_ended = picture.state.has_ending and picture.read >= 1
        self.loss.empty = "This run trained nothing." if has_ended else NO_LOSS
        self.machine.empty = "The machine was not recorded." if has_ended else NO_SAMPLE
        self._show_loss()
        self._show_machine(picture)

    def _steps(self) -> list[str]:
        return [step for step, metric in self._curves if metric == "loss"]

    def _show_loss(self) -> None:
        steps = self._steps()
        if not steps:
            self.loss.show((), str)
            return
        step = self._chosen if self._chosen in steps else steps[-1]
        others = f" ({steps.index(step) + 1} of {len(steps)}, ←→)" if len(steps) > 1 else ""
        self.loss.border_title = f"{step}{others}"
        rate = self._curves.get((step, "learning_rate"), Curve())
        held_out = self._curves.get((step, "held_out_loss"))
        lines = (
            Line("loss", self._curves[step, "loss"]),
            *([Line("held-out loss", held_out, "■", "$success")] if held_out else []),
            Line("learning rate", rate, "•", "$accent", is_right=True, figure="{:.1e}".format),
        )
        self.loss.show(lines, "{:g}".format, " steps")

    def _show_machine(self, picture: Picture) -> None:
        began = picture.state.requested_at or 0.0
        lines = [
            Line(label, picture.machine[name], mark, style, figure="{:.0%}".format)
            for name, (label, mark, style) in MACHINE_MARKS.items()
            if name in picture.machine
        ]
        self.machine.border_title = "machine"
        self.machine.show(lines, lambda x: as_duration(max(x - began, 0.0)))

    def action_choose(self, by: int) -> None:
        """The curve of another step."""
        steps = self._steps()
        if len(steps) > 1:
            now = self._chosen if self._chosen in steps else steps[-1]
            self._chosen = steps[(steps.index(now) + by) % len(steps)]
            self._show_loss()
