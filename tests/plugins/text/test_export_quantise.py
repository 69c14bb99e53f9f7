"""The int8 graph: how products are quantised, and how near they stay."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb_text.export.quantise import Activations, choose_input, quantise, quantise_columns

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def model(tmp_path, nodes, constants, *, name="x.onnx"):
    """A graph from `numbers` (texts, tokens) to `out`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("numbers", onnx.TensorProto.INT64, ["texts", "tokens"])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / name)
    return tmp_path / name


def run(path, numbers):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"numbers": numbers})[0]


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture
def feed_forward(tmp_path):
    """Rows of a table, one column of which is a hundred times as large; two layers with GELU, as torch writes it."""
    random = np.random.default_rng(0)
    table = random.standard_normal((4000, 32)).astype(np.float32)
    table[:, 5] *= 100
    constants = {
        "table": table,
        "w1": random.standard_normal((32, 64)).astype(np.float32) / 8,
        "b1": random.standard_normal(64).astype(np.float32),
        "w2": random.standard_normal((64, 16)).astype(np.float32),
        "root": np.array(np.sqrt(2), np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "numbers"], ["x"]),
        helper.make_node("MatMul", ["x", "w1"], ["p1"]),
        helper.make_node("Add", ["b1", "p1"], ["s1"]),
        helper.make_node("Div", ["s1", "root"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["e1"]),
        helper.make_node("Mul", ["s1", "e1"], ["m"]),
        helper.make_node("Mul", ["m", "half"], ["g"]),
        helper.make_node("MatMul", ["g", "w2"], ["out"]),
    ]
    return model(tmp_path, nodes, constants)


def examples(count=20):
    random = np.random.default_rng(1)
    return [{"numbers": random.integers(0, 4000, (1, 12))} for _ in range(count)]


def test_products_and_tables_become_integers(feed_forward, tmp_path):
    quantise(feed_forward, tmp_path / "int8.onnx", examples())
    found = kinds(tmp_path / "int8.onnx")
    assert found.count("MatMulIntegerToFloat") == 2
    assert {"MatMul", "Erf", "Add", "Div"}.isdisjoint(found)  # biases and GELU are part of other operators
    assert found.count("FastGelu") == 1
    assert (tmp_path / "int8.onnx").stat().st_size < feed_forward.stat().st_size / 3


def test_they_stay_near(feed_forward, tmp_path):
    quantise(feed_forward, tmp_path / "int8.onnx", examples())
    numbers = np.random.default_rng(2).integers(0, 4000, (30, 9))
    exact, found = run(feed_forward, numbers), run(tmp_path / "int8.onnx", numbers)
    error = np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert np.median(error) < 0.05


def test_weights_have_seven_bits_so_that_no_machine_overflows():
    weights = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    integers, scales = quantise_columns(weights)
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max(axis=0).tolist() == [63] * 7
    # The worst that a pair of products comes to, in the 16 bits that it is added in.
    assert 2 * 255 * int(np.abs(integers.astype(int)).max()) < 2**15
    np.testing.assert_allclose(integers * scales, weights, atol=float(scales.max()) / 2 + 1e-6)


def test_a_column_of_zeros():
    integers, scales = quantise_columns(np.zeros((4, 2), np.float32))
    assert not integers.any()
    assert scales.tolist() == [1, 1]


def test_outliers_in_a_column_are_smoothed_away_and_ordinary_inputs_left_alone():
    random = np.random.default_rng(0)
    weights = random.standard_normal((32, 16)).astype(np.float32)

    def seen(rows):
        return Activations(rows.min(axis=0), rows.max(axis=0), rows)

    plain = random.uniform(-1, 1, (200, 32)).astype(np.float32)
    assert choose_input(seen(plain), weights).divisors is None
    plain[:, 3] *= 200
    divisors = choose_input(seen(plain), weights).divisors
    assert divisors is not None
    assert int(np.argmax(divisors)) == 3


def test_what_is_no_product_with_constants_stays(tmp_path):
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "numbers"], ["x"]),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "t"], ["out"]),
    ]
    path = model(tmp_path, nodes, {"table": random.standard_normal((10, 4)).astype(np.float32)})
    quantise(path, tmp_path / "int8.onnx", [{"numbers": np.array([[1, 2, 3]])}])
    assert kinds(tmp_path / "int8.onnx") == ["Gather", "Transpose", "MatMul"]
    np.testing.assert_allclose(run(tmp_path / "int8.onnx", np.array([[1, 2]])), run(path, np.array([[1, 2]])))
