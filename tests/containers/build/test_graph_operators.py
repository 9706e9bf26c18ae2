"""Our graph operators: what they compute, on the CPU here, and that a graph which uses them says the same as one that does not."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from lora_pack import PACK_INPUT, Place, Segment, pack
from onnx import TensorProto, helper, numpy_helper

from tests.services.fixtures import missing

SOURCES = Path(__file__).resolve().parents[3] / "containers" / "graph_ops"
LIBRARY = Path(sys.prefix, "graph_ops", "libedge_graph_ops.so")


@pytest.fixture(autouse=True)
def has_library():
    if not LIBRARY.exists():
        missing("The library of our graph operators", "install g++, then `make test` compiles it")


def session_of(rows, inputs, outputs):
    """y = LoraAdd(x, x W, pack) with a constant W; the branch is the second of two."""
    weight = np.random.default_rng(7).standard_normal((inputs, outputs), dtype=np.float32)
    given = [("x", TensorProto.FLOAT, ["batch", "sequence", inputs]), (PACK_INPUT, TensorProto.UINT8, ["bytes"])]
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["plain"]),
        helper.make_node("LoraAdd", ["x", "plain", PACK_INPUT], ["y"], domain="edge.toolkit", branch=1),
    ]
    constants = [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(np.zeros(0, np.uint8), PACK_INPUT)]
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info(*each) for each in given],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", outputs])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("edge.toolkit", 1)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]), weight


def packed(inputs, outputs, *segments):
    """An adapter whose second branch has these segments."""
    return pack([Place("other", 24, 8), Place("own", inputs, outputs)], {"own": segments})


def halves(seed, *shapes):
    dice = np.random.default_rng(seed)
    return [dice.standard_normal(shape, dtype=np.float32).astype(np.float16) for shape in shapes]


def wanted(x, weight, *segments):
    x = x.astype(np.float64)
    made = x @ weight
    for part in segments:
        made[..., part.first_column : part.first_column + part.up.shape[1]] += (x @ part.down.astype(np.float64)) @ part.up.astype(
            np.float64
        )
    return made


@pytest.mark.parametrize("rank", [1, 3, 8, 16, 21, 64])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 576, 1536), (1, 7, 3), (5, 64, 33), (300, 96, 96)])
def test_an_adapter_is_added_to_what_the_projection_made(rows, inputs, outputs, rank):
    session, weight = session_of(rows, inputs, outputs)
    x = np.random.default_rng(rank).standard_normal((1, rows, inputs), dtype=np.float32)
    part = Segment(0, *halves(rank, (inputs, rank), (rank, outputs)))
    (made,) = session.run(None, {"x": x, PACK_INPUT: packed(inputs, outputs, part)})
    right = wanted(x, weight, part)
    assert np.abs(made - right).max() <= 1e-4 * max(1.0, np.abs(right).max())


@pytest.mark.parametrize("rows", [1, 9])
def test_without_an_adapter_or_without_this_branch_nothing_is_added(rows):
    session, weight = session_of(rows, 64, 96)
    x = np.random.default_rng(rows).standard_normal((1, rows, 64), dtype=np.float32)
    for given in ({}, {PACK_INPUT: packed(64, 96)}):
        (made,) = session.run(None, {"x": x, **given})
        assert np.allclose(made, x @ weight, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 9])
def test_parts_of_a_packed_projection_have_ranks_of_their_own(rows):
    session, weight = session_of(rows, 64, 960)
    x = np.random.default_rng(rows).standard_normal((1, rows, 64), dtype=np.float32)
    parts = [Segment(0, *halves(1, (64, 16), (16, 576))), Segment(768, *halves(2, (64, 5), (5, 192)))]
    (made,) = session.run(None, {"x": x, PACK_INPUT: packed(64, 960, *parts)})
    right = wanted(x, weight, *parts)
    assert np.abs(made - right).max() <= 1e-4 * np.abs(right).max()


def test_very_small_and_very_large_16_bit_weights_are_read_right():
    session, weight = session_of(1, 4, 64)
    down = np.array([[6e-8, 65504.0, -1.0, 0.0]] * 4, np.float16)  # the smallest and the largest that 16 bits hold
    part = Segment(0, down, np.array([[1.0], [1e-3], [-6.1e-5], [2.0]], np.float16).repeat(64, 1))
    x = np.ones((1, 1, 4), np.float32)
    (made,) = session.run(None, {"x": x, PACK_INPUT: packed(4, 64, part)})
    assert np.allclose(made, wanted(x, weight, part), rtol=1e-4)


def test_two_rows_of_a_batch_do_not_mix():
    session, weight = session_of(2, 8, 8)
    x = np.stack([np.ones((3, 8)), np.zeros((3, 8))]).astype(np.float32)
    part = Segment(0, np.ones((8, 2), np.float16), np.ones((2, 8), np.float16))
    (made,) = session.run(None, {"x": x, PACK_INPUT: packed(8, 8, part)})
    assert np.allclose(made[1], 0) and np.allclose(made[0], x[0] @ weight + 16, rtol=1e-5)


DAMAGE = {
    "noise": lambda data: b"x" * 400,
    "cut off": lambda data: data[:-8],
    "shorter than its head": lambda data: data[:40],
    "of another format": lambda data: data[:8] + b"\2" + data[9:],
    "weights far away": lambda data: data[: 64 + 128 + 16] + (1 << 60).to_bytes(8, "little") + data[64 + 128 + 24 :],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_adapter_is_an_error_and_the_next_run_is_well(kind):
    session, weight = session_of(1, 8, 8)
    x, part = np.ones((1, 1, 8), np.float32), Segment(0, *halves(1, (8, 2), (2, 8)))
    good = packed(8, 8, part)
    with pytest.raises(Exception, match="does not fit the graph"):
        session.run(None, {"x": x, PACK_INPUT: np.frombuffer(DAMAGE[kind](good.tobytes()), np.uint8)})
    (made,) = session.run(None, {"x": x, PACK_INPUT: good})
    assert np.allclose(made, wanted(x, weight, part), rtol=1e-3)


def test_an_adapter_of_another_width_is_refused():
    session, _weight = session_of(1, 8, 8)
    with pytest.raises(Exception, match="branch 1 has 16 inputs and 8 outputs, the projection has 8 and 8"):
        session.run(None, {"x": np.ones((1, 1, 8), np.float32), PACK_INPUT: packed(16, 8)})


def test_on_cuda_projections_of_one_x_are_begun_together_and_before_them():
    import onnx_ir as ir
    from lora_layout import as_plain, layout
    from passes.lora_inputs import insert_lora_inputs

    def product(name, source, out, weight):
        return helper.make_node("MatMul", [source, weight], [out], name=f"/model/layers.0/mlp/{name}/MatMul")

    half = TensorProto.FLOAT16
    nodes = [
        product("gate_proj", "x", "gate", "G"),
        product("up_proj", "x", "up", "U"),
        helper.make_node("Mul", ["gate", "up"], ["middle"], name="Mul"),
        product("down_proj", "middle", "y", "D"),
    ]
    weights = [
        numpy_helper.from_array(np.zeros(shape, np.float16), name) for name, shape in (("G", (8, 16)), ("U", (8, 16)), ("D", (16, 8)))
    ]
    sizes = {"x": 8, "y": 8, "gate": 16, "up": 16, "middle": 16}
    values = {name: helper.make_tensor_value_info(name, half, ["rows", size]) for name, size in sizes.items()}
    graph = helper.make_graph(
        nodes, "g", [values["x"]], [values["y"]], weights, value_info=[values[name] for name in ("gate", "up", "middle")]
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    config = {"num_attention_heads": 1, "hidden_size": 8, "intermediate_size": 16, "model_type": "llama"}
    insert_lora_inputs(model, as_plain(layout(config, ["gate_proj", "up_proj", "down_proj"])), "cuda")
    made = [node.op_type for node in model.graph]
    assert made == ["LoraBegin", "MatMul", "LoraEnd", "MatMul", "LoraEnd", "Mul", "LoraBegin", "MatMul", "LoraEnd"]
    begin = model.graph[0]
    readers = {use.node.op_type for use in begin.outputs[0].uses()}
    assert begin.attributes["branches"].as_ints() == (0, 1) and readers == {"MatMul", "LoraEnd"}
    assert onnx.checker.check_model(ir.to_proto(model)) is None


def test_on_cuda_branches_run_beside_the_product_and_what_a_captured_graph_points_to_stays(tmp_path):
    """The CUDA side's streams, events and memory, by the real code on a driver that writes down what it is asked."""
    program = tmp_path / "fake_card"
    source = Path(__file__).with_name("fake_card.cc")
    command = ["g++", "-std=c++17", "-O1", f"-I{SOURCES}", "-o", str(program), str(source), "-ldl"]
    subprocess.run(command, check=True)
    ended = subprocess.run([str(program)], stdout=subprocess.PIPE, text=True)
    assert ended.returncode == 0, ended.stdout


def test_the_ptx_was_made_of_the_kernels_that_lie_beside_it():
    source = (SOURCES / "kernels.cu").read_text(encoding="utf-8")
    first = (SOURCES / "kernels.ptx").read_text(encoding="utf-8").split("\n", 1)[0]
    assert first == f"// of kernels.cu {hashlib.sha256(source.encode()).hexdigest()}", "Run make_ptx.py."


def test_sigmoid_and_two_products_become_one_node():
    import onnx_ir as ir
    from passes.graph_operators import declare, fuse_silu

    half = TensorProto.FLOAT16
    nodes = [
        helper.make_node("Sigmoid", ["gate"], ["slope"], name="Sigmoid"),
        helper.make_node("Mul", ["gate", "slope"], ["silu"], name="Mul"),
        helper.make_node("Mul", ["silu", "up"], ["y"], name="Mul2"),
    ]
    shape = ["batch", 4]
    values = [helper.make_tensor_value_info(name, half, shape) for name in ("gate", "up", "slope", "silu", "y")]
    graph = helper.make_graph(nodes, "swiglu", values[:2], values[4:], value_info=values[2:4])
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    assert fuse_silu(model.graph) == 1
    declare(model)
    made = ir.to_proto(model)
    assert [(node.op_type, list(node.input), list(node.output)) for node in made.graph.node] == [("SiluMul", ["gate", "up"], ["y"])]
    assert "edge.toolkit" in {opset.domain for opset in made.opset_import}


def test_a_sigmoid_that_is_read_elsewhere_stays():
    import onnx_ir as ir
    from passes.graph_operators import fuse_silu

    half = TensorProto.FLOAT16
    nodes = [
        helper.make_node("Sigmoid", ["gate"], ["slope"]),
        helper.make_node("Mul", ["gate", "slope"], ["silu"]),
        helper.make_node("Mul", ["silu", "up"], ["y"]),
        helper.make_node("Neg", ["slope"], ["z"]),
    ]
    values = [helper.make_tensor_value_info(name, half, [4]) for name in ("gate", "up", "y", "z")]
    model = ir.from_proto(helper.make_model(helper.make_graph(nodes, "g", values[:2], values[2:])))
    assert fuse_silu(model.graph) == 0
    assert onnx.checker.check_model(ir.to_proto(model)) is None
