"""What came out of a run so far: measurements of a build, answers of a package, layers and digest of a publication."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from toolkit.core.adapter_price import AdapterPrice
from toolkit.core.compare import Weighed, texts_of
from toolkit.core.files import as_size
from toolkit.core.results import Answer, Backdrop, Measured
from toolkit.core.run import RunState
from toolkit.tui.harmless import harmless_line

LAYER_BAR = 12


def measurements(rows: Sequence[Measured], costs: Sequence[AdapterPrice] = ()) -> Content:
    """Perplexity and fact accuracy of base, exported base and adapter, on each adapter's held-out rows; and what adapters cost."""
    if not rows:
        return Content("")
    width = max(len(harmless_line(row.model)) for row in rows)
    lines = [Content.styled(f"  {'held-out rows':<{width}}  perplexity   facts", "dim")]
    data = ""
    for row in rows:
        if row.data != data:
            data = row.data
            lines.append(Content.styled(harmless_line(data), "bold"))
        perplexity = "-" if row.perplexity is None else f"{row.perplexity:.2f}"
        facts = "-" if row.fact_accuracy is None else f"{row.fact_accuracy:.0%}"
        text = f"  {harmless_line(row.model):<{width}}  {perplexity:>10}  {facts:>6}"
        lines.append(Content.styled(text, "$success" if row.model.startswith("with ") else ""))
    lines += [Content.styled(harmless_line(f"adapter {cost}"), "dim") for cost in costs if cost.speed_lost is not None]
    return Content("\n").join(lines)


def comparison(rows: Sequence[Weighed], note: str) -> Content:
    """Size, perplexity and speed of each choice that was compared."""
    if not rows:
        return Content("")
    texts = texts_of(rows)
    width = max(len("perplexity of"), *(len(harmless_line(row.choice)) for row in rows))
    columns = [max(len(harmless_line(text)), 8) for text in texts]
    names = "  ".join(f"{harmless_line(text):>{column}}" for text, column in zip(texts, columns, strict=True))
    lines = [Content.styled(f"  {'perplexity of':<{width}}  {names}       size  tokens/s", "dim")]
    for row in rows:
        figures = [f"{row.perplexity[text]:.2f}" if text in row.perplexity else "-" for text in texts]
        shown = "  ".join(f"{figure:>{column}}" for figure, column in zip(figures, columns, strict=True))
        speed = f"{row.tokens_per_second:.0f}" if row.tokens_per_second else "-"
        size = as_size(row.bytes) if row.bytes else "-"
        lines.append(Content(f"  {harmless_line(row.choice):<{width}}  {shown}  {size:>9}  {speed:>8}"))
    return Content("\n").join([*lines, *([Content.styled(note, "dim")] if note else [])])


def answers(question: str, told: Sequence[Answer]) -> Content:
    """What base and adapters said to the question of the smoke test, or why it was not asked."""
    if not told:
        return Content(harmless_line(question))
    lines = [Content.styled(harmless_line(question), "bold")]
    for answer in told:
        rate = f" {answer.tokens_per_second:.0f} tokens/s" if answer.tokens_per_second else ""
        lines.append(Content.assemble((harmless_line(answer.model), "$primary"), (rate, "dim")))
        lines.append(Content(f"  {harmless_line(answer.text)}"))
    return Content("\n").join(lines)


def image_facts(known: Backdrop, state: RunState) -> Content:
    """The image of a packaging run and what it weighs."""
    metrics = state.steps["image"].metrics if "image" in state.steps else {}
    if "bytes" not in metrics:
        return Content("")
    shares = f"{as_size(metrics.get('runtime_bytes', 0))} runtime, {as_size(metrics.get('model_layers_bytes', 0))} model and adapters"
    tag = harmless_line(str(known.options.get("tag", "")))
    return Content.assemble((tag, "bold"), f"  {as_size(metrics['bytes'])}: {shares}")


def layers(state: RunState, width: int) -> Content:
    """Each part of a push or a load that is under way, as a bar."""
    step = next((step for step in reversed(state.steps.values()) if step.parts), None)
    if step is None:
        return Content("")
    shares = {harmless_line(name): share for name, share in step.parts.items() if len(share) > 1}
    name_width = min(max(map(len, shares), default=0), max(width - 40, 8))
    return Content("\n").join([_layer(name, *share[:2], name_width) for name, share in shares.items()])


def _layer(name: str, done: float, total: float, width: int) -> Content:
    full = round(min(done / total, 1.0) * LAYER_BAR) if total else 0
    bar = ("█" * full, "$primary"), ("░" * (LAYER_BAR - full), "dim")
    count = f"{as_size(done):>9} of {as_size(total)}" if total else "  waiting"
    return Content.assemble(f"{name[:width]:<{width}} ", *bar, f" {count}" + ("  there" if total and done >= total else ""))


def publication(known: Backdrop, release: str, state: RunState, width: int) -> Content:
    """Where an image goes, how far each layer is, and under which digest it lies there."""
    parts = []
    if target := known.options.get("target"):
        parts.append(Content.assemble(("to ", "dim"), (harmless_line(str(target)), "bold")))
    if shown := layers(state, width):
        parts.append(shown)
    metrics = state.steps["push"].metrics if "push" in state.steps else {}
    if "layers" in metrics:
        parts.append(Content(f"{metrics.get('layers_pushed', 0):.0f} layers sent, {metrics.get('layers_already_there', 0):.0f} were there"))
    if release:
        place, _, digest = harmless_line(release).partition("@")
        parts.append(Content.assemble(("verified in the registry\n", "$success bold"), f"{place}\n{digest}"))
    return Content("\n").join(parts)
