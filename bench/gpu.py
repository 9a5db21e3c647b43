#!/usr/bin/env python3
"""What bench/gpu.sh runs on the machine with the GPU. Standard library only.

    python3 bench/gpu.py PACK OUT

Writes OUT/gpu.txt (for people), OUT/gpu.json (for scripts), OUT/profile.json, OUT/profile.html and OUT/tuning.txt. Ends with 1 where
an answer was wrong; a part that ran out of time is reported as such and fails nothing.
"""
import json
import os
import platform
import re
import subprocess
import sys
import time

PACK, OUT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
DEVICE = os.environ.get("VIREO_GPU_DEVICE", "vulkan")
BUDGET = float(os.environ.get("VIREO_GPU_SECONDS", "500"))
STARTED = time.monotonic()
CONFIGS = "models/configs"
MODEL = "models/fashion-vit"
REPORT = {"schema": "vireo-gpu/1", "parts": {}}
LINES = []
FAILED = []


def say(text=""):
    print(text, flush=True)
    LINES.append(text)


def left():
    return BUDGET - (time.monotonic() - STARTED)


def environment(validation=False):
    env = dict(os.environ)
    env["LD_LIBRARY_PATH"] = os.path.join(PACK, "lib") + (":" + env["LD_LIBRARY_PATH"] if env.get("LD_LIBRARY_PATH") else "")
    env["VK_LAYER_PATH"] = os.path.join(PACK, "layers")
    env["VIREO_CACHE_DIR"] = os.path.join(OUT, "..", "gpu-cache")
    if validation:
        env["VIREO_VALIDATION"] = "1"
    return env


def run(command, limit, env=None):
    """(exit code or None when it ran out of time, stdout, stderr, seconds)"""
    begin = time.monotonic()
    limit = max(5, min(limit, left()))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=env or environment(), errors="replace")
        return done.returncode, done.stdout, done.stderr, time.monotonic() - begin
    except subprocess.TimeoutExpired as late:
        text = lambda b: b.decode(errors="replace") if isinstance(b, bytes) else (b or "")
        return None, text(late.stdout), text(late.stderr), time.monotonic() - begin


def vireo(*args, limit=60, validation=False, simd=None):
    env = environment(validation)
    if simd:
        env["VIREO_SIMD"] = simd
    return run([os.path.join(PACK, "bin", "vireo"), *args], limit, env)


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def part(name):
    """Runs the function when time is left; what it raises is that part's failure, and the others go on."""
    def wrap(f):
        if left() < 10:
            say(f"\n== {name}: left out, no time")
            REPORT["parts"][name] = {"left_out": True}
            return f
        say(f"\n== {name}")
        begin = time.monotonic()
        try:
            REPORT["parts"][name] = f() or {}
        except Exception as e:  # a part that breaks must not hide the others
            say(f"broke: {e!r}")
            FAILED.append(name)
            REPORT["parts"][name] = {"error": repr(e)}
        REPORT["parts"][name]["seconds"] = round(time.monotonic() - begin, 1)
        return f
    return wrap


def expect(ok, name, text):
    if not ok:
        FAILED.append(f"{name}: {text}")
        say(f"FAILED  {name}: {text}")


def gtest(name, program, limit, shards=4, **extra):
    """A test program in shards side by side; sums of its cases, and the names of those that failed."""
    limit = max(5, min(limit, left()))
    running = []
    for i in range(shards):
        env = environment()
        env.update(extra, GTEST_TOTAL_SHARDS=str(shards), GTEST_SHARD_INDEX=str(i))
        log = open(os.path.join(OUT, f".{program}.{i}.log"), "w+")
        running.append((subprocess.Popen([os.path.join(PACK, "bin", program)], stdout=log, stderr=subprocess.STDOUT, env=env), log))
    until = time.monotonic() + limit
    result = {"passed": 0, "failed": [], "skipped": 0, "unfinished": 0}
    for process, log in running:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            result["unfinished"] += 1
        log.seek(0)
        text = log.read()
        log.close()
        os.remove(log.name)
        result["passed"] += len(re.findall(r"^\[       OK \] ", text, re.M))
        result["skipped"] += len(set(re.findall(r"^\[  SKIPPED \] (\S+)", text, re.M)))
        failed = sorted(set(re.findall(r"^\[  FAILED  \] (\S+?),? ", text, re.M)) - {""})
        failed = [f for f in failed if "." in f]
        result["failed"] += failed
        if failed or (process.returncode not in (0, -9)):
            at = [m.start() for m in re.finditer(r"Failure$", text, re.M)][:3]
            result.setdefault("texts", []).extend(text[max(0, a - 200):a + 1200] for a in at)
            if not at:
                result["texts"] = result.get("texts", []) + [text[-1500:]]
            expect(False, name, f"{failed or 'exit code %d' % process.returncode}")
            for t in result["texts"][-3:]:
                say("    " + t.replace("\n", "\n    "))
    say(f"{program}: {result['passed']} passed, {len(result['failed'])} failed, {result['skipped']} skipped"
        + (f", {result['unfinished']} of {shards} shards ran out of time" if result["unfinished"] else ""))
    return result


def median_of(config, precision, iters=30):
    code, out, err, _ = vireo("bench", "--config", f"{CONFIGS}/{config}.json", "--random-weights", "1", "--device", DEVICE,
                              "--precision", precision, "--iters", str(iters), "--json", limit=60)
    row = as_json(out)
    return row if code == 0 and row else {"error": err.strip() or out.strip() or "out of time"}


def main():
    os.makedirs(OUT, exist_ok=True)
    REPORT["revision"] = open(os.path.join(PACK, "revision")).read().strip()
    REPORT["host"] = {"machine": platform.machine(), "system": platform.platform(), "cores": os.cpu_count()}
    say(f"vireo {REPORT['revision']} on {REPORT['host']['system']}, {REPORT['host']['cores']} cores")

    @part("devices")
    def _():
        code, out, err, _ = vireo("devices")
        say(out.strip() + err.strip())
        caps = vireo("devices", "--caps", "0")[1]
        return {"text": out, "caps": caps}

    @part("answers")
    def _():
        """The shipped model on its ten pictures, Vulkan beside the CPU, in every precision."""
        rows = {}
        samples = sorted(os.path.join(MODEL, "samples", f) for f in os.listdir(os.path.join(MODEL, "samples")) if f.endswith(".png"))
        def scores(device, precision):
            code, out, err, _ = vireo("classify", "--model", MODEL, "--device", device, "--precision", precision, "--json", "--topk", "10", *samples)
            got = as_json(out)
            if code != 0 or not got:
                raise RuntimeError(err.strip() or "no answer")
            return [{t["index"]: t["score"] for t in r["top"]} for r in got["results"]], got["device"]
        truth, _ = scores("cpu", "fp32")
        for precision, bound in (("fp32", 1e-4), ("fp16", 2e-2), ("int8", 5e-2)):
            got, device = scores(DEVICE, precision)
            worst = max(abs(a[k] - b.get(k, 0)) for a, b in zip(truth, got) for k in a)
            same = sum(max(a, key=a.get) == max(b, key=b.get) for a, b in zip(truth, got))
            rows[precision] = {"largest_difference": worst, "same_top1": same, "of": len(truth), "device": device}
            say(f"{precision}: largest difference of a probability to the CPU's fp32 {worst:.2e}, same class for {same} of {len(truth)} pictures, on {device['name']}")
            expect(worst <= bound and same == len(truth), "answers", f"{precision} differs by {worst:.2e}, {same} of {len(truth)} the same")
        return rows

    @part("validation")
    def _():
        """The same answers with the validation layer on, which must stay silent."""
        rows = {}
        for precision in ("fp32", "fp16", "int8"):
            code, out, err, s = vireo("classify", "--model", MODEL, "--device", DEVICE, "--precision", precision, "--json", f"{MODEL}/samples/03_dress.png", validation=True)
            rows[precision] = {"exit": code, "seconds": round(s, 1), "stderr": err.strip()[:2000]}
            say(f"{precision}: exit code {code} {err.strip()[:300]}")
            expect(code == 0, "validation", f"{precision}: {err.strip()[:300]}")
        return rows

    @part("end to end")
    def _():
        """Every family with its fused paths: all intermediate values on the GPU beside the CPU's."""
        rows = {}
        cases = "tests/golden/cases"
        for name in sorted(os.listdir(cases)):
            folder = os.path.join(cases, name)
            pictures = sorted(f for f in os.listdir(folder) if f.endswith(".png"))
            if not pictures or left() < 60:
                continue
            for precision in ("fp32", "fp16"):
                # Kernels without bfloat16: its eight bits would hide what the GPU's ten do.
                code, out, err, _ = vireo("diff", "--model", folder, "--a", "cpu", "--b", DEVICE, "--precision", precision, os.path.join(folder, pictures[0]), limit=30, simd="avx2")
                rows[f"{name} {precision}"] = {"exit": code, "text": (out + err).strip()[-400:]}
                if code != 0:
                    say(f"{name} {precision}: exit code {code}: {(out + err).strip()[-300:]}")
                    expect(False, "end to end", f"{name} {precision}")
        say(f"{sum(r['exit'] == 0 for r in rows.values())} of {len(rows)} models and precisions agree with the CPU in every value")
        return rows

    @part("bench")
    def _():
        rows = {}
        for config in ("vit-ti", "vit-s", "vit-b", "upernet-mobilevit-s"):
            for precision in ("fp32", "fp16", "int8"):
                row = median_of(config, precision)
                rows[f"{config} {precision}"] = row
                say(f"{config:22} {precision}: " + (f"median {row['median_ms']:.2f} ms, min {row['min_ms']:.2f}, load {row['load_ms']:.0f}, first {row['first_ms']:.1f}, rss {row['peak_rss_mib']:.0f} MiB"
                    if "median_ms" in row else row["error"]))
                expect("median_ms" in row, "bench", f"{config} {precision}: {row.get('error')}")
        return rows

    @part("tune")
    def _():
        path = os.path.join(OUT, "tuning.txt")
        code, out, err, _ = vireo("tune", "--config", f"{CONFIGS}/vit-s.json", "--random-weights", "1", "--device", DEVICE, "--budget", "25", "--out", path, "--json", limit=60)
        row = as_json(out) or {}
        say(f"vit-s: exit code {code}, {row.get('default_ms')} -> {row.get('ms')} ms {err.strip()[-200:]}")
        expect(code == 0, "tune", err.strip()[-300:])
        row.pop("steps", None)
        return row

    @part("profile")
    def _():
        path = os.path.join(OUT, "profile.json")
        code, out, err, _ = vireo("profile", "--config", f"{CONFIGS}/vit-b.json", "--random-weights", "1", "--device", DEVICE, "--json", path,
                                  "--html", os.path.join(OUT, "profile.html"), limit=60)
        say(out.strip()[:6000])
        if err.strip():
            say(err.strip()[:500])
        expect(code == 0, "profile", err.strip()[-300:])
        made = as_json(open(path).read()) if os.path.exists(path) else None
        if not made:
            return {}
        compiled = [d["compiler"] for d in made["dispatches"] if d.get("compiler")]
        say(f"pipeline statistics: {len(compiled)} of {len(made['dispatches'])} dispatches" + ("" if compiled else f" ({made.get('no_compiler')})"))
        return {"wall_us": made["wall_us"], "roofs": made["roofs"], "compiler": compiled[:8], "no_compiler": made.get("no_compiler")}

    @part("phases")
    def _():
        code, out, err, _ = vireo("profile", "--phases", "--model", MODEL, "--device", DEVICE, limit=40)
        say("\n".join(l for l in out.splitlines() if l.startswith("phases")) or err.strip()[:400] or out.strip()[-400:])
        return {"exit": code}

    @part("fused rules")
    def _():
        return gtest("fused rules", "fuse_equivalence", 40, 2)

    @part("conformance")
    def _():
        return gtest("conformance", "ops_conformance", left() - 5, min(8, max(2, os.cpu_count() // 2)), VIREO_TEST_TARGETS="vulkan", GTEST_FILTER="-Targets.*")

    REPORT["failed"] = FAILED
    REPORT["seconds"] = round(time.monotonic() - STARTED, 1)
    say(f"\n{'all held' if not FAILED else '%d failures' % len(FAILED)}, {REPORT['seconds']} s")
    for f in FAILED:
        say(f"  {f}")
    with open(os.path.join(OUT, "gpu.json"), "w") as f:
        json.dump(REPORT, f, indent=1)
    with open(os.path.join(OUT, "gpu.txt"), "w") as f:
        f.write("\n".join(LINES) + "\n")
    return 1 if FAILED else 0


sys.exit(main())
