"""Precision in the graph. Oracles: numbers known by construction, the float32 graph, and its type declarations."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.errors import PrecisionError
from export.float16 import SMALL, half_arithmetic, half_storage, largest_numbers, overflowing_nodes
from export.intermediates import run_with_outputs

ROWS = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)


def model(nodes: list[onnx.NodeProto], **weights: np.ndarray) -> onnx.ModelProto:
    """A graph x (N,8) -> y."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def scaled(factor: float) -> onnx.ModelProto:
    """Multiply, divide again, normalise: harmless in float32, whatever the factor."""
    return model(
        [
            helper.make_node("Mul", ["x", "factor"], ["large"], name="multiply"),
            helper.make_node("Div", ["large", "factor"], ["again"], name="divide"),
            helper.make_node("LayerNormalization", ["again", "ones"], ["y"], name="norm", axis=-1),
        ],
        factor=np.array(factor),
        ones=np.ones(8),
    )


def within(plain: onnx.ModelProto, tolerance: float) -> Callable[[onnx.ModelProto], str]:
    expected = run_with_outputs(plain, {"x": ROWS}, ["y"])["y"]

    def accept(candidate: onnx.ModelProto) -> str:
        given = run_with_outputs(candidate, {"x": ROWS}, ["y"])["y"]
        error = np.abs(given - expected).max()
        return "" if error <= tolerance else f"off by {error:.1e}"

    return accept


def types_of(converted: onnx.ModelProto) -> dict[str, int]:
    """Element type of every named node's output."""
    graph = onnx.shape_inference.infer_shapes(converted, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    return {node.name: kinds[node.output[0]] for node in graph.node}


def test_the_size_of_numbers_is_measured() -> None:
    largest = largest_numbers(scaled(1000), [{"x": ROWS}, {"x": 2 * ROWS}])
    assert largest["large"] == pytest.approx(2000 * np.abs(ROWS).max())
    assert largest["again"] == pytest.approx(2 * np.abs(ROWS).max())
    assert largest["factor"] == 1000


def test_an_overflow_is_found_where_it_happens() -> None:
    assert overflowing_nodes(scaled(100), [{"x": ROWS}]) == {}
    found = overflowing_nodes(scaled(1e6), [{"x": ROWS}])
    assert list(found) == ["multiply", "divide"]
    assert found["multiply"] == pytest.approx(1e6 * np.abs(ROWS).max())


def test_squares_overflow_before_the_numbers_do() -> None:
    """LayerNorm of numbers around 500 squares them: 250,000 is beyond float16's 65,504."""
    found = overflowing_nodes(scaled(1), [{"x": 500 * ROWS}])
    assert list(found) == ["norm"]


def test_what_overflows_is_kept_in_float32_and_nothing_else() -> None:
    plain = scaled(1e6)
    converted, kept = half_arithmetic(plain, [{"x": ROWS}], within(plain, 2e-2))
    types = types_of(converted)
    assert kept == ("Div x 1", "Mul x 1")
    assert types["multiply"] == TensorProto.FLOAT
    assert types["norm"] == TensorProto.FLOAT16
    assert {v.type.tensor_type.elem_type for v in (*converted.graph.input, *converted.graph.output)} == {1}


def test_islands_grow_until_parity_is_reached() -> None:
    """Oracle: a judge that wants LayerNormalization in float32, as a GPU would that squares in halves."""
    plain, seen = scaled(2), []

    def accept(candidate: onnx.ModelProto) -> str:
        kept = types_of(candidate)["norm"] == TensorProto.FLOAT
        seen.append(kept)
        return "" if kept else "the norm is too coarse"

    _, kept = half_arithmetic(plain, [{"x": ROWS}], accept)
    assert kept == ("LayerNormalization x 1",)
    assert seen == [False, True]  # a set of operators that was tried already is not tried again


def test_a_graph_that_no_island_saves_is_refused() -> None:
    with pytest.raises(PrecisionError, match=r"in float16 the graph differs too much.*never right.*multiply reaches"):
        half_arithmetic(scaled(1e6), [{"x": ROWS}], lambda candidate: "never right")


def test_a_weight_beyond_float16_cannot_be_stored_in_it() -> None:
    product = helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")
    with pytest.raises(PrecisionError, match=r"the weight weight has numbers up to 1e\+05, float16 ends at 65504"):
        half_storage(model([product], weight=np.full((8, SMALL // 8), 1e5)))
    stored = half_storage(model([product], weight=np.full((8, SMALL // 8), 3.0)))
    assert [weight.data_type for weight in stored.graph.initializer] == [TensorProto.FLOAT16]
    np.testing.assert_allclose(run_with_outputs(stored, {"x": ROWS}, ["y"])["y"][:, 0], 3 * ROWS.sum(1), rtol=1e-5)


def test_small_weights_are_stored_whole() -> None:
    product = helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")
    plain = model([product], weight=np.full((8, SMALL // 8 - 1), 1e5))
    assert half_storage(plain).graph == plain.graph


def test_a_weight_of_both_worlds_is_given_to_each() -> None:
    """One factor is used beyond float16's range and within it."""
    plain = model(
        [
            helper.make_node("Mul", ["x", "factor"], ["large"], name="multiply"),
            helper.make_node("Div", ["large", "factor"], ["again"], name="divide"),
            helper.make_node("Add", ["again", "factor"], ["y"], name="add"),
        ],
        factor=np.array(3e4),
    )
    converted, kept = half_arithmetic(plain, [{"x": ROWS}], within(plain, 32))
    assert kept == ("Div x 1", "Mul x 1")
    assert types_of(converted)["add"] == TensorProto.FLOAT16


def test_the_beginning_of_a_graph_may_be_kept() -> None:
    """Oracle: a judge that wants the first operator in float32."""
    nodes = [helper.make_node("Tanh", [f"t{i}" if i else "x"], [f"t{i + 1}"], name=f"n{i}") for i in range(19)]
    plain = model([*nodes, helper.make_node("Tanh", ["t19"], ["y"], name="last")])
    accept = lambda candidate: "" if types_of(candidate)["n0"] == TensorProto.FLOAT else "coarse"  # noqa: E731
    _, kept = half_arithmetic(plain, [{"x": ROWS}], accept)
    assert kept == ("Tanh x 2",)


def test_an_output_of_a_node_that_is_kept_stays_float32() -> None:
    """Oracle: the float32 graph."""
    plain = model(
        [
            helper.make_node("Add", ["x", "x"], ["double"], name="add"),
            helper.make_node("Sigmoid", ["double"], ["y"], name="last"),
        ]
    )
    accept = lambda candidate: "" if types_of(candidate)["last"] == TensorProto.FLOAT else "coarse"  # noqa: E731
    converted, kept = half_arithmetic(plain, [{"x": ROWS}], accept)
    assert "Sigmoid x 1" in kept
    onnx.checker.check_model(converted, full_check=True)
    given, expected = (run_with_outputs(graph, {"x": ROWS}, ["y"])["y"] for graph in (converted, plain))
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=2e-3)
