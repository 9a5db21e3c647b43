#!/usr/bin/env python3
"""What a Cortex-A57 makes of the inner loops of engine/simd, by GCC's assembly and llvm-mca's model of that CPU.

Run by bench/a57.sh. Nothing is executed: cycles are those of llvm-mca's scheduler with every load in the first cache, the
count to hold against another loop's, not a time. A loop is the one of its function where multiplications are densest.
"""
import argparse
import json
import os
import re
import shlex
import subprocess
import sys

# An A57 issues one 128-bit FMLA a cycle: four products of floats.
FP32_PRODUCTS = 4

# kernel, source, function (demangled), the multiplication and how many products one makes, products a cycle at least.
# That of int8 is 1.5 times the rate of fp32; those of depthwise, which loads 9 vectors for 12 products, and of the functions, what
# they reach less a tenth. Attention in fp32 multiplies with gemm's rows; a LayerNorm's loops wait for memory, not for products.
KERNELS = [
    ("gemm, 8 rows", "gemm", r"panel_rows<8>", r"fmla", 4, 0.9 * FP32_PRODUCTS),
    ("gemm, 4 rows", "gemm", r"panel_rows<4>", r"fmla", 4, 0.9 * FP32_PRODUCTS),
    ("gemm of int8, 3 rows", "i8", r"Dots<false>::run", r"smull2?", 8, 1.5 * FP32_PRODUCTS),
    ("attention of int8", "attention_i8", r"run_item", r"smlal2?", 4, 0.9 * FP32_PRODUCTS),
    ("depthwise 3x3", "conv", r"depthwise_run", r"fmla", 4, 0.66 * FP32_PRODUCTS),
    ("exp of attention's scores", "attention", r"::run\(", r"fmla", 4, 0.3 * FP32_PRODUCTS),
    ("gelu (erf)", "rows", r"unary_run", r"fmla", 4, 0.24 * FP32_PRODUCTS),
]


def functions(assembly):
    """Yields (mangled name, lines) of each function."""
    name, lines = None, []
    for line in assembly.split("\n"):
        label = re.match(r"([A-Za-z_][\w.]*):", line)
        if label:
            name, lines = label.group(1), []
        elif re.match(r"\s*\.size\s", line) and name:
            yield name, lines
            name = None
        if name:
            lines.append(line)


def loops(lines):
    """Bodies of the loops of a function: from a label to a branch back to it, instructions only."""
    at = {}
    for i, line in enumerate(lines):
        label = re.match(r"(\.L\w+):", line)
        if label:
            at[label.group(1)] = i
        branch = re.match(r"\s+(?:b\.?\w*|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+)\s*$", line)
        if branch and branch.group(1) in at:
            yield [l for l in lines[at[branch.group(1)]:i + 1] if re.match(r"\s+[a-z]", l)]


def densest(assembly, names, function, multiply):
    """The body, of all loops of the functions, with the most multiplications for its length; of those with four at least."""
    best, density = None, 0.0
    for name, lines in functions(assembly):
        if not re.search(function, names.get(name, name)):
            continue
        for body in loops(lines):
            n = sum(bool(re.match(r"\s+(?:%s)\s" % multiply, l)) for l in body)
            if n >= 4 and n / len(body) > density:
                best, density = body, n / len(body)
    return best


def cycles(mca, body):
    """Of one trip, in a steady loop of a hundred."""
    trips = 100
    out = subprocess.run([mca, "-mtriple=aarch64", "-mcpu=cortex-a57", "-iterations=%d" % trips, "-json"],
                         input="\n".join(body), capture_output=True, text=True, check=True).stdout
    return json.loads(out)["CodeRegions"][0]["SummaryView"]["TotalCycles"] / trips


def assemble(commands, source):
    """The assembly of engine/simd/<source>.cpp by the command of the build's compile_commands.json."""
    for entry in commands:
        if entry["file"].endswith("/engine/simd/%s.cpp" % source):
            words = shlex.split(entry["command"])
            out = words.index("-o")
            words[out + 1] = "-"
            words[words.index("-c")] = "-S"
            return subprocess.run(words, cwd=entry["directory"], capture_output=True, text=True, check=True).stdout
    sys.exit("a57.py: the build has no engine/simd/%s.cpp" % source)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", required=True, help="a configured cross build with compile_commands.json")
    p.add_argument("--mca", default="llvm-mca")
    p.add_argument("--json", help="also writes the rows there")
    o = p.parse_args()
    with open(o.build + "/compile_commands.json") as f:
        commands = json.load(f)
    rows, text, missed = [], {}, 0
    print("%-28s %6s %6s %7s %10s %8s %6s   %s" % ("loop", "instr", "mult", "cycles", "products", "of fp32", "spills", "limit"))
    for kernel, source, function, multiply, products, limit in KERNELS:
        if source not in text:
            assembly = assemble(commands, source)
            names = sorted(set(re.findall(r"^(_Z[\w.]+):", assembly, re.M)))
            plain = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.split("\n")
            text[source] = assembly, dict(zip(names, plain))
        body = densest(*text[source], function, multiply)
        if body is None:
            sys.exit("a57.py: no loop of '%s' with '%s' in engine/simd/%s.cpp; has the kernel another name?" % (function, multiply, source))
        n = sum(bool(re.match(r"\s+(?:%s)\s" % multiply, l)) for l in body)
        spills = sum(bool(re.search(r"\b(?:ldr|str|ldp|stp)\s+q.*\[sp", l)) for l in body)
        took = cycles(o.mca, body)
        rate = n * products / took
        holds = rate >= limit and spills == 0
        missed += not holds
        rows.append({"loop": kernel, "instructions": len(body), "multiplications": n, "cycles": round(took, 2),
                     "products_per_cycle": round(rate, 2), "spills": spills, "limit": limit, "holds": holds})
        print("%-28s %6d %6d %7.1f %7.2f /c %7.2fx %6d   %s" % (kernel, len(body), n, took, rate, rate / FP32_PRODUCTS, spills,
                                                            "%s %.2f, no spill" % ("PASS" if holds else "MISS", limit)))
    if o.json:
        with open(o.json + ".part", "w") as f:
            json.dump({"cpu": "cortex-a57", "rows": rows}, f, indent=1)
            f.write("\n")
        os.replace(o.json + ".part", o.json)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
