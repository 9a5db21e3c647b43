"""See bench/predict.sh."""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

# name: config, precision, batch, input size (0: the model's own)
HELD_OUT = {
    "vit-ti": ("vit-ti", "fp32", 1, 0),
    "vit-ti 384": ("vit-ti", "fp32", 1, 384),
    "vit-ti int8": ("vit-ti", "int8", 1, 0),
    "vit-ti fp16": ("vit-ti", "fp16", 1, 0),
    "vit-ti batch 4": ("vit-ti", "fp32", 4, 0),
    "vit-s": ("vit-s", "fp32", 1, 0),
    "vit-s int8": ("vit-s", "int8", 1, 0),
    "vit-b": ("vit-b", "fp32", 1, 0),
    "dinov2-s 224": ("dinov2-s", "fp32", 1, 224),
    "swin-t": ("swin-t", "fp32", 1, 0),
    "swin-t int8": ("swin-t", "int8", 1, 0),
    "swinv2-t": ("swinv2-t", "fp32", 1, 0),
    "mobilevit-s": ("mobilevit-s", "fp32", 1, 0),
    "mobilevit-s 384": ("mobilevit-s", "fp32", 1, 384),
    "upernet-mobilevit-s 256": ("upernet-mobilevit-s", "fp32", 1, 256),
    "upernet-mobilevit-s": ("upernet-mobilevit-s", "fp32", 1, 0),
}
# Run before and after every inference, in the fit too: what a machine that is slower for a while is slower by.
PROBE = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 160, "patch_size": 16, "num_channels": 3, "hidden_size": 256,
         "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 1024, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "qkv_bias": True,
         "num_labels": 10}

parser = argparse.ArgumentParser()
parser.add_argument("--root", type=pathlib.Path)
parser.add_argument("--vireo")
parser.add_argument("--device", choices=["cpu", "vulkan"], default="cpu")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--fit-rounds", type=int, default=6)
parser.add_argument("--iters", type=int, default=5)
parser.add_argument("--machine", type=pathlib.Path)
parser.add_argument("--models", help="names of the table, separated by commas")
parser.add_argument("--maxwell", action="store_true")
parser.add_argument("--stat")
args = parser.parse_args()

# One thread on both sides: lavapipe's own as well.
environment = dict(os.environ, LP_NUM_THREADS="1")


def vireo(*command):
    done = subprocess.run([args.vireo, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, env=environment)
    if done.returncode:
        sys.exit(f"predict.py: vireo {' '.join(map(str, command))} failed: {done.stderr.strip()}")
    return done.stdout


def model_arguments(config, precision, batch, size):
    path = config if os.path.sep in str(config) else args.root / "models/configs" / f"{config}.json"
    return ["--config", path, "--random-weights", 1, "--precision", precision, "--batch", batch] + (["--size", f"{size}x{size}"] if size else [])


def ratio(what, probe):
    """Median over inferences of the model's time divided by the probe's, which runs before and after each."""
    return json.loads(vireo("bench", *model_arguments(*what), "--device", args.device, "--threads", 1, "--warmup", 2, "--iters", args.iters, "--beside", probe, "--json"))["beside"]["ratio"]


def held_out():
    with tempfile.TemporaryDirectory() as work:
        probe_config = pathlib.Path(work) / "probe.json"
        probe_config.write_text(json.dumps(PROBE))
        caps = pathlib.Path(work) / "caps.txt"
        caps.write_text(vireo("devices", "--caps", "cpu" if args.device == "cpu" else 0, "--threads", 1))
        machine = args.machine or pathlib.Path(f"predict.{args.device}.txt")
        if not args.machine:
            vireo("predict", "--fit", machine, "--device", args.device, "--threads", 1, "--rounds", args.fit_rounds, "--fit-precisions", "fp32,fp16,int8", "--probe", probe_config)
        print(f"description: {machine}")
        found = re.search(r"^probe_us: (.*)$", machine.read_text(), re.M)
        if not found:
            sys.exit(f"predict.py: '{machine}' does not say what the probe took (probe_us); fit it with this script")
        probe_ms = float(found[1]) / 1000
        names = list(HELD_OUT) if not args.models else args.models.split(",")
        if unknown := [n for n in names if n not in HELD_OUT]:
            sys.exit(f"predict.py: there is no model {', '.join(unknown)}; known: {', '.join(HELD_OUT)}")
        predicted = {n: json.loads(vireo("predict", "--caps", caps, "--machine", machine, *model_arguments(*HELD_OUT[n]), "--json"))["us"] / 1000 for n in names}
        measured, noise = {n: [] for n in names}, {n: [] for n in names}
        for r in range(args.rounds):
            for n in names:
                first, second = (probe_ms * ratio(HELD_OUT[n], probe_config) for _ in range(2))
                measured[n] += [first, second]
                noise[n].append(abs(first - second) / min(first, second))
            print(f"round {r + 1} of {args.rounds} done", file=sys.stderr)
    print("\n| never measured before | predicted ms | measured ms | error | noise |\n|---|---|---|---|---|")
    errors = []
    for n in names:
        m = statistics.median(measured[n])
        errors.append(predicted[n] / m - 1)
        print(f"| {n} | {predicted[n]:.1f} | {m:.1f} | {errors[-1]:+.1%} | {statistics.median(noise[n]):.1%} |")
    sizes = sorted(abs(e) for e in errors)
    print(f"\n{args.device}, one thread: median error {statistics.median(sizes):.1%}, worst {sizes[-1]:.1%}; "
          f"noise median {statistics.median([statistics.median(v) for v in noise.values()]):.1%}")


# Classes of instructions on both sides; predict's on the left.
CLASSES = [("multiply-add, float", ["fma", "float"], ["FFMA", "FP32"]), ("packed fp16", ["half"], ["HFMA2", "FP16"]), ("shared loads", ["shared_load"], ["LDS"]),
           ("shared stores", ["shared_store"], ["STS"]), ("global", ["global_load", "global_store"], ["LDG", "STG"]), ("convert, special", ["convert", "special"], ["CVT", "MUFU"]),
           ("integer", ["integer", "shift", "multiply"], ["INT", "SHIFT", "IMUL", "MOV", "SREG"])]
WORDS = ("shared_words", "global_words", "global_bytes", "workgroups", "subgroups", "bytes", "weights", "steps")


def maxwell():
    stat = args.stat or os.environ.get("MAXWELL_STAT") or args.root / "../shared/maxwell/maxwell-stat"
    if not os.path.exists(stat):
        sys.exit(f"predict.py: there is no maxwell-stat at '{stat}'; set MAXWELL_STAT or give --stat PATH")
    caps = args.root / "engine/profile/caps/jetson-nano.txt"
    for name in (args.models or "vit-ti,paper-upernet-mobilevit-s").split(","):
        for precision in ("fp32", "fp16", "int8"):
            with tempfile.TemporaryDirectory() as folder:
                what = ["--caps", caps, "--config", args.root / "models/configs" / f"{name}.json", "--random-weights", 1, "--precision", precision]
                vireo("plan", *what, "--dump-shaders", folder + "/s")
                rows = {}
                for d in json.loads(vireo("predict", *what, "--json"))["dispatches"]:
                    rows.setdefault((d["name"], d["shader"]), d["instructions"])
                compare(name, precision, stat, pathlib.Path(folder) / "s", rows)


def compare(name, precision, stat, folder, rows):
    pipelines, total = [], 0
    for path in sorted(folder.glob("*.json")):
        plan = json.loads(path.read_text())
        packed = plan["shader"].split(".")[1:2] == ["half"]
        command = [stat, path.with_suffix(".spv"), "--json", "--chip", "tu116" if packed else "gm20b"]
        for k, v in plan["spec"].items():
            command += ["--spec", f"{k}={v}"]
        s = json.loads(subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, check=True).stdout)
        products = lambda l: sum(l["ops"].get(n, 0) for n in ("FFMA", "HFMA2", "FP16"))
        loops = sorted([l["own"] for l in s["loops"]], key=lambda l: (-products(l), -l["instructions"]))
        binary, ours = {}, {}
        known = True
        for use in plan["uses"]:
            planned = sorted(use["loops"], key=lambda l: (-l["multiply_adds"], -l["runs"]))
            known = known and len(planned) == len(loops)
            x, y, z = use["workgroups"]
            warps = x * y * z * s["occupancy"]["warps_per_workgroup"] * use["times"]
            ops = dict(s["total"]["ops"])
            for i, l in enumerate(loops):
                for k, v in l["ops"].items():
                    ops[k] += v * ((planned[i]["runs"] if known else 1) - 1)
            # Warps without real rows skip their products: neither their multiply-adds nor their shared loads are issued.
            hot = range(min(len(loops), 2 if plan["shader"].startswith("attention") else 1)) if known else []
            asked = warps / use["times"] * sum(planned[i]["runs"] * planned[i]["multiply_adds"] for i in hot)
            skipped = max(0.0, 1 - use["issued_flops"] / (128 if packed else 64) / asked) if asked else 0.0
            for i in hot if skipped else []:
                ops["HFMA2" if packed else "FFMA"] -= skipped * planned[i]["runs"] * planned[i]["multiply_adds"]
                ops["LDS"] -= skipped * planned[i]["runs"] * loops[i]["ops"].get("LDS", 0)
            for k, v in ops.items():
                binary[k] = binary.get(k, 0) + v * warps
            for k, v in rows.get((use["step"], plan["shader"]), {}).items():
                ours[k] = ours.get(k, 0) + v * use["times"]
        issued = sum(v for k, v in ours.items() if k not in WORDS)
        total += issued
        pipelines.append((path.stem, known, issued, ours, binary))
    print(f"\n| {name} {precision}: instructions, predict / binary | all | " + " | ".join(c[0] for c in CLASSES) + " |")
    print("|---|---|" + "---|" * len(CLASSES))
    for stem, known, issued, ours, binary in pipelines:
        if not known or issued < 0.02 * total:  # the plan names the loops of hot kernels only
            continue
        everything = sum(binary.values())
        cells = []
        for _, left, right in CLASSES:
            a, b = sum(ours.get(k, 0) for k in left), sum(binary.get(k, 0) for k in right)
            cells.append(f"{a / b:.2f} ({b / everything:.0%})" if b > 0.01 * everything else "")
        print(f"| {stem} | {issued / everything:.2f} | " + " | ".join(cells) + " |")


maxwell() if args.maxwell else held_out()
