"""Evaluate: the original model, the exported graph, and the graph with an adapter, on rows none of them was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rows import Tokens, read_rows, tokenize_pair
from step_io import Progress, Step, StepError, main


@dataclass(frozen=True)
class Questions:
    """What is asked, the same of every model."""

    rows: list[dict]
    likely: list[Tokens]
    """Rows whose response is weighed, as tokens."""
    facts: list[dict]
    """Rows whose answer must hold a fact."""
    prompts: list[list[int]]
    """Token ids of the prompts of `facts`."""


def evaluate(step: Step) -> None:
    from genai_speaker import GenaiSpeaker
    from torch_speaker import TorchSpeaker
    from transformers import AutoTokenizer

    trusts = bool(step.option("trust_remote_code", False))
    tokenizer = AutoTokenizer.from_pretrained(step.inputs["base"], trust_remote_code=trusts)
    questions = ask(step, tokenizer)
    adapter = next(iter(step.inputs["adapter"].glob("*.onnx_adapter")), None) if "adapter" in step.inputs else None
    graph = GenaiSpeaker(step.inputs["graph"], adapter, step.option("provider", "cpu"))
    check_tokens(step, tokenizer, graph, questions)
    progress = Progress(step, total=3.0 if adapter or "merged" in step.inputs else 2.0, unit="models")
    metrics, answers = {}, {}
    metrics |= weigh_graph(step, graph, questions, "graph", answers)
    progress.tell(1, "graph", **only(metrics, "graph"))
    if "merged" in step.inputs:
        del graph
        graph = GenaiSpeaker(step.inputs["merged"], None, step.option("provider", "cpu"))
    if adapter or "merged" in step.inputs:
        metrics |= weigh_graph(step, graph, questions, "adapter", answers)
        progress.tell(2, "adapter", **only(metrics, "adapter"))
    del graph
    base = TorchSpeaker(step.inputs["base"], tokenizer, trusts)
    metrics |= weigh_base(step, base, questions, answers)
    progress.tell(progress.total, "base", is_last=True, **only(metrics, "base"))
    write_answers(step, questions, answers)
    step.write_metrics(metrics)


def only(metrics: dict[str, float], model: str) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(f"{model}.")}


def messages_of(step: Step, row: dict) -> list[dict[str, str]]:
    system = step.option("system", "")
    asked = [{"role": "user", "content": str(row["prompt"])}]
    return [{"role": "system", "content": system}, *asked] if system else asked


def ask(step: Step, tokenizer) -> Questions:
    """The held-out rows, cut to the numbers asked for, as every model will see them."""
    rows = read_rows(step.inputs["held_out"])
    refuse_incomplete(rows)
    likely = [answer_tokens(step, tokenizer, row) for row in rows[: step.option("perplexity_rows", 64)]]
    facts = [row for row in rows if row.get("fact")][: step.option("fact_rows", 64)]
    prompts = [tokenizer(chat_text(step, tokenizer, row), add_special_tokens=False)["input_ids"] for row in facts]
    return Questions(rows, likely, facts, prompts)


def refuse_incomplete(rows: list[dict]) -> None:
    """
    Raises:
        StepError: a row has no prompt or no response.
    """
    missing = next((row for row in rows if "prompt" not in row or "response" not in row), None)
    if missing is not None:
        raise StepError("A held-out row has no prompt or no response.", f"Look at {json.dumps(missing)[:120]}.")


def answer_tokens(step: Step, tokenizer, row: dict) -> Tokens:
    """A row as the model would read it in a chat, the response being what is weighed."""
    return tokenize_pair(tokenizer, chat_text(step, tokenizer, row), str(row["response"]))


def chat_text(step: Step, tokenizer, row: dict) -> str:
    """The prompt as the model's own chat template writes it."""
    if not getattr(tokenizer, "chat_template", None):
        raise StepError("The model has no chat template, so it cannot be asked.", "Use an instruction-tuned model.")
    return tokenizer.apply_chat_template(messages_of(step, row), tokenize=False, add_generation_prompt=True)


def check_tokens(step: Step, tokenizer, graph, questions: Questions) -> None:
    """
    Raises:
        StepError: the device would read other tokens than the model was trained on.
    """
    for row, wanted in list(zip(questions.facts, questions.prompts, strict=True))[:4]:
        got = graph.prompt_ids(messages_of(step, row))
        if got == wanted:
            continue
        place = next((at for at, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), min(len(got), len(wanted)))
        raise StepError(
            f"ONNX Runtime GenAI reads a prompt as other tokens than Hugging Face, from token {place} on: "
            f"{got[place : place + 5]} instead of {wanted[place : place + 5]}.",
            "This model's tokenizer or chat template is not supported by the runtime; answers would be wrong.",
        )


def weigh_graph(step: Step, graph, questions: Questions, model: str, answers: dict[str, list[str]]) -> dict[str, float]:
    """Perplexity, fact accuracy and speed of the graph, with its adapter where `model` is adapter."""
    from scoring import Likelihood

    with_adapter, likelihood = model == "adapter", Likelihood()
    for row in questions.likely:
        graph.add_likelihood(likelihood, row, with_adapter)
    length = step.option("max_new_tokens", 32)
    answers[model] = [graph.answer(prompt, length, with_adapter) for prompt in questions.prompts]
    return {
        f"{model}.perplexity": likelihood.perplexity,
        **accuracy(model, questions, answers[model]),
        f"tokens_per_second.{model}": graph.speeds[with_adapter].tokens_per_second,
    }


def weigh_base(step: Step, base, questions: Questions, answers: dict[str, list[str]]) -> dict[str, float]:
    answers["base"] = base.answers(questions.prompts, step.option("max_new_tokens", 32))
    return {
        "base.perplexity": base.perplexity(questions.likely),
        **accuracy("base", questions, answers["base"]),
        "tokens_per_second.base": base.speed.tokens_per_second,
    }


def accuracy(model: str, questions: Questions, answers: list[str]) -> dict[str, float]:
    """The part of answers that hold their fact; nothing where no fact was asked for."""
    from scoring import holds_fact

    if not answers:
        return {}
    held = sum(holds_fact(answer, str(row["fact"])) for row, answer in zip(questions.facts, answers, strict=True))
    return {f"{model}.fact_accuracy": held / len(answers)}


def write_answers(step: Step, questions: Questions, answers: dict[str, list[str]]) -> None:
    with (step.out / "answers.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(questions.facts):
            said = {model: texts[number] for model, texts in answers.items()}
            line = {"prompt": row["prompt"], "expected": row["response"], "fact": row["fact"], **said}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(evaluate)
