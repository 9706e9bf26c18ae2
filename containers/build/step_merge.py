"""Merge: a model and a LoRA adapter in, the model with the adapter folded in out; on the grid again where the export is int4."""

from __future__ import annotations

import json
import logging

from base_mark import check_same_base, mark_of
from decoder_types import UnknownDecoder, check_known
from step_io import Step, StepError, main
from step_quantize import LayerTeller, calibration, settle


def merge(step: Step) -> None:
    from olive_run import run_olive
    from transformers import AutoTokenizer

    model, trusts = step.inputs["model"], bool(step.option("trust_remote_code", False))
    check_same_base(step.inputs["adapter"], mark_of(model), "this one")
    refuse_unknown_models(step)
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trusts)
    options, data = merging_of(step), []
    if options["rounds"]:
        data, options["data_config"] = [calibration(step, tokenizer)], "calibration"
    teller = LayerTeller(step)
    logging.getLogger("edge.layers").addHandler(teller)
    logging.getLogger("edge.layers").setLevel(logging.INFO)
    made = run_olive(model, {"merge": options}, step.out / "olive", data, trust_remote_code=trusts)
    settle(made, step.out)
    tokenizer.save_pretrained(step.out)
    step.write_metrics({"merge.layers": len(teller.measured), "merge.seconds": sum(layer["seconds"] for layer in teller.measured)})


def merging_of(step: Step) -> dict:
    """The pass that folds in, and its options."""
    grid = {"bits": step.option("bits", 4), "group_size": step.option("group_size", 32), "symmetric": bool(step.option("symmetric", False))}
    kept = {"keep": step.option("keep", [])} if step.option("keep", []) else {}
    return {"type": "MergedAdapter", "adapter": str(step.inputs["adapter"]), "rounds": bool(step.option("rounds", True)), **grid, **kept}


def refuse_unknown_models(step: Step) -> None:
    """
    Raises:
        StepError: the sums are to be rounded, and what the model's layers compute is not known.
    """
    try:
        if step.option("rounds", True):
            check_known(json.loads((step.inputs["model"] / "config.json").read_text(encoding="utf-8")))
    except UnknownDecoder as error:
        raise StepError(str(error), 'Set export.adapters = "switchable" in the recipe.') from error


if __name__ == "__main__":
    main(merge)
