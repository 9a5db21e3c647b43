#!/usr/bin/env python3
"""Runs ONNX Runtime and Vireo in turns on the same random-weight models and prints medians and ratios.

Started by run.sh, which makes what is needed. Each model and thread count has both runtimes in processes of their own
that stay alive; a round lets each run for a moment while the other sleeps, and probes the FMA peak. A ratio is taken
within a round and the median over the rounds is printed, so that a busy neighbour hits both sides alike.
"""
import argparse
import array
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = {"b": ("ViT-B/16", "vit-b"), "s": ("DeiT-S/16", "vit-s"), "ti": ("DeiT-Ti/16", "vit-ti"),
          "upernet": ("UPerNet+MobileViT-S 512", "upernet-mobilevit-s"), "mobilevit": ("MobileViT-S 256", "mobilevit-s"),
          "swin": ("Swin-T 224", "swin_t")}
ORACLES = ("upernet", "mobilevit", "swin")  # stated in tests/oracle


class Server:
    """A runtime behind a pipe: see compare_server.cpp for the commands."""

    def __init__(self, command, env=None):
        self.command = command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"compare: {self.command[0]} ended; its message is above")
        return answer.strip()

    def numbers(self, line):
        return [float(x) for x in self.ask(line).split()]

    def floats(self, path):
        self.ask("output " + path)
        values = array.array("f")
        with open(path, "rb") as f:
            values.frombytes(f.read())
        return values

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def flops(config, batch):
    """Multiply-adds x 2 of an inference, attention included."""
    d, m = config["hidden_size"], config["intermediate_size"]
    patches = (config["image_size"] // config["patch_size"]) ** 2
    n = patches + 1
    block = n * (4 * d * d + 2 * d * m) + 2 * n * n * d
    patch = patches * d * config["num_channels"] * config["patch_size"] ** 2
    return 2.0 * batch * (config["num_hidden_layers"] * block + patch + d * (len(config["id2label"]) if "id2label" in config else config["num_labels"]))


def export(args, key):
    folder = os.path.join(args.work, "models", MODELS[key][1])
    if not os.path.exists(os.path.join(folder, f"model.b{args.batch}.onnx")):
        name = MODELS[key][1]
        config = os.path.join(HERE, "..", "..", "models", "configs", name + ".json")
        script, what = ("export_oracle.py", name) if key in ORACLES else ("export.py", config)
        subprocess.run([sys.executable, os.path.join(HERE, script), what, folder, "--batch", str(args.batch)],
                       check=True, stdout=sys.stderr)
    return folder


def their_model(args, folder, precision):
    """The ONNX file that is as narrow as Vireo's precision: int8 products where ours are, else fp32."""
    full = os.path.join(folder, f"model.b{args.batch}.onnx")
    if args.ort == "fp32" or precision not in ("int8", "w8a8"):
        return full, "fp32"
    narrow = full.replace(".onnx", ".int8.onnx")
    if not os.path.exists(narrow):
        subprocess.run([sys.executable, os.path.join(HERE, "dynamic_int8.py"), full, narrow], check=True, stdout=sys.stderr)
    return narrow, "dynamic int8"


def compare(args, key, threads, precision):
    folder = export(args, key)
    onnx, their_precision = their_model(args, folder, precision)
    if key in ORACLES:  # by the plan's own count
        plan = subprocess.run([args.vireo, "plan", "--model", folder, "--device", "cpu", "--json"], stdout=subprocess.PIPE, check=True)
        work = args.batch * sum(s["flops"] for s in json.loads(plan.stdout)["steps"])
    else:
        with open(os.path.join(folder, "config.json")) as f:
            work = flops(json.load(f), args.batch)
    pixels = os.path.join(folder, "input.f32")
    ours = Server([args.server, folder, pixels, str(threads), precision, str(args.batch)])
    theirs = Server(["node", os.path.join(HERE, "ort_server.js"), args.modules,
                     onnx, pixels, str(threads), str(args.batch)])
    names = {"vireo": ours, "ort": theirs}
    for s in names.values():
        s.ask("run 2")
    got, want = ours.floats(os.path.join(args.work, "ours.f32")), theirs.floats(os.path.join(args.work, "theirs.f32"))
    if key == "upernet":  # ours are [pixels, classes], ONNX's [classes, pixels]
        classes = len(json.load(open(os.path.join(folder, "config.json")))["id2label"])
        pixels_of = len(want) // classes
        want = [want[c * pixels_of + p] for p in range(pixels_of) for c in range(classes)]
    error = max(abs(a - b) for a, b in zip(got, want))
    size = max(abs(b) for b in want)
    # fp32 differs by rounding only (the goal is the same function); the narrow precisions are reported, not judged.
    if len(got) != len(want) or not error <= size * (1e-4 if precision == "fp32" else 1):
        sys.exit(f"compare: outputs of {MODELS[key][0]} differ: {error} of {size} over {len(got)}/{len(want)} values")

    once = {name: min(s.numbers("run 2")) for name, s in names.items()}
    runs = {name: max(2, min(50, int(args.burst / ms))) for name, ms in once.items()}
    rounds = []
    for i in range(args.rounds):
        r = {}
        for name in ("vireo", "ort") if i % 2 else ("ort", "vireo"):
            time.sleep(args.pause)  # idle threads of the other runtime spin for a while
            r[name] = names[name].numbers(f"{'cpu' if args.cpu_time else 'run'} {runs[name]}")
        time.sleep(args.pause)
        r["peak"] = ours.numbers("peak 5")
        rounds.append(r)
    rss = {name: float(s.ask("rss")) for name, s in names.items()}
    versions = {name: s.ask("plan") for name, s in names.items()}
    for s in names.values():
        s.close()

    every = {name: [t for r in rounds for t in r[name]] for name in ("vireo", "ort")}
    peak = max(p for r in rounds for p in r["peak"])
    over = statistics.median
    result = {
        "model": MODELS[key][0], "threads": threads, "precision": precision, "ort_precision": their_precision, "batch": args.batch,
        "rounds": args.rounds, "cpu_time": args.cpu_time, "max_abs_error": error, "max_abs_logit": size, "peak_gflops": peak,
        "gflop": work * 1e-9, "versions": versions, "rss_mib": rss,
        "ratio_median": over([over(r["ort"]) / over(r["vireo"]) for r in rounds]),
        "ratio_best_in_round": over([min(r["ort"]) / min(r["vireo"]) for r in rounds]),
        "ratio_min": min(every["ort"]) / min(every["vireo"]),
    }
    for name, times in every.items():
        result[name] = {
            "median_ms": over(times), "min_ms": min(times),
            "round_ms": [round(over(r[name]), 3) for r in rounds],
            # The share within a round: the best inference beside the best probe of the same few moments.
            "peak_share": over([work * 1e-6 / min(r[name]) / max(r["peak"]) for r in rounds]),
            "peak_share_best": work * 1e-6 / min(times) / peak,
        }
    return result


def main():
    parser = argparse.ArgumentParser(prog="bash bench/compare/run.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="b,s,ti", help="of b, s, ti, upernet, mobilevit, swin (default b,s,ti)")
    parser.add_argument("--threads", default="2,1", help="thread counts (default 2,1)")
    parser.add_argument("--precisions", default="fp32", help="of fp32, fp16, int8, w8a8 (default fp32)")
    parser.add_argument("--ort", default="like", choices=("like", "fp32"),
                        help="ORT beside int8 and w8a8: dynamic int8 as well, or fp32 (default like)")
    parser.add_argument("--batch", type=int, default=1, help="images per inference (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of both runtimes (default 9)")
    parser.add_argument("--burst", type=float, default=400, help="ms of inference per turn (default 400)")
    parser.add_argument("--pause", type=float, default=0.15, help="seconds of quiet before a turn (default 0.15)")
    parser.add_argument("--cpu-time", action="store_true",
                        help="processor time instead of wall time, for --threads 1 on a busy machine")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--work", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--modules", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--server", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--vireo", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [m for m in args.models.split(",") if m not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]}; there are {', '.join(MODELS)}")

    if args.cpu_time and args.threads != "1":
        parser.error("--cpu-time needs --threads 1: the waiting of several threads would count as work")

    results = []
    row = "| {:23} | {:>7} | {:9} | {:>9} | {:>7} | {:>9} | {:>7} | {:>9} | {:>12} | {:>12} | {:>10} | {:>8} | {:>12} |"
    head = ("model", "threads", "precision", "vireo med", "min", "ORT med", "min", "ORT/vireo", "vireo % peak",
            "ORT % peak", "peak GF/s", "max err", "ORT runs")
    if not args.json:
        print(row.format(*head))
        print("|" + "---|" * len(head))
    for key in args.models.split(","):
        for threads in args.threads.split(","):
            for precision in args.precisions.split(","):
                r = compare(args, key, int(threads), precision)
                results.append(r)
                if args.json:
                    continue
                v, o = r["vireo"], r["ort"]
                print(row.format(
                    r["model"], r["threads"], precision, f"{v['median_ms']:.2f}", f"{v['min_ms']:.2f}",
                    f"{o['median_ms']:.2f}", f"{o['min_ms']:.2f}", f"{r['ratio_best_in_round']:.3f}",
                    f"{100 * v['peak_share']:.1f} / {100 * v['peak_share_best']:.1f}",
                    f"{100 * o['peak_share']:.1f} / {100 * o['peak_share_best']:.1f}", f"{r['peak_gflops']:.0f}",
                    f"{r['max_abs_error']:.1e}", r["ort_precision"]), flush=True)
    if args.json:
        json.dump(results, sys.stdout, indent=1)
        print()
    else:
        print("ms; ORT/vireo: above 1 Vireo is faster (median over rounds of the best of each round);")
        print("% peak: of this machine's fp32 FMA peak, median over rounds / best of all.")


if __name__ == "__main__":
    main()
