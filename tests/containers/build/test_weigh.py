"""Weighing: graph and float model read the same held-out tokens, and a graph that lost nothing weighs the same."""

import json
import math

import pytest
from step_export import export
from step_io import StepError, read_step
from step_weigh import weigh
from tiny_models import save, step_file, tiny_llama


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weigh")
    base = save(tiny_llama(), folder / "model")
    (folder / "general.jsonl").write_text("".join(json.dumps({"text": f"paragraph {n} of a speech"}) + "\n" for n in range(40)))
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"what is {n}?", "response": f"a number, {n}"}) + "\n" for n in range(6))
    )
    return folder, base


def weighed(bench, name, **graph):
    folder, base = bench
    inputs = {"base": base, "general": folder / "general.jsonl", "rows_travel": folder / "rows.jsonl", **graph}
    options = {"choice": name, "general_tokens": 512, "sequence_length": 64, "speed_tokens": 8}
    weigh(read_step(step_file(folder / f"weigh-{name}", "weigh", options, inputs)))
    return json.loads((folder / f"weigh-{name}" / "out" / "metrics.json").read_text())


def test_a_graph_in_full_precision_weighs_what_the_model_does(bench):
    folder, base = bench
    export(read_step(step_file(folder / "export", "export", {"precision": "fp32"}, {"model": base})))
    exact, graph = weighed(bench, "float"), weighed(bench, "fp32", graph=folder / "export" / "out")
    for text in ("general", "travel"):
        assert math.isclose(exact[f"{text}.perplexity"], graph[f"{text}.perplexity"], rel_tol=1e-3)
    assert graph["tokens_per_second"] > 0
    assert graph["graph.bytes"] == sum(file.stat().st_size for file in (folder / "export/out").glob("model.onnx*"))
    assert exact["model.bytes"] > 0 and "tokens_per_second" not in exact


def test_rows_without_a_response_are_refused(bench, tmp_path):
    folder, base = bench
    (tmp_path / "rows.jsonl").write_text('{"prompt": "what?"}\n')
    inputs = {"base": base, "general": folder / "general.jsonl", "rows_travel": tmp_path / "rows.jsonl"}
    with pytest.raises(StepError, match="no prompt or no response"):
        weigh(read_step(step_file(tmp_path / "weigh", "weigh", {"choice": "float"}, inputs)))
