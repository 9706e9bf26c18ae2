"""An answer's Markdown as lines of a given width, drawn block by block: what is finished is never drawn again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console
from rich.markdown import CodeBlock, Heading, Markdown
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme
from textual.strip import Strip

from toolkit.tui.harmless import harmless

_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(["image", "reference"])
"""Tags of HTML are shown as they were written; images are their text; nothing is opened or fetched."""


_PLAIN = Style()
DEEPEST = 14
"""Levels of nesting that are laid out."""
NARROWEST_COLUMN = 6
"""Of a table."""
CODE_LINES = 40
"""Lines of code that are coloured together."""


@dataclass(frozen=True)
class Look:
    """How it is drawn: as wide as this, in the colours of the theme."""

    width: int
    heading: Style = Style(bold=True)
    code: Style = Style()
    muted: Style = Style()
    is_dark: bool = True

    def console(self) -> Console:
        styles = {f"markdown.h{level}": self.heading for level in range(1, 7)}
        styles |= {"markdown.code": self.code, "markdown.link_url": self.muted, "markdown.link": self.muted}
        styles |= dict.fromkeys(("markdown.hr", "markdown.table.border", "markdown.item.bullet", "markdown.item.number"), self.muted)
        styles |= {"markdown.table.header": self.heading, "markdown.block_quote": self.muted}
        return Console(file=io.StringIO(), width=self.width, theme=Theme(styles), color_system="truecolor", force_terminal=True)


class _Code(CodeBlock):
    """Code on the screen's own background, in the sixteen colours that every theme keeps legible."""

    def __rich_console__(self, console: Console, options: object) -> Iterator[Syntax]:
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True, background_color="default", padding=(0, 2))


class _Heading(Heading):
    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _Markdown(Markdown):
    elements = {**Markdown.elements, "fence": _Code, "code_block": _Code, "heading_open": _Heading}

    def __init__(self, tokens: list[Token], is_dark: bool) -> None:
        super().__init__("", code_theme="ansi_dark" if is_dark else "ansi_light", hyperlinks=False)
        self.parsed = tokens


def markdown_lines(source: str, look: Look, console: Console | None = None) -> list[Strip]:
    """The lines of some Markdown. What cannot be laid out in this width is shown as it was written."""
    console = console or look.console()
    tokens = _PARSER.parse(source)
    if not _fits(tokens, look.width):
        return plain_lines(source, look, console)
    try:
        lines = [_trimmed(Strip(line)) for line in console.render_lines(_Markdown(tokens, look.is_dark), pad=False)]
    except Exception:  # the edge: a model writes what it likes, and no nesting of it may take the screen down
        return plain_lines(source, look, console)
    while lines and not lines[0].cell_length:
        lines.pop(0)
    while lines and not lines[-1].cell_length:
        lines.pop()
    return lines or plain_lines(source.strip(), look, console)


def _fits(tokens: list[Token], width: int) -> bool:
    """False for nesting and tables that leave no room for their text."""
    if max((token.level for token in tokens), default=0) > DEEPEST:
        return False
    columns = sum(token.type == "th_open" for token in tokens)
    return columns * NARROWEST_COLUMN <= width


def plain_lines(source: str, look: Look, console: Console | None = None, style: Style = _PLAIN) -> list[Strip]:
    """Text as it was written, wrapped."""
    console = console or look.console()
    return [_trimmed(Strip(line)) for line in console.render_lines(Text(source, overflow="fold"), pad=False, style=style)]


def _trimmed(strip: Strip) -> Strip:
    """Without the blanks at its end, which would be sent to the terminal as well."""
    text = strip.text
    cut = strip.crop(0, strip.cell_length - (len(text) - len(text.rstrip(" "))))
    return Strip([Segment(part, style and without_background(style)) for part, style, _ in cut])


def without_background(style: Style) -> Style:
    """The ink alone: what is behind it is the screen's own."""
    if style.bgcolor is None:
        return style
    return Style(
        color=style.color, bold=style.bold, italic=style.italic, underline=style.underline, strike=style.strike, reverse=style.reverse
    )


@dataclass
class AnswerText:
    """An answer as it grows. Only its last part, which may still change its meaning, is drawn at each look."""

    source: str = ""
    _settled: int = 0
    """Characters of the source whose lines are settled."""
    _fence: str = ""
    """The line that opened the code block in which what is settled ends."""
    _lines: list[Strip] = field(default_factory=list)
    _look: Look | None = None
    _console: Console | None = None

    def grow(self, text: str) -> None:
        self.source += harmless(text)

    def lines(self, look: Look) -> list[Strip]:
        if look != self._look:
            self._look, self._console = look, look.console()
            self._settled, self._fence, self._lines = 0, "", []
        self._settle(look)
        live = self._fence + self.source[self._settled :]
        return [*self._lines, *markdown_lines(live, look, self._console)] if live.strip() else list(self._lines)

    def _settle(self, look: Look) -> None:
        """Draw for good whatever no further word can change."""
        rest = self._fence + self.source[self._settled :]
        for part in _finished_parts(rest):
            self._lines += markdown_lines(part.source, look, self._console)
            if part.is_block:
                self._lines.append(Strip.blank(0))
            self._settled += part.taken - len(self._fence)
            self._fence = part.fence


@dataclass(frozen=True)
class _Part:
    """A piece of Markdown that stands for itself."""

    source: str
    taken: int
    """Characters, with the line that reopened its code block."""
    fence: str = ""
    """How the code block goes on after it."""
    is_block: bool = True
    """False inside a list or code block, where no blank line follows."""


def _finished_parts(source: str) -> Iterator[_Part]:
    """Blocks before the last; of a last list its items before the last, of last code its lines by the dozen."""
    tokens = [token for token in _PARSER.parse(source) if token.map and token.nesting >= 0]
    tops = [token for token in tokens if token.level == 0]
    if not tops:
        return
    offsets = _line_offsets(source)
    starts = [0, *(offsets[token.map[0]] for token in tops[1:])]
    for start, end in zip(starts, starts[1:], strict=False):
        yield _Part(source[start:end], end - start)
    last = tops[-1]
    if last.type.endswith("_list_open"):
        inside = [token for token in tokens if token.level == 1 and token.type == "list_item_open" and token.map[0] >= last.map[0]]
        yield from _finished_items(source, starts[-1], [offsets[token.map[0]] for token in inside])
    elif last.type == "fence" and len(tops) == 1:
        yield from _finished_code(source, offsets, last)


def _finished_items(source: str, start: int, items: list[int]) -> Iterator[_Part]:
    for end in items[1:]:
        yield _Part(source[start:end], end - start, is_block=False)
        start = end


def _finished_code(source: str, offsets: list[int], fence: Token) -> Iterator[_Part]:
    """The first lines of a code block that is long."""
    opened, lines = fence.map[0], fence.map[1] - fence.map[0]
    if lines <= 2 * CODE_LINES:
        return
    cut = offsets[opened + 1 + CODE_LINES]
    line = source[offsets[opened] : offsets[opened + 1]]
    yield _Part(f"{source[:cut]}{fence.markup}", cut, line, is_block=False)


def _line_offsets(source: str) -> list[int]:
    """Where each line begins, in characters."""
    offsets = [0]
    for line in source.split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    return offsets
