"""Our graph operators: what they compute, on the CPU here, and that a graph which uses them says the same as one that does not."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.services.fixtures import missing

SOURCES = Path(__file__).resolve().parents[3] / "containers" / "graph_ops"
LIBRARY = Path(sys.prefix, "graph_ops", "libedge_graph_ops.so")


@pytest.fixture(autouse=True)
def has_library():
    if not LIBRARY.exists():
        missing("The library of our graph operators", "install g++, then `make test` compiles it")


def session_of(rows, inputs, outputs):
    """y = LoraAdd(x, x W, A, B) with a constant W."""
    weight = np.random.default_rng(7).standard_normal((inputs, outputs), dtype=np.float32)
    full, half = TensorProto.FLOAT, TensorProto.FLOAT16
    given = [("x", full, ["batch", "sequence", inputs]), ("A", half, [inputs, "rank"]), ("B", half, ["rank", outputs])]
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["plain"]),
        helper.make_node("LoraAdd", ["x", "plain", "A", "B"], ["y"], domain="edge.toolkit"),
    ]
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info(*each) for each in given],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", outputs])], [numpy_helper.from_array(weight, "W")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("edge.toolkit", 1)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]), weight


@pytest.mark.parametrize("rank", [0, 1, 3, 8, 16, 21, 64])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 576, 1536), (1, 7, 3), (5, 64, 33), (300, 96, 96)])
def test_an_adapter_is_added_to_what_the_projection_made(rows, inputs, outputs, rank):
    session, weight = session_of(rows, inputs, outputs)
    dice = np.random.default_rng(rank)
    x = dice.standard_normal((1, rows, inputs), dtype=np.float32)
    down, up = (dice.standard_normal(shape, dtype=np.float32).astype(np.float16) for shape in ((inputs, rank), (rank, outputs)))
    (made,) = session.run(None, {"x": x, "A": down, "B": up})
    down, up = down.astype(np.float64), up.astype(np.float64)
    wanted = x.astype(np.float64) @ weight + (x.astype(np.float64) @ down) @ up
    assert np.abs(made - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())


def test_very_small_and_very_large_16_bit_weights_are_read_right():
    session, weight = session_of(1, 4, 64)
    down = np.array([[6e-8, 65504.0, -1.0, 0.0]] * 4, np.float16)  # the smallest and the largest that 16 bits hold
    up = np.array([[1.0], [1e-3], [-6.1e-5], [2.0]], np.float16).repeat(64, 1)
    x = np.ones((1, 1, 4), np.float32)
    (made,) = session.run(None, {"x": x, "A": down, "B": up})
    wanted = x.astype(np.float64) @ weight + (x.astype(np.float64) @ down.astype(np.float64)) @ up.astype(np.float64)
    assert np.allclose(made, wanted, rtol=1e-4)


def test_two_rows_of_a_batch_do_not_mix():
    session, weight = session_of(2, 8, 8)
    x = np.stack([np.ones((3, 8)), np.zeros((3, 8))]).astype(np.float32)
    (made,) = session.run(None, {"x": x, "A": np.ones((8, 2), np.float16), "B": np.ones((2, 8), np.float16)})
    assert np.allclose(made[1], 0) and np.allclose(made[0], x[0] @ weight + 16, rtol=1e-5)


def test_an_adapter_of_another_width_is_refused():
    session, _weight = session_of(1, 8, 8)
    with pytest.raises(Exception, match="does not fit the projection"):
        session.run(None, {"x": np.ones((1, 1, 8), np.float32), "A": np.ones((8, 2), np.float16), "B": np.ones((3, 8), np.float16)})


def test_what_a_captured_cuda_graph_points_to_stays_and_no_old_adapter_is_served(tmp_path):
    """The CUDA side's own memory, by the real code on a driver that writes down what it is asked."""
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
