#!/usr/bin/env python3
"""Writes an fp32 ONNX model again with dynamically quantised products, the strongest int8 that ONNX Runtime has for a ViT.

Usage: dynamic_int8.py IN.onnx OUT.onnx
Every MatMul or Gemm with a constant matrix becomes DynamicQuantizeLinear (activations uint8, one scale a tensor) +
MatMulInteger (weights int8 per output channel, symmetric) + Cast + Mul + Add, in the shape that ORT fuses into its
DynamicQuantizeMatMul. Attention's own products, norms and the patch embedding's convolution stay fp32, as ORT's own
quantiser leaves them. Needs onnx and numpy.
"""
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper


def quantised(weight):
    """[k, n] floats -> int8 codes and one scale per column."""
    scale = np.abs(weight).max(axis=0) / 127
    scale[scale == 0] = 1
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


def rewrite(model):
    graph = model.graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "Transpose" and node.input[0] in constants:
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            constants[node.output[0]] = np.transpose(constants[node.input[0]], perm)
    nodes, added, done = [], [], 0
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is None or weight.ndim != 2:
            nodes.append(node)
            continue
        attributes = {a.name: a for a in node.attribute}
        if "transB" in attributes and attributes["transB"].i:
            weight = weight.T
        codes, scale = quantised(np.ascontiguousarray(weight))
        at = f"int8_{done}_"
        done += 1
        added += [numpy_helper.from_array(codes, at + "w"), numpy_helper.from_array(scale, at + "s"),
                  numpy_helper.from_array(np.zeros(codes.shape[1], np.int8), at + "z")]
        biased = len(node.input) > 2
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [node.input[0]], [at + "x", at + "xs", at + "xz"]),
            helper.make_node("MatMulInteger", [at + "x", at + "w", at + "xz", at + "z"], [at + "i"]),
            helper.make_node("Cast", [at + "i"], [at + "f"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [at + "xs", at + "s"], [at + "ss"]),
            helper.make_node("Mul", [at + "f", at + "ss"], [at + "y"] if biased else [node.output[0]]),
        ]
        if biased:
            nodes.append(helper.make_node("Add", [at + "y", node.input[2]], [node.output[0]]))
    if not done:
        sys.exit("dynamic_int8: the model has no product with a constant matrix")
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(added)
    used = {i for n in graph.node for i in n.input}
    for c in [c for c in graph.initializer if c.name not in used]:
        graph.initializer.remove(c)
    print(f"{done} products", file=sys.stderr)


def main():
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    model = onnx.load(sys.argv[1])
    rewrite(model)
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[2])


if __name__ == "__main__":
    main()
