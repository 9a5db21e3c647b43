#!/usr/bin/env python3
"""What bench/gpu.sh runs on the machine with the GPU. Standard library only.

    python3 bench/gpu.py PACK OUT

Writes OUT/gpu.txt (for people), OUT/gpu.json (for scripts), OUT/profile.json, OUT/profile.html and OUT/tuning.txt, no more. Ends with 1
where an answer was wrong or a part broke; a part that ran out of time is reported as such and fails nothing.
"""
import concurrent.futures
import glob
import json
import os
import platform
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGS = os.path.join(ROOT, "models/configs")
CASES = os.path.join(ROOT, "tests/golden/cases")
MODEL = os.path.join(ROOT, "models/fashion-vit")

# Where NVIDIA's installers and container tools leave what a Vulkan loader reads, and the libraries that it names.
ICD_FOLDERS = ("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/local/etc/vulkan/icd.d",
               "/usr/local/nvidia/share/vulkan/icd.d", "/run/opengl-driver/share/vulkan/icd.d", "/usr/local/nvidia/vulkan/icd.d")
LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",
                   "/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/local/lib/x86_64-linux-gnu", "/run/opengl-driver/lib")
# The second is the same driver without X's libraries, which a server may lack; the third names itself in some packages.
ICD_LIBRARIES = ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0", "libnvidia-vulkan-producer.so")
NO_DRIVER = ("no NVIDIA driver for Vulkan here: no nvidia_icd*.json in {folders}, and none of {libraries} beside them; in a container the "
             "driver's graphics part must be let in (NVIDIA_DRIVER_CAPABILITIES=all). What follows is of another device")

# What was fused, by a step's label in a profile: every one must be in the shipped model, and give the unfused answer.
FUSED = (("LayerNorm + product", r"^LN \+ "), ("product + activation", r" \+ (GELU|SiLU|ReLU)"), ("product + residual", r" \+ residual$"),
         ("attention in one dispatch", None))

# Largest difference of an answer in fp16, as a part of the largest score: three times what the roundings of lavapipe and the CPU make together.
FP16_ANSWER = 0.1


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def gtest_counts(text):
    """Passed, skipped and failed tests in what a GoogleTest program printed, and up to three texts of failures."""
    skipped = {f for f in re.findall(r"^\[  SKIPPED \] ([\w./]+)", text, re.M) if "." in f}
    failed = sorted({f for f in re.findall(r"^\[  FAILED  \] ([\w./]+)", text, re.M) if "." in f})
    at = [m.start() for m in re.finditer(r"Failure$", text, re.M)][:3]
    return {"passed": len(re.findall(r"^\[       OK \] ", text, re.M)), "skipped": len(skipped), "failed": failed,
            "texts": [text[max(0, a - 200):a + 1200] for a in at]}


def fused_counts(dispatches):
    """How often each kind of fusion stands in the rows of a profile."""
    return {name: sum(bool(re.search(how, d["label"])) if how else d["op"] == "attention" for d in dispatches) for name, how in FUSED}


def icd_candidates(folders, libraries, made_in):
    """(file, what it is) for the loader, best first: descriptions that are installed, then ones made here for a driver without any."""
    found = []
    for folder in folders:
        found += [(path, "installed") for path in sorted(glob.glob(os.path.join(folder, "nvidia_icd*.json")))]
    for name in ICD_LIBRARIES:
        at = next((os.path.join(f, name) for f in libraries if os.path.exists(os.path.join(f, name))), None)
        if not at:
            continue
        os.makedirs(made_in, exist_ok=True)
        path = os.path.join(made_in, name.split(".")[0] + ".json")
        with open(path, "w") as f:
            json.dump({"file_format_version": "1.0.0", "ICD": {"library_path": at, "api_version": "1.3.0"}}, f)
        found.append((path, f"made for {at}"))
    return found


class OutOfTime(Exception):
    """A program had to be ended: no failure."""


class Run:
    """One report in the making: what to run, how much time is left, what was said."""

    def __init__(self, pack, out, device="vulkan", budget=500.0, clock=time.monotonic):
        self.pack, self.out, self.device, self.budget, self.clock = os.path.abspath(pack), os.path.abspath(out), device, budget, clock
        self.started = clock()
        self.report = {"schema": "vireo-gpu/1", "parts": {}}
        self.lines, self.failed, self.extra = [], [], {}
        self.scratch = os.path.join(self.pack, "scratch")

    def say(self, text=""):
        print(text, flush=True)
        self.lines.append(text)

    def left(self):
        return self.budget - (self.clock() - self.started)

    def expect(self, ok, name, text):
        if not ok:
            self.failed.append(f"{name}: {text}")
            self.say(f"FAILED  {name}: {text}")

    def environment(self, **extra):
        env = dict(os.environ)
        env["LD_LIBRARY_PATH"] = os.path.join(self.pack, "lib") + (":" + env["LD_LIBRARY_PATH"] if env.get("LD_LIBRARY_PATH") else "")
        env["VK_LAYER_PATH"] = os.path.join(self.pack, "layers")
        env["VIREO_CACHE_DIR"] = os.path.join(self.pack, "cache")
        env.update(self.extra)
        if self.extra.get("LD_LIBRARY_PATH"):
            env["LD_LIBRARY_PATH"] = self.extra["LD_LIBRARY_PATH"]
        env.update(extra)
        return env

    def run(self, command, limit, env=None):
        """(exit code or None when it ran out of time, stdout, stderr, seconds)"""
        begin = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(0.5, min(limit, self.left())), env=env or self.environment(), errors="replace")
            return done.returncode, done.stdout, done.stderr, time.monotonic() - begin
        except subprocess.TimeoutExpired as late:
            text = lambda b: b.decode(errors="replace") if isinstance(b, bytes) else (b or "")
            return None, text(late.stdout), text(late.stderr), time.monotonic() - begin

    def vireo(self, *args, limit=60, **env):
        """The tool's (exit code or None, stdout, stderr, seconds)."""
        return self.run([os.path.join(self.pack, "bin", "vireo"), *args], limit, self.environment(**env))

    def part(self, name, f, limit=None):
        """Runs f(seconds it may take) when time is left; what it raises is that part's failure, and the others go on."""
        if self.left() < 10:
            self.say(f"\n== {name}: left out, no time")
            self.report["parts"][name] = {"left_out": True}
            return
        self.say(f"\n== {name}")
        begin = self.clock()
        try:
            result = f(min(limit or self.left(), self.left() - 5)) or {}
        except OutOfTime:
            self.say("out of time")
            result = {"out_of_time": True}
        except Exception as e:  # a part that breaks must not hide the others
            self.say(f"broke: {e!r}")
            self.failed.append(f"{name}: broke: {e!r}")
            result = {"error": repr(e)}
        result["seconds"] = round(self.clock() - begin, 1)
        self.report["parts"][name] = result

    def gtest(self, name, program, limit, shards, **env):
        """A test program in shards side by side; sums of its cases, and the names of those that failed."""
        os.makedirs(self.scratch, exist_ok=True)
        running = []
        for i in range(shards):
            log = open(os.path.join(self.scratch, f"{program}.{i}.log"), "w+", errors="replace")
            running.append((subprocess.Popen([os.path.join(self.pack, "bin", program)], stdout=log, stderr=subprocess.STDOUT,
                                             env=self.environment(GTEST_TOTAL_SHARDS=str(shards), GTEST_SHARD_INDEX=str(i), **env)), log))
        until = time.monotonic() + limit
        result = {"passed": 0, "failed": [], "skipped": 0, "unfinished": 0}
        for process, log in running:
            late = False
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                late = True
            result["unfinished"] += late
            log.seek(0)
            text = log.read()
            log.close()
            counts = gtest_counts(text)
            result["passed"] += counts["passed"]
            result["skipped"] += counts["skipped"]
            result["failed"] += counts["failed"]
            if counts["failed"] or (process.returncode and not late):
                texts = counts["texts"] or [text[-1500:]]
                result.setdefault("texts", []).extend(texts)
                self.expect(False, name, ", ".join(counts["failed"][:8]) or f"exit code {process.returncode}")
                for t in texts:
                    self.say("    " + t.replace("\n", "\n    "))
        self.say(f"{program}: {result['passed']} passed, {len(result['failed'])} failed, {result['skipped']} skipped"
                 + (f", {result['unfinished']} of {shards} shards ran out of time" if result["unfinished"] else ""))
        return result

    # ---- parts

    def choose_driver(self, folders=ICD_FOLDERS, libraries=LIBRARY_FOLDERS):
        """Makes the loader find NVIDIA's driver, wherever it lies; says so where there is none."""
        # The builder's C++ library only where the machine's own is missing or too old.
        if self.vireo("--version", limit=20)[0] != 0:
            self.extra["LD_LIBRARY_PATH"] = ":".join([os.path.join(self.pack, "lib"), os.path.join(self.pack, "cxx"), os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(":")
        if os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES"):
            return {"chosen": "by the environment"}
        tried = []
        for path, what in icd_candidates(folders, libraries, os.path.join(self.pack, "icd")):
            before = os.path.join(self.pack, "x11")  # X's libraries, which the driver may need and a server lack: last
            search = self.environment()["LD_LIBRARY_PATH"]
            for extra in ({}, {"LD_LIBRARY_PATH": ":".join([search, *libraries, before])}):
                env = {"VK_DRIVER_FILES": path, "VK_ICD_FILENAMES": path, **extra}
                code, out, err, _ = self.vireo("devices", "--json", limit=30, **env)
                names = [d["name"] for d in (as_json(out) or {}).get("devices", []) if d["kind"] == "vulkan"]
                if names:
                    self.extra.update(env)
                    self.say(f"driver: {path} ({what}): {', '.join(names)}")
                    return {"chosen": path, "what": what, "devices": names, "tried": tried}
            tried.append({"file": path, "what": what, "exit": code, "stderr": err.strip()[:500]})
            self.say(f"driver: {path} ({what}) gives no device: {err.strip()[:200]}")
        sentence = NO_DRIVER.format(folders=", ".join(folders), libraries=", ".join(ICD_LIBRARIES)) if not tried else \
            "NVIDIA's driver for Vulkan is here but gives no device. What follows is of another one"
        self.say(sentence)
        return {"chosen": None, "sentence": sentence, "tried": tried}

    def devices(self, _):
        code, out, err, _ = self.vireo("devices")
        self.say(out.strip() + err.strip())
        self.expect(code in (0, None), "devices", f"exit code {code}")
        return {"text": out, "caps": self.vireo("devices", "--caps", "0")[1]}

    def scores(self, device, precision, **env):
        samples = sorted(glob.glob(os.path.join(MODEL, "samples", "*.png")))
        code, out, err, _ = self.vireo("classify", "--model", MODEL, "--device", device, "--precision", precision, "--json", "--topk", "10", *samples, **env)
        got = as_json(out)
        if code is None:
            raise OutOfTime
        if code != 0 or not got:
            raise RuntimeError(err.strip() or "no answer")
        return [{t["index"]: t["score"] for t in r["top"]} for r in got["results"]], got["device"]

    def answers(self, _):
        """The shipped model on its ten pictures, Vulkan beside the CPU, in every precision."""
        rows = {}
        truth, _ = self.scores("cpu", "fp32")
        for precision, bound in (("fp32", 1e-4), ("fp16", 2e-2), ("int8", 5e-2)):
            got, device = self.scores(self.device, precision)
            worst = max(abs(a[k] - b.get(k, 0)) for a, b in zip(truth, got) for k in a)
            same = sum(max(a, key=a.get) == max(b, key=b.get) for a, b in zip(truth, got))
            rows[precision] = {"largest_difference": worst, "same_top1": same, "of": len(truth), "device": device}
            self.say(f"{precision}: largest difference of a probability to the CPU's fp32 {worst:.2e}, same class for {same} of {len(truth)} pictures, on {device['name']}")
            self.expect(worst <= bound and same == len(truth) == 10, "answers", f"{precision} differs by {worst:.2e}, {same} of {len(truth)} the same")
        return rows

    def fused_paths(self, _):
        """The four kinds of fusion: that the plan on this device has them, and that the answer is the unfused graph's."""
        path = os.path.join(self.scratch, "fused.json")
        os.makedirs(self.scratch, exist_ok=True)
        code, _, err, _ = self.vireo("profile", "--model", MODEL, "--device", self.device, "--runs", "1", "--no-roofs", "--no-compiler", "--json", path)
        if code is None:
            raise OutOfTime
        if code != 0:
            raise RuntimeError(err.strip() or "no profile")
        with open(path) as f:
            counts = fused_counts(json.load(f)["dispatches"])
        for name, count in counts.items():
            self.say(f"{name}: {count} dispatches")
            self.expect(count > 0, "fused paths", f"{name} is nowhere in the shipped model's plan")
        rows = {"dispatches": counts}
        for precision, bound in (("fp32", 1e-4), ("fp16", 2e-2), ("int8", 5e-2)):
            fused, _ = self.scores(self.device, precision)
            plain, _ = self.scores(self.device, precision, VIREO_NO_FUSE="1")
            worst = max(abs(a[k] - b.get(k, 0)) for a, b in zip(plain, fused) for k in a)
            rows[precision] = worst
            self.say(f"{precision}: largest difference of a probability to the graph as built {worst:.2e}")
            self.expect(worst <= bound, "fused paths", f"{precision} differs by {worst:.2e} from the graph as built")
        return rows

    def validation(self, _):
        """The same answers with the validation layer on, which must stay silent."""
        rows = {}
        for precision in ("fp32", "fp16", "int8"):
            code, _, err, s = self.vireo("classify", "--model", MODEL, "--device", self.device, "--precision", precision, "--json",
                                         os.path.join(MODEL, "samples", "03_dress.png"), VIREO_VALIDATION="1")
            rows[precision] = {"exit": code, "seconds": round(s, 1), "stderr": err.strip()[:2000]}
            self.say(f"{precision}: " + (f"exit code {code} {err.strip()[:300]}" if code is not None else "out of time"))
            self.expect(code in (0, None), "validation", f"{precision}: {err.strip()[:300]}")
        return rows

    def end_to_end(self, limit):
        """Every family with its fused paths, the GPU beside the CPU: in fp32 every value; in fp16 the answer, because two roundings may
        part ways within (cosine attention multiplies its scores by up to a hundred) and meet again."""
        until = self.clock() + limit
        jobs = []
        for name in sorted(os.listdir(CASES)):
            pictures = sorted(glob.glob(os.path.join(CASES, name, "*.png")))
            jobs += [(name, precision, pictures[0]) for precision in ("fp32", "fp16") if pictures]

        def compare(job):
            name, precision, picture = job
            left = until - self.clock()
            if left < 1:
                return None
            # Kernels without bfloat16: its eight bits would hide what the GPU's ten do.
            return self.vireo("diff", "--model", os.path.join(CASES, name), "--a", "cpu", "--b", self.device, "--precision", precision, "--all", "--json", picture,
                              limit=min(40, left), VIREO_SIMD="avx2")

        rows, late = {}, 0
        with concurrent.futures.ThreadPoolExecutor(max(1, min(6, (os.cpu_count() or 1) // 3))) as pool:
            for (name, precision, _), done in zip(jobs, pool.map(compare, jobs)):
                if done is None or done[0] is None:
                    late += 1
                    continue
                code, out, err, _ = done
                got = as_json(out) or {}
                values = got.get("values") or [{}]
                row = {"exit": code, "differing": got.get("differing"), "compared": got.get("compared"), "worst": (got.get("worst") or {}).get("relative"),
                       "answer": values[-1].get("relative")}
                row["agrees"] = code == 0 or (precision == "fp16" and row["answer"] is not None and row["answer"] <= FP16_ANSWER)
                rows[f"{name} {precision}"] = row
                self.expect(row["agrees"], "end to end", f"{name} {precision}: exit code {code}, {row['differing']} of {row['compared']} values differ, the answer by {row['answer']}: {err.strip()[-300:]}")
        self.say(f"{sum(r['agrees'] for r in rows.values())} of {len(rows)} models and precisions agree with the CPU, {sum(r['exit'] == 0 for r in rows.values())} of them in every value"
                 + (f"; {late} had no time" if late else ""))
        return {"models": rows, "out_of_time": late}

    def bench(self, limit):
        rows, until = {}, self.clock() + limit
        for config in ("vit-ti", "vit-s", "vit-b", "upernet-mobilevit-s"):
            for precision in ("fp32", "fp16", "int8"):
                left = until - self.clock()
                code, out, err, _ = self.vireo("bench", "--config", os.path.join(CONFIGS, config + ".json"), "--random-weights", "1", "--device", self.device,
                                               "--precision", precision, "--iters", "30", "--json", limit=min(60, left)) if left > 2 else (None, "", "", 0)
                row = as_json(out) if code == 0 else None
                if row:
                    self.say(f"{config:22} {precision}: median {row['median_ms']:.2f} ms, min {row['min_ms']:.2f}, load {row['load_ms']:.0f}, first {row['first_ms']:.1f}, rss {row['peak_rss_mib']:.0f} MiB")
                elif code is None:
                    row = {"out_of_time": True}
                    self.say(f"{config:22} {precision}: out of time")
                else:
                    row = {"error": err.strip() or out.strip()}
                    self.expect(False, "bench", f"{config} {precision}: {row['error'][:300]}")
                rows[f"{config} {precision}"] = row
        return rows

    def tune(self, limit):
        code, out, err, _ = self.vireo("tune", "--config", os.path.join(CONFIGS, "vit-s.json"), "--random-weights", "1", "--device", self.device,
                                       "--budget", str(max(1, int(min(25, limit / 3)))), "--out", os.path.join(self.out, "tuning.txt"), "--json", limit=limit)
        row = as_json(out) or {}
        self.say(f"vit-s: " + ("out of time" if code is None else f"exit code {code}, {row.get('default_ms')} -> {row.get('ms')} ms {err.strip()[-200:]}"))
        self.expect(code in (0, None), "tune", err.strip()[-300:])
        row.pop("steps", None)
        row["out_of_time"] = code is None
        return row

    def profile(self, limit):
        path = os.path.join(self.out, "profile.json")
        code, out, err, _ = self.vireo("profile", "--config", os.path.join(CONFIGS, "vit-b.json"), "--random-weights", "1", "--device", self.device, "--json", path,
                                       "--html", os.path.join(self.out, "profile.html"), limit=limit)
        self.say(out.strip()[:6000] if code is not None else "out of time")
        if err.strip():
            self.say(err.strip()[:500])
        self.expect(code in (0, None), "profile", err.strip()[-300:])
        if code != 0:
            return {"out_of_time": code is None}
        with open(path) as f:
            made = json.load(f)
        compiled = [d["compiler"] for d in made["dispatches"] if d.get("compiler")]
        self.say(f"pipeline statistics: {len(compiled)} of {len(made['dispatches'])} dispatches" + ("" if compiled else f" ({made.get('no_compiler')})"))
        keys = ("wall_us", "accounted_us", "serialised_us", "empty_us", "noise_us", "host_us", "roofs", "notes", "no_compiler")
        return {**{k: made.get(k) for k in keys}, "fused": fused_counts(made["dispatches"]), "compiler": compiled[:8], "compiled": len(compiled)}

    def phases(self, limit):
        code, out, err, _ = self.vireo("profile", "--phases", "--model", MODEL, "--device", self.device, limit=limit)
        self.say("\n".join(l for l in out.splitlines() if l.startswith("phases")) or err.strip()[:400] or out.strip()[-400:])
        self.expect(code in (0, None), "phases", err.strip()[-300:])
        return {"exit": code, "out_of_time": code is None}

    def write(self):
        self.report["failed"] = self.failed
        self.report["seconds"] = round(self.clock() - self.started, 1)
        self.say(f"\n{'all held' if not self.failed else '%d failures' % len(self.failed)}, {self.report['seconds']} s")
        for f in self.failed:
            self.say(f"  {f[:300]}")
        for name, text in (("gpu.json", json.dumps(self.report, indent=1)), ("gpu.txt", "\n".join(self.lines))):
            with open(os.path.join(self.out, name), "w") as f:
                f.write(text + "\n")

    def all(self):
        os.makedirs(self.out, exist_ok=True)
        with open(os.path.join(self.pack, "revision")) as f:
            self.report["revision"] = f.read().strip()
        cores = os.cpu_count() or 1
        self.report["host"] = {"machine": platform.machine(), "system": platform.platform(), "cores": cores}
        self.report["date"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self.say(f"vireo {self.report['revision']} on {self.report['host']['system']}, {cores} cores, {self.report['date']}, at most {self.budget:.0f} s")
        share = lambda part: self.budget * part
        shards = min(8, max(2, cores // 2))
        conformance = lambda name, limit, validation: self.gtest(name, "ops_conformance", limit, shards, VIREO_TEST_TARGETS="vulkan",
                                                                 GTEST_FILTER="-Targets.*", VIREO_TEST_VALIDATION=validation)
        self.part("driver", lambda _: self.choose_driver())
        self.part("devices", self.devices)
        self.part("answers", self.answers)
        self.part("fused paths", self.fused_paths)
        self.part("validation", self.validation)
        self.part("conformance", lambda limit: conformance("conformance", limit, "0"), share(0.35))
        self.part("end to end", self.end_to_end, share(0.2))
        self.part("bench", self.bench, share(0.2))
        self.part("tune", self.tune, share(0.1))
        self.part("profile", self.profile, share(0.1))
        self.part("phases", self.phases, share(0.05))
        self.part("fused rules", lambda limit: self.gtest("fused rules", "fuse_equivalence", limit, 2), share(0.05))
        # What time is left: every operator once more, with the layer watching.
        self.part("conformance, validated", lambda limit: conformance("conformance, validated", limit, "1"))
        self.write()
        return 1 if self.failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(Run(sys.argv[1], sys.argv[2], os.environ.get("VIREO_GPU_DEVICE", "vulkan"), float(os.environ.get("VIREO_GPU_SECONDS", "500"))).all())
