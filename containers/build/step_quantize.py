"""Quantize: a Hugging Face model in, the same model with its weights on the int4 grid out (still float, still plain)."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from rows import joined_ids, read_rows
from step_io import Progress, Step, StepError, main

ALGORITHMS = ("awq", "rtn", "none")
NOT_THE_MODEL = ("*.md", "LICENSE*", "*.gguf", "*.bin", "*.pth", "*.onnx", "*.onnx.data")


def quantize(step: Step) -> None:
    algorithm = step.option("algorithm", "awq")
    if algorithm not in ALGORITHMS:
        raise StepError(f"No algorithm {algorithm!r}.", f"Use one of {', '.join(ALGORITHMS)}.")
    if algorithm == "none":
        pass_through(step)
        return
    refuse_unknown_models(step.inputs["model"])
    fold_and_round(step, algorithm)


def pass_through(step: Step) -> None:
    """The model as it is, under the run's own name (hard links where the file system can)."""
    from cache import files_of, link_or_copy

    model = step.inputs["model"]
    for file in files_of(model):
        if not any(file.match(pattern) for pattern in NOT_THE_MODEL):
            link_or_copy(file, step.out / file.relative_to(model))
    step.write_metrics({"quantize.layers": 0})


def refuse_unknown_models(model: Path) -> None:
    """Say no before anything is loaded."""
    from types import SimpleNamespace

    from passes.decoder_shapes import KNOWN_MODEL_TYPES, UnknownDecoder, check_known

    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        check_known(SimpleNamespace(**config))
    except (OSError, ValueError, AttributeError) as error:
        is_unknown = isinstance(error, UnknownDecoder)
        raise StepError(
            str(error) if is_unknown else f"{model} is not a Hugging Face model folder: {error}",
            f'Set quantize.algorithm = "none", or use a model of type {" or ".join(KNOWN_MODEL_TYPES)}.',
        ) from error
    if "quantization_config" in config:
        raise StepError("The model is quantized already.", 'Start from its float weights, or set algorithm = "none".')


def fold_and_round(step: Step, algorithm: str) -> None:
    from olive_run import run_olive
    from transformers import AutoTokenizer

    trusts = bool(step.option("trust_remote_code", False))
    options = {
        "is_aware": algorithm == "awq",
        "bits": step.option("bits", 4),
        "group_size": step.option("group_size", 32),
        "symmetric": step.option("symmetric", False),
    }
    data = []
    tokenizer = AutoTokenizer.from_pretrained(step.inputs["model"], trust_remote_code=trusts)
    if algorithm == "awq":
        data, options["data_config"] = [calibration(step, tokenizer)], "calibration"
    teller = LayerTeller(step)
    logging.getLogger("edge.layers").addHandler(teller)
    logging.getLogger("edge.layers").setLevel(logging.INFO)
    passes = {"round": {"type": "FoldedRounding", **options}}
    made = run_olive(step.inputs["model"], passes, step.out / "olive", data, trust_remote_code=trusts)
    settle(made, step.out)
    tokenizer.save_pretrained(step.out)
    step.write_metrics(teller.summary())


def calibration(step: Step, tokenizer) -> dict:
    from edge_data import data_config

    rows = read_rows(step.inputs["calibration"])
    tokens, length = step.option("calibration_tokens", 3072), step.option("sequence_length", 128)
    sequences = joined_ids(tokenizer, step.option("text_template", "{text}"), rows, tokens, length)
    return data_config("calibration", [{"input_ids": ids} for ids in sequences])


def settle(made: Path, out: Path) -> None:
    """Move what Olive made to where it belongs, and drop what is left of Olive's folder."""
    import shutil

    for file in list(made.iterdir()):
        shutil.move(str(file), out / file.name)
    shutil.rmtree(out / "olive")


class LayerTeller(logging.Handler):
    """Turns each finished layer into progress, and keeps what was measured."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.progress = Progress(step, unit="layers")
        self.measured: list[dict[str, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.progress.total = record.total
        self.measured.append(record.measured)
        self.progress.tell(record.done, **record.measured)

    def summary(self) -> dict[str, float]:
        names = sorted({name for layer in self.measured for name in layer})
        means = {name: sum(layer[name] for layer in self.measured) / len(self.measured) for name in names}
        return {"quantize.layers": len(self.measured), **{f"quantize.{name}_per_layer": means[name] for name in names}}


if __name__ == "__main__":
    main(quantize)
