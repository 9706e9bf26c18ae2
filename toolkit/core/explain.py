"""What each step does and why, in a sentence or two, for people who meet Olive here for the first time."""

from __future__ import annotations

from collections.abc import Mapping

QUANTIZE = {
    "awq": (
        "Activation-aware weight quantization: runs a little text through the model, scales the weights that matter most, and rounds all "
        "to the 4-bit grid of the export. They stay floats on that grid, so that they can still be trained on."
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
    "adapter": "Turns the trained matrices into a file that the runtime loads beside the graph, after holding each one against it.",
    "evaluate": (
        "Asks held-out questions to the original model, the exported one and the adapter. Perplexity: how surprised it is by the right "
        "response, lower is better. Fact accuracy: the share of answers with the right words in them."
    ),
    "collect": "Puts model, adapters and configuration of one device together, after checking that they are what the build wrote.",
    "image": "Lays model, each adapter and configuration as layers of their own over the runtime image: what did not change never moves again.",
    "smoke": "Starts the very image, hardened as on the device, and asks the base and every adapter one question.",
    "push": "Sends the layers that the registry lacks.",
    "verify": "Reads the digest back from the registry and compares it with what was sent.",
    "save": "Writes the image to one file, for a device without a network.",
}


def explain(kind: str, options: Mapping[str, object] | None = None) -> str:
    """What a step of this kind does; empty for a kind that is not known here."""
    if kind == "quantize":
        return QUANTIZE.get(str((options or {}).get("algorithm", "awq")), "")
    return STEPS.get(kind, "")
