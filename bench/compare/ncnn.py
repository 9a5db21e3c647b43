#!/usr/bin/env python3
"""Vireo beside ncnn on Vision Transformers, in turns. ncnn is no package of Debian's: give the folder of a build.

  git clone https://github.com/Tencent/ncnn && cmake -S ncnn -B ncnn/build -DCMAKE_BUILD_TYPE=Release \\
    -DNCNN_RUNTIME_CPU=OFF -DCMAKE_CXX_FLAGS=-march=native && cmake --build ncnn/build --target ncnn
  python3 bench/compare/ncnn.py --ncnn ncnn --ncnn-build ncnn/build

The networks have random weights. In int8 ncnn has the weights of every product in codes and finds the codes of their
rows and of attention's operands while running, so that Vireo's `w8a8` with `attention i8` is what compares with it.
"""
import argparse
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
WIDTHS = {"vit-ti": (192, 3), "vit-s": (384, 6), "vit-b": (768, 12)}  # channels, heads
TOKENS, LAYERS, CLASSES, PATCH = 197, 12, 1000, 16
POLICIES = {"fp32": None, "fp16": None, "w8a8": None, "w8a8+attn8": "* i8 i8\nattention i8\n"}


class Writer:
    """A description in ncnn's text and its weights, in the order in which ncnn reads them."""

    def __init__(self, int8):
        self.int8, self.layers, self.weights, self.outputs = int8, [], [], 0

    def layer(self, kind, inputs, outputs, parameters):
        name = outputs[0] + "_" + kind
        self.layers.append(" ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, parameters]))
        self.outputs += len(outputs)

    def floats(self, count, value=None):
        if value is None:
            block = [random.gauss(0, 0.02) for _ in range(min(count, 4096))]
            data = (block * (count // len(block) + 1))[:count]
        else:
            data = [value] * count
        self.weights.append(struct.pack(f"<{count}f", *data))

    def matrix(self, count):
        """Of floats, or codes where the network is in int8."""
        if not self.int8:
            self.weights.append(bytes(4))
            self.floats(count)
            return
        self.weights.append(struct.pack("<I", 0x000D4B38))  # ncnn's tag of int8
        block = bytes(random.randrange(-127, 128) & 255 for _ in range(4096))
        self.weights.append((block * (count // 4096 + 1))[:count] + bytes(-count % 4))

    def vector_of_matrix(self, count):
        self.weights.append(bytes(4))
        self.floats(count, 0.0)

    def write(self, stem):
        with open(stem + ".param", "w", encoding="ascii") as f:
            f.write(f"7767517\n{len(self.layers)} {self.outputs}\n" + "\n".join(self.layers) + "\n")
        with open(stem + ".bin", "wb") as f:
            f.write(b"".join(self.weights))


def describe(stem, width, heads, int8):
    w = Writer(int8)
    term = " 18=2" if int8 else ""

    def norm(value, to):
        w.layer("LayerNorm", [value], [to], f"0={width} 1=1e-6 2=1")
        w.floats(width, 1.0)
        w.floats(width, 0.0)

    def linear(value, to, n, k):
        w.layer("Gemm", [value], [to], f"3=1 5=1 6=1 8={n} 9={k} 10=4{term}")
        w.matrix(n * k)
        w.vector_of_matrix(n)
        if int8:
            w.floats(1, 6000.0)

    w.layer("Input", [], ["x"], "0=224 1=224 2=3")
    w.layer("MemoryData", [], ["class"], f"0={width} 1=1")
    w.floats(width)
    w.layer("MemoryData", [], ["positions"], f"0={width} 1={TOKENS}")
    w.floats(width * TOKENS)
    w.layer("Convolution", ["x"], ["patches"], f"0={width} 1={PATCH} 3={PATCH} 4=0 5=1 6={width * 3 * PATCH * PATCH}"
            + (" 8=2" if int8 else ""))
    w.matrix(width * 3 * PATCH * PATCH)
    w.floats(width, 0.0)
    if int8:
        w.floats(width, 6000.0)
        w.floats(1, 60.0)
    w.layer("Reshape", ["patches"], ["rows"], f"0=-1 1={width}")
    w.layer("Permute", ["rows"], ["tokens"], "0=1")
    w.layer("Concat", ["class", "tokens"], ["all"], "0=0")
    w.layer("BinaryOp", ["all", "positions"], ["h0"], "0=0")
    for i in range(LAYERS):
        w.layer("Split", [f"h{i}"], [f"h{i}a", f"h{i}b"], "")
        norm(f"h{i}b", f"n{i}")
        w.layer("Split", [f"n{i}"], [f"q{i}", f"k{i}", f"v{i}"], "")
        w.layer("MultiHeadAttention", [f"q{i}", f"k{i}", f"v{i}"], [f"a{i}"], f"0={width} 1={heads} 2={width * width}{term}")
        for _ in range(4):
            w.matrix(width * width)
            w.floats(width, 0.0)
        if int8:
            for count in (width, width, width, 1):
                w.floats(count, 6000.0)
        w.layer("BinaryOp", [f"h{i}a", f"a{i}"], [f"g{i}"], "0=0")
        w.layer("Split", [f"g{i}"], [f"g{i}a", f"g{i}b"], "")
        norm(f"g{i}b", f"m{i}")
        linear(f"m{i}", f"f{i}", 4 * width, width)
        w.layer("GELU", [f"f{i}"], [f"e{i}"], "0=1")
        linear(f"e{i}", f"o{i}", width, 4 * width)
        w.layer("BinaryOp", [f"g{i}a", f"o{i}"], [f"h{i + 1}"], "0=0")
    norm(f"h{LAYERS}", "last")
    w.layer("Crop", ["last"], ["token"], "-23309=1,0 -23310=1,1 -23311=1,0")
    linear("token", "out", CLASSES, width)
    w.write(stem)


class Ncnn:
    def __init__(self, program, stem, threads, bf16):
        self.process = subprocess.Popen([program, stem + ".param", stem + ".bin", str(threads), str(int(bf16))],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run(3)

    def run(self, iterations):
        self.process.stdin.write(f"{iterations}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        time.sleep(0.4)  # its idle threads spin for a while
        if not line:
            sys.exit("ncnn.py: ncnn_bench ended; its message is above")
        return [float(x) for x in line.split()]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def vireo(args, model, threads, precision, iterations):
    command = [args.vireo, "bench", "--json", "--config", os.path.join(ROOT, "models", "configs", model + ".json"),
               "--random-weights", "1", "--device", "cpu", "--threads", str(threads), "--precision", precision, "--warmup", "3",
               "--iters", str(iterations)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit("ncnn.py: '" + " ".join(command) + "' failed; its message is above")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ncnn", required=True, help="ncnn's sources")
    parser.add_argument("--ncnn-build", required=True, help="the folder that ncnn was built in, with src/libncnn.a")
    parser.add_argument("--vireo", default=os.path.join(ROOT, "build", "bin", "vireo"))
    parser.add_argument("--models", default="vit-b,vit-s,vit-ti", help="of " + ", ".join(WIDTHS))
    parser.add_argument("--precisions", default="w8a8,w8a8+attn8",
                        help="of " + ", ".join(POLICIES) + " (beside ncnn in fp32, bfloat16 and twice int8)")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--rounds", type=int, default=5, help="turns of both (default 5)")
    parser.add_argument("--iters", type=int, default=20, help="inferences per turn (default 20)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        program = os.path.join(work, "ncnn_bench")
        subprocess.run(["c++", "-O2", "-fopenmp", "-I", os.path.join(args.ncnn, "src"), "-I",
                        os.path.join(args.ncnn_build, "src"), os.path.join(HERE, "ncnn_bench.cpp"),
                        os.path.join(args.ncnn_build, "src", "libncnn.a"), "-o", program], check=True)
        print("| model | threads | Vireo | ncnn | Vireo min ms | ncnn min ms | ncnn / Vireo, best runs of a turn, median | range |")
        print("|---|---|---|---|---|---|---|---|")
        for model in args.models.split(","):
            for precision in args.precisions.split(","):
                int8, bf16 = precision.startswith("w8a8"), precision == "fp16"
                stem = os.path.join(work, model + str(int8))
                if not os.path.exists(stem + ".bin"):
                    describe(stem, *WIDTHS[model], int8)
                policy = precision
                if POLICIES[precision]:
                    policy = os.path.join(work, precision + ".txt")
                    with open(policy, "w", encoding="ascii") as f:
                        f.write(POLICIES[precision])
                for threads in args.threads.split(","):
                    theirs = Ncnn(program, stem, threads, bf16)
                    turns = []
                    for i in range(args.rounds):
                        there = theirs.run(args.iters) if i % 2 else None
                        here = vireo(args, model, threads, policy, args.iters)
                        there = there or theirs.run(args.iters)
                        turns.append((min(there), here["min_ms"], min(there) / here["min_ms"]))
                    theirs.end()
                    ratios = [t[2] for t in turns]
                    print(f"| {model} | {threads} | {precision} | {'int8' if int8 else 'bf16' if bf16 else 'fp32'} "
                          f"| {min(t[1] for t in turns):.2f} | {min(t[0] for t in turns):.2f} "
                          f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} .. {max(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main()
