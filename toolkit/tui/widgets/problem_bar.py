"""What is wrong now, and the way out; it stays until it is put right or dismissed."""

from __future__ import annotations

from textual.widgets import Static

from toolkit.errors import ToolkitError


class ProblemBar(Static):
    """Hidden while there is no problem."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.told = ""
        """What it says; empty: nothing."""

    def tell(self, problem: ToolkitError | str) -> None:
        """Show a problem; the same again changes nothing."""
        text = _as_text(problem)
        if text == self.told:
            return
        self.told = text
        self.update(text)
        self.add_class("-told")

    def clear(self) -> None:
        if self.told:
            self.told = ""
            self.update("")
            self.remove_class("-told")


def _as_text(problem: ToolkitError | str) -> str:
    if isinstance(problem, str):
        return f"! {problem}"
    return f"! {problem.message}" + (f"\n  {problem.hint}" if problem.hint else "")
