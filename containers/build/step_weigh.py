"""Weigh: one exported graph, or the float model itself, by perplexity on held-out text, size and speed.

What quantizers and precisions are compared by: nothing is trained, and every choice reads the same tokens.
"""

from __future__ import annotations

from rows import Tokens, joined_ids, read_rows
from step_evaluate import answer_tokens, refuse_incomplete
from step_io import Progress, Step, main

GENERAL = "general"
ROWS = "rows_"
"""Inputs called so are an adapter's held-out rows."""


def weigh(step: Step) -> None:
    from transformers import AutoTokenizer

    trusts = bool(step.option("trust_remote_code", False))
    tokenizer = AutoTokenizer.from_pretrained(step.inputs["base"], trust_remote_code=trusts)
    texts = texts_of(step, tokenizer)
    metrics = weigh_graph(step, texts) if "graph" in step.inputs else weigh_float(step, texts, tokenizer, trusts)
    step.write_metrics(metrics)


def texts_of(step: Step, tokenizer) -> dict[str, list[Tokens]]:
    """General text in pieces, and the responses of each adapter's held-out rows, as tokens."""
    rows = read_rows(step.inputs[GENERAL])
    pieces = joined_ids(tokenizer, "{text}", rows, step.option("general_tokens", 8192), step.option("sequence_length", 512))
    texts = {GENERAL: [Tokens(ids, 1) for ids in pieces]}
    for name, path in step.inputs.items():
        if name.startswith(ROWS):
            chosen = read_rows(path)[: step.option("perplexity_rows", 64)]
            refuse_incomplete(chosen)
            texts[name.removeprefix(ROWS)] = [answer_tokens(step, tokenizer, row) for row in chosen]
    return texts


def weigh_graph(step: Step, texts: dict[str, list[Tokens]]) -> dict[str, float]:
    from genai_speaker import GenaiSpeaker
    from scoring import Likelihood

    graph = GenaiSpeaker(step.inputs["graph"], None, step.option("provider", "cpu"))
    progress, metrics = Progress(step, total=float(len(texts) + 1), unit="texts"), {}
    for number, (name, rows) in enumerate(texts.items()):
        progress.tell(number, name, **metrics)
        likelihood = Likelihood()
        for row in rows:
            graph.add_likelihood(likelihood, row, with_adapter=False)
        metrics[f"{name}.perplexity"] = likelihood.perplexity
    prompt = texts[GENERAL][0].ids[:64]
    metrics["tokens_per_second"] = graph.best_speed(prompt, step.option("speed_tokens", 96))
    metrics["graph.bytes"] = sum(file.stat().st_size for file in step.inputs["graph"].glob("model.onnx*"))
    progress.tell(len(texts) + 1, "speed", is_last=True, **metrics)
    return metrics


def weigh_float(step: Step, texts: dict[str, list[Tokens]], tokenizer, trusts: bool) -> dict[str, float]:
    from torch_speaker import TorchSpeaker

    progress = Progress(step, total=float(len(texts)), unit="texts")
    model = TorchSpeaker(step.inputs["base"], tokenizer, trusts, is_exact=True)
    metrics = {"model.bytes": sum(file.stat().st_size for file in step.inputs["base"].glob("*.safetensors"))}
    for number, (name, rows) in enumerate(texts.items(), start=1):
        metrics[f"{name}.perplexity"] = model.perplexity(rows)
        progress.tell(number, name, is_last=number == len(texts), **metrics)
    return metrics


if __name__ == "__main__":
    main(weigh)
