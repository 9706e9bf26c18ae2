"""How busy this machine is and what room it has, on one line that changes only when that really moves."""

from __future__ import annotations

from textual.widgets import Static

from toolkit.core.files import Disk, as_round_size
from toolkit.core.machine import Sample
from toolkit.tui.widgets.gauge import Steady, bar

WIDEST, NARROWEST = 12, 3
"""Of a bar."""


class MachineLine(Static):
    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._cpu, self._memory, self._gpu, self._gpu_memory = Steady(0.08), Steady(0.03), Steady(0.08), Steady(0.03)
        self._free = Steady(0.01)
        self._seen: tuple[Sample, Disk] | None = None

    def tell(self, sample: Sample, disk: Disk) -> None:
        """Show what was measured."""
        self._seen = sample, disk
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self._seen is None or not self.size.width:
            return
        for width in range(WIDEST, NARROWEST - 1, -1):
            text = self._text(*self._seen, width)
            if len(text) <= self.content_size.width:
                break
        if text != str(self.content):
            self.update(text)

    def _text(self, sample: Sample, disk: Disk, width: int) -> str:
        cpu = self._cpu.shown(sample.cpu) or 0.0
        free = self._free.shown(disk.free / disk.total if disk.total else 0.0) or 0.0
        parts = [f"CPU {_busy(cpu, width)}", f"Memory {_room(self._memory, sample.memory, sample.memory_total, width)}"]
        if sample.gpu is not None:
            busy = self._gpu.shown(sample.gpu) or 0.0
            held = _share(self._gpu_memory, sample.gpu_memory, sample.gpu_memory_total) * (sample.gpu_memory_total or 0)
            parts.append(f"GPU {_busy(busy, width)} {_of(held, sample.gpu_memory_total or 0)}")
        else:
            parts.append("no GPU")
        return "  ".join([*parts, f"Disk {as_round_size(free * disk.total)} free"])


def _busy(share: float, width: int) -> str:
    """A bar and a percentage, in steps of five."""
    rounded = round(share * 20) / 20
    return f"{bar(rounded, width)} {rounded:.0%}"


def _share(steady: Steady, used: float | None, total: float | None) -> float:
    return steady.shown((used or 0) / total) or 0.0 if total else 0.0


def _room(steady: Steady, used: float, total: float, width: int) -> str:
    share = _share(steady, used, total)
    return f"{bar(share, width)} {_of(share * total, total)}"


def _of(used: float, total: float) -> str:
    """6.2/16 GB: both in the unit of the whole."""
    shown, unit = as_round_size(total).split()
    size = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    return f"{used / size:.1f}/{shown} {unit}" if used / size < 9.95 else f"{used / size:.0f}/{shown} {unit}"
