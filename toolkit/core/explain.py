"""What each step does and why, in a sentence or two, for people who meet Olive here for the first time."""

from __future__ import annotations

from collections.abc import Mapping

QUANTIZE = {
    "awq": (
        "Activation-aware weight quantization: runs a little text through the model, scales the weights that matter most, and rounds all "
        "to the 4-bit grid of the export. They stay floats on that grid, so that they can still be trained on."
    ),
    "gptq": (
        "GPTQ: rounds the weights of a layer one column after the other and lets those that are still to come make good what was lost, by a "
        "little text that is run through the model. They stay floats on the 4-bit grid, so that they can still be trained on."
    ),
    "rtn": "Rounds every weight to the nearest point of the 4-bit grid, without looking at any text: quick, a little less exact than awq.",
    "none": "Hands the model on as it is.",
}
STEPS = {
    "finetune": (
        "Low-rank adaptation (Olive's LoRA pass): the rounded model stays as it is, and two thin matrices beside each projection learn the "
        "rows. Falling loss means that the responses become likelier."
    ),
    "export": (
        "Olive's ModelBuilder writes the graph that ONNX Runtime GenAI runs, weights in the device's precision, with inputs for adapters: "
        "one graph runs the base and every adapter."
    ),
    "merge": (
        "Folds one adapter into the model. The sums leave the 4-bit grid by less than a step each, so they are rounded column by column, "
        "and what is lost on one is made up for by the next: rounding each to the nearest point would take the adapter out again."
    ),
    "adapter": "Turns the trained matrices into a file that the runtime loads beside the graph, after holding each one against it.",
    "evaluate": (
        "Asks held-out questions to the original model, the exported one and the adapter. Perplexity: how surprised it is by the right "
        "response, lower is better. Fact accuracy: the share of answers with the right words in them."
    ),
    "weigh": (
        "Measures one choice of a comparison, untrained: perplexity on general text and on the held-out responses, size of the graph, and "
        "how fast it generates."
    ),
    "collect": "Puts model, adapters and configuration of one device together, after checking that they are what the build wrote.",
    "image": "Lays model, each adapter and configuration as layers of their own over the runtime image: what did not change never moves again.",
    "smoke": "Starts the very image, hardened as on the device, and asks the base and every adapter one question.",
    "rights": "Asks registry and workspace whether we may do what is to come, before any byte moves.",
    "push": "Sends the layers that the registry lacks.",
    "verify": "Reads the digest back from the registry and compares it with what was sent.",
    "register": (
        "Looks whether the version is free, sends the files that the store lacks, then registers the model with what it came from. The "
        "same content again moves nothing."
    ),
    "link": "Attaches the model's name and version to the image in the registry, so that each leads to the other.",
    "save": "Writes the image to one file, for a device without a network.",
}


def explain(kind: str, options: Mapping[str, object] | None = None) -> str:
    """What a step of this kind does; empty for a kind that is not known here."""
    if kind == "quantize":
        return QUANTIZE.get(str((options or {}).get("algorithm", "awq")), "")
    return STEPS.get(kind, "")
