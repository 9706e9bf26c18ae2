"""The plot: curves as characters, true to their numbers at any size."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from tests.tui.stage import text_of
from toolkit.core.curves import Curve
from toolkit.tui.widgets.plot import Line, Plot, Scale, columns_of, scale_of


class Paper(App):
    def __init__(self, *lines: Line, **wishes) -> None:
        super().__init__()
        self._lines, self._wishes = lines, wishes

    def compose(self) -> ComposeResult:
        yield Plot("nothing yet", **self._wishes)

    def on_mount(self) -> None:
        plot = self.query_one(Plot)
        plot.styles.height = "1fr"
        plot.show(self._lines, "{:g}".format, " steps")


async def drawn(*lines: Line, size: tuple[int, int] = (40, 10), **wishes) -> list[str]:
    app = Paper(*lines, **wishes)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        return text_of(app).splitlines()


def straight(count: int = 11) -> Curve:
    return Curve(tuple(range(count)), tuple(float(number) for number in range(count)))


async def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right_between_its_numbers():
    rows = await drawn(Line("loss", straight()))
    assert rows[0].startswith("█ loss 10")
    assert rows[1].lstrip().startswith("10┤") and rows[8].lstrip().startswith("0┤")
    assert rows[1].rstrip()[-1] in "▀▄█" and rows[8].lstrip("0 ┤")[0] in "▀▄█"
    assert "└0 ─" in rows[9] and rows[9].endswith("10 steps")


async def test_a_second_line_has_its_own_mark_and_its_numbers_at_the_right():
    rows = await drawn(Line("loss", straight()), Line("rate", Curve((0, 10), (2.0, 1.0)), "•", is_right=True))
    assert "█ loss 10" in rows[0] and "• rate 1" in rows[0]
    assert rows[1].rstrip().endswith("├2") and rows[8].rstrip().endswith("├1")
    assert "•" in rows[1][:12]


async def test_what_has_no_points_yet_says_so():
    assert (await drawn(Line("loss", Curve())))[0] == "nothing yet"


async def test_numbers_that_are_none_are_left_out():
    curve = Curve((0, 1, 2), (1.0, float("nan"), 3.0))
    rows = await drawn(Line("loss", curve))
    assert rows[1].lstrip().startswith("3┤") and rows[8].lstrip().startswith("1┤")


async def test_a_curve_that_never_changes_is_a_level_line():
    rows = await drawn(Line("loss", Curve((0, 1, 2), (5.0, 5.0, 5.0))))
    assert sum(any(block in row[4:] for block in "▀▄") for row in rows[1:9]) == 1


@pytest.mark.parametrize("size", [(5, 2), (20, 4), (21, 5), (200, 60)])
async def test_any_size_will_do(size):
    assert await drawn(Line("loss", straight()), size=size)


def test_a_wide_range_is_drawn_by_its_logarithm_only_where_it_may_be():
    wide = [Line("loss", Curve((0, 1), (0.001, 10.0)))]
    assert scale_of(wide, None, may_log=True).share(0.1) == pytest.approx(0.5)
    assert scale_of(wide, None, may_log=False).share(5.0005) == pytest.approx(0.5)
    assert not scale_of([Line("loss", Curve((0, 1), (0.0, 10.0)))], None, may_log=True).is_log


def test_points_of_one_column_count_by_their_mean_and_gaps_are_bridged():
    assert columns_of(Curve((0, 0, 10), (0.0, 1.0, 1.0)), Scale(0, 1), 0, 10, 3) == {0: 0.5, 1: 0.75, 2: 1.0}
