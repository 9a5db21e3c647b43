#!/usr/bin/env python3
"""Runs two builds of `vireo bench` in turns and prints how much faster the second is. Started by revisions.sh."""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def bench(binary, args, config, threads, precision):
    command = [binary, "bench", "--json", "--config", config, "--random-weights", "1", "--device", args.device,
               "--threads", str(threads), "--precision", precision, "--batch", str(args.batch), "--warmup", "3",
               "--iters", str(args.iters)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("revisions: '" + " ".join(command) + "' failed; its message is above")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(prog="bash bench/compare/revisions.sh [OLD [NEW]]", description=__doc__)
    parser.add_argument("--models", default="vit-b,vit-s,vit-ti", help="of models/configs (default all three)")
    parser.add_argument("--threads", default="2,1", help="thread counts (default 2,1)")
    parser.add_argument("--precisions", default="fp32", help="of fp32, fp16, int8, w8a8 (default fp32)")
    parser.add_argument("--device", default="cpu", help="cpu, vulkan, ... (default cpu)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="turns of both (default 9)")
    parser.add_argument("--iters", type=int, default=10, help="inferences per turn (default 10)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--base", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--head", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    results = []
    if not args.json:
        print("| model | threads | precision | base min ms | head min ms | base / head, min | median | range |")
        print("|---|---|---|---|---|---|---|---|")
    for model in args.models.split(","):
        config = os.path.join(ROOT, "models", "configs", model + ".json")
        for threads in args.threads.split(","):
            for precision in args.precisions.split(","):
                rounds = []
                for i in range(args.rounds):
                    r = {}
                    for name in ("base", "head") if i % 2 else ("head", "base"):
                        r[name] = bench(getattr(args, name), args, config, threads, precision)
                    rounds.append(r)
                best = [r["base"]["min_ms"] / r["head"]["min_ms"] for r in rounds]
                middle = [r["base"]["median_ms"] / r["head"]["median_ms"] for r in rounds]
                result = {"model": model, "threads": int(threads), "precision": precision, "rounds": args.rounds,
                          "base_min_ms": min(r["base"]["min_ms"] for r in rounds),
                          "head_min_ms": min(r["head"]["min_ms"] for r in rounds),
                          "speedup_min": statistics.median(best), "speedup_median": statistics.median(middle),
                          "speedup_range": [min(best), max(best)]}
                results.append(result)
                if not args.json:
                    print(f"| {model} | {threads} | {precision} | {result['base_min_ms']:.2f} "
                          f"| {result['head_min_ms']:.2f} | {result['speedup_min']:.3f} | {result['speedup_median']:.3f} "
                          f"| {min(best):.3f} .. {max(best):.3f} |", flush=True)
    if args.json:
        json.dump(results, sys.stdout, indent=1)
        print()
    else:
        print("base / head above 1: the new one is faster (medians of pairs).")


if __name__ == "__main__":
    main()
