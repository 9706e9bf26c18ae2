"""Quantize: a Hugging Face model in, the same model with its weights on the int4 grid out (still float, still plain)."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from decoder_types import UnknownDecoder, check_known
from rows import calibration_ids
from step_io import Progress, Step, StepError, main

ALGORITHMS = ("awq", "gptq", "rtn", "none")
NOT_THE_MODEL = ("*.md", "LICENSE*", "*.gguf", "*.bin", "*.pth", "*.onnx", "*.onnx.data")


def quantize(step: Step) -> None:
    algorithm = step.option("algorithm", "awq")
    if algorithm not in ALGORITHMS:
        raise StepError(f"No algorithm {algorithm!r}.", f"Use one of {', '.join(ALGORITHMS)}.")
    if algorithm == "none":
        pass_through(step)
        return
    refuse_unknown_models(step)
    fold_and_round(step, algorithm)


def pass_through(step: Step) -> None:
    """The model as it is, under the run's own name (hard links where the file system can)."""
    from cache import files_of, link_or_copy

    model = step.inputs["model"]
    for file in files_of(model):
        if not any(file.match(pattern) for pattern in NOT_THE_MODEL):
            link_or_copy(file, step.out / file.relative_to(model))
    step.write_metrics({"quantize.layers": 0})


def refuse_unknown_models(step: Step) -> None:
    """Say no before anything is loaded."""
    model = step.inputs["model"]
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        check_known(config)
    except UnknownDecoder as error:
        raise StepError(str(error), 'Set quantize.algorithm = "none", or use a model of one of these types.') from error
    except (OSError, ValueError, AttributeError) as error:
        raise StepError(f"{model} is not a Hugging Face model folder: {error}", "Name the folder that holds config.json.") from error
    if "quantization_config" in config:
        raise StepError("The model is quantized already.", 'Start from its float weights, or set algorithm = "none".')
    length, longest = step.option("sequence_length", 128), config.get("max_position_embeddings") or float("inf")
    if length > longest:
        raise StepError(f"quantize.sequence_length is {length}; the model reads {longest} tokens at most.", "Lower it.")


def fold_and_round(step: Step, algorithm: str) -> None:
    from accelerator import require_torch_on_gpu
    from olive_run import run_olive
    from transformers import AutoTokenizer

    require_torch_on_gpu()
    trusts = bool(step.option("trust_remote_code", False))
    options, data = rounding_of(step, algorithm), []
    tokenizer = AutoTokenizer.from_pretrained(step.inputs["model"], trust_remote_code=trusts)
    if algorithm != "rtn":
        data, options["data_config"] = [calibration(step, tokenizer)], "calibration"
    teller = LayerTeller(step)
    logging.getLogger("edge.layers").addHandler(teller)
    logging.getLogger("edge.layers").setLevel(logging.INFO)
    made = run_olive(step.inputs["model"], {"round": options}, step.out / "olive", data, trust_remote_code=trusts)
    settle(made, step.out)
    tokenizer.save_pretrained(step.out)
    step.write_metrics(teller.summary())


def rounding_of(step: Step, algorithm: str) -> dict:
    """The pass that rounds, and its options."""
    grid = {"bits": step.option("bits", 4), "group_size": step.option("group_size", 32)}
    symmetric, keep = bool(step.option("symmetric", False)), {"keep": step.option("keep", [])} if step.option("keep", []) else {}
    if algorithm == "gptq":
        return {"type": "GptqOnGrid", **grid, "sym": symmetric, **keep}
    return {"type": "FoldedRounding", "is_aware": algorithm == "awq", **grid, "symmetric": symmetric, **keep}


def calibration(step: Step, tokenizer) -> dict:
    from edge_data import data_config

    samples, length = step.option("calibration_samples", 24), step.option("sequence_length", 128)
    template = step.option("text_template", "{text}")
    sequences = calibration_ids(tokenizer, template, step.inputs["calibration"], samples, length)
    dataset = "edge_sequences" if step.option("algorithm", "awq") == "gptq" else "edge_rows"
    return data_config("calibration", [{"input_ids": ids} for ids in sequences], dataset)


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
        self.whole: dict[str, float] = {}
        """What was measured on the whole model."""

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "summary"):
            self.whole = record.summary
            return
        self.progress.total = record.total
        self.measured.append(record.measured)
        self.progress.tell(record.done, **record.measured)

    def summary(self) -> dict[str, float]:
        names = sorted({name for layer in self.measured for name in layer})
        means = {name: sum(layer[name] for layer in self.measured) / len(self.measured) for name in names}
        found = {"layers": len(self.measured), **{f"{name}_per_layer": means[name] for name in names}, **self.whole}
        return {f"quantize.{name}": value for name, value in found.items()}


if __name__ == "__main__":
    main(quantize)
