"""Tables and limits of bench/maxwell.sh: reads the folders of `vireo plan --dump-shaders` and asks maxwell-stat about
each pipeline.

A pipeline's issue slots per warp are the instructions outside all loops plus, for each loop, one pass times how often
its body runs (the plan says how often; both sides of every branch are counted). One SM issues four instructions per
clock."""
import json
import pathlib
import subprocess
import sys

CLOCK = 921.6e6          # the Nano's highest GPU clock
ROOFLINE_MS = {"vit-ti": 10.7, "vit-s": 39.1, "vit-b": 149.0}  # fp32, 128 FMA per clock
GOAL = {"vit-ti": 1.45, "vit-s": 1.30, "vit-b": 1.25, "paper-upernet-mobilevit-s": 1.6}
WASTE = {"vit-ti": 0.15, "vit-s": 0.10, "vit-b": 0.10}
SHARE = 0.02             # limits hold for pipelines with more than this share of the FLOPs

stat_tool, folder = sys.argv[1], pathlib.Path(sys.argv[2])
models, precisions = sys.argv[3].split(), sys.argv[4].split()
counts_file = sys.argv[5]
answers = {}


def stat(spirv, spec, chip):
    """maxwell-stat's answer; models share pipelines, so each is asked once."""
    key = (spirv.read_bytes(), tuple(spec.items()))
    if key not in answers:
        command = [stat_tool, str(spirv), "--json", "--chip", chip]
        for number, value in spec.items():
            command += ["--spec", f"{number}={value}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        if done.returncode != 0:
            sys.exit(f"maxwell.py: {' '.join(command)} failed: {done.stderr.strip()}")
        answers[key] = json.loads(done.stdout)
    return answers[key]


class Pipeline:
    def __init__(self, path):
        self.plan = json.loads(path.read_text())
        self.name = path.stem
        # NVK has no packed fp16 on Maxwell (NVIDIA's driver has); Turing stands in for it, at Maxwell's rate of one
        # instruction for two multiply-adds.
        self.packed = "half" in self.plan["shader"].split(".")
        self.fma = "HFMA2" if self.packed else "FFMA"
        # FLOPs are those of the definition; of them Winograd's products are this part.
        self.useful = self.plan["flops"] * (16 / 36 if ".winograd." in self.plan["shader"] else 1)
        s = stat(path.with_suffix(".spv"), self.plan["spec"], "tu116" if self.packed else "gm20b")
        self.registers = s["statistics"]["Number of GPRs"]
        self.spills = s["statistics"]["Spills to memory"] + s["statistics"]["SLM size"]
        occupancy = s["occupancy"]
        self.warps_per_sm = occupancy["warps_per_sm"]
        self.warps = occupancy["warps_per_workgroup"]
        self.workgroup_registers = self.registers * 32 * self.warps
        # The plan tells loops apart by their multiply-adds; so both sides are sorted by them.
        self.loops = [l["own"] for l in s["loops"]]
        self.loops.sort(key=lambda l: (-self.products_in(l), -l["instructions"]))
        for use in self.plan["uses"]:
            use["loops"].sort(key=lambda l: (-l["multiply_adds"], -l["runs"]))
        self.straight = s["total"]["instructions"] - sum(l["instructions"] for l in self.loops)
        self.known = all(self.fits(u) for u in self.plan["uses"])
        # A linear has one loop of products, an attention two.
        self.products = range(min(len(self.loops), 2 if self.plan["shader"].startswith("attention") else 1))
        self.slots = sum(u["times"] * self.dispatch_slots(u) for u in self.plan["uses"])

    def counts(self):
        """One line to compare with an earlier one."""
        return (f"{self.name}: {self.registers} registers, {self.warps_per_sm} warps per SM, {self.spills} spills, "
                f"{'+'.join(map(str, self.per_trip())) or 0} instructions per trip, {self.straight} once")

    def fits(self, use):
        return len(use["loops"]) == len(self.loops) and all(
            self.products_in(l) >= planned["multiply_adds"] for l, planned in zip(self.loops, use["loops"]))

    @staticmethod
    def products_in(loop):
        """Instructions that multiply (and add); a packed sum begins with a product alone, which counts as FP16."""
        return sum(loop["ops"].get(n, 0) for n in ("FFMA", "HFMA2", "FP16"))

    @staticmethod
    def workgroups(use):
        x, y, z = use["workgroups"]
        return x * y * z

    def trips(self, use):
        return [l["runs"] for l in use["loops"]] if self.known else [1] * len(self.loops)

    def dispatch_slots(self, use):
        trips, warps = self.trips(use), self.workgroups(use) * self.warps
        slots = warps * (self.straight + sum(n * l["instructions"] for n, l in zip(trips, self.loops)))
        if not self.known or not self.loops:
            return slots
        # What is skipped for want of rows, or of keys, issues neither its multiply-adds nor its shared loads. (A pass counts both
        # ways of attention.half where the last block of keys is short, constant 13: those loops look longer than they are.)
        products = warps * sum(trips[i] * use["loops"][i]["multiply_adds"] for i in self.products)
        skipped = max(0.0, 1 - use["issued_flops"] / (128 if self.packed else 64) / products) if products else 0.0
        return slots - skipped * warps * sum(
            trips[i] * (use["loops"][i]["multiply_adds"] + self.loops[i]["ops"].get("LDS", 0)) for i in self.products)

    def gains(self):
        """Conversions of gains in a trip (constant 17 of linear.half: 1 where it has some)."""
        spec = {k: int(v) for k, v in self.plan["spec"].items()}
        if not self.plan["shader"].startswith("linear.half") or not spec["17"]:
            return 0
        return 4 * -(-(spec["10"] // 2 * (spec["12"] // 4)) // spec["0"])

    def slots_of(self, step):
        """Issue slots of one of the dispatches that are like that step's."""
        return next(self.dispatch_slots(u) for u in self.plan["uses"] if u["step"] == step)

    def product_share(self):
        """FFMA (HFMA2) of all instructions in the product loops, weighted by how often they run."""
        use = self.plan["uses"][0]
        trips = self.trips(use)
        issued = sum(trips[i] * self.loops[i]["instructions"] for i in self.products)
        return sum(trips[i] * self.loops[i]["ops"].get(self.fma, 0) for i in self.products) / issued if issued else 0.0

    def per_trip(self):
        return [self.loops[i]["instructions"] for i in self.products]

    def loop_ops(self, names):
        return sum(self.loops[i]["ops"].get(n, 0) for i in self.products for n in names)

    def waste(self):
        """Part of the issued multiply-adds that is no result: rows and columns beyond the edge, and idle lanes."""
        return 1 - self.useful / self.plan["issued_flops"] if self.plan["issued_flops"] else 0.0


misses = []


def check(holds, model, precision, text):
    if not holds:
        misses.append(f"missed: {model} {precision} {text}")
    print(f"  {'PASS' if holds else 'MISS'}  {text}")


def alike(p, others):
    """The pipeline of another precision that does the same work."""
    step = p.plan["uses"][0]["step"]
    return next((o for o in others if any(u["step"] == step for u in o.plan["uses"])), None)


def table(model, precision, pipelines, fp32, fp16):
    total = sum(p.plan["flops"] for p in pipelines)
    issued = sum(p.plan["issued_flops"] for p in pipelines)
    slots = sum(p.slots for p in pipelines)
    print(f"\n{model} {precision}")
    print(f"  {'pipeline':22} {'times':>5} {'FLOPs':>6} {'slots':>6} {'regs':>4} {'warps':>5} {'spill':>5} {'FFMA':>6} "
          f"{'instr/trip':>10} {'useful/issued':>13}")
    for p in pipelines:
        per_trip = "+".join(map(str, p.per_trip())) or "-"
        print(f"  {p.name[:22]:22} {p.plan['times']:5} {p.plan['flops'] / total:6.1%} {p.slots / slots:6.1%} "
              f"{p.registers:4} {p.warps_per_sm:5} {p.spills:5} {p.product_share():6.1%} {per_trip:>10} "
              f"{1 - p.waste():13.1%}{'' if p.known else '  (loops counted once)'}")
    ms = slots / 4 / CLOCK * 1e3
    roofline = ROOFLINE_MS.get(model) or round(total / (256 * CLOCK) * 1e3, 1)
    useful = sum(p.useful for p in pipelines)
    print(f"  useful/issued FLOPs {useful / issued:.1%}; issue slots {slots / 1e6:.1f} M = {ms:.1f} ms at 921.6 MHz "
          "(computed, not measured)" + (f"; roofline {roofline} ms, {ms / roofline:.2f}x" if roofline else "") +
          (f"; of packed fp16 {roofline / 2:.1f} ms, {2 * ms / roofline:.2f}x" if precision == "fp16" else ""))
    for p in pipelines:
        if p.plan["flops"] > SHARE * total:
            check_pipeline(model, precision, p, fp32, fp16)
    if precision == "fp32" and model in GOAL:
        check(ms <= GOAL[model] * roofline, model, precision,
              f"{model}: {ms / roofline:.2f}x of the roofline, at most {GOAL[model]}x")
    return model, precision, useful / issued, ms, roofline


def check_pipeline(model, precision, p, fp32, fp16):
    def holds(so, text):
        check(so, model, precision, text)

    share = p.product_share()
    holds(p.spills == 0, f"{p.name}: {p.spills} spills, at most 0")
    holds(p.workgroup_registers <= 32768, f"{p.name}: {p.workgroup_registers} registers per workgroup, at most 32768")
    holds(p.warps_per_sm >= 16, f"{p.name}: {p.warps_per_sm} warps per SM, at least 16")
    holds(p.known, f"{p.name}: the binary has the loops that the plan names")
    if p.plan["shader"].startswith("attention.half"):
        # Narrow heads have fewer products beside the same scores; constant 10 is their width.
        least = 0.70 if int(p.plan["spec"]["10"]) >= 64 else 0.55
        holds(share >= least, f"{p.name}: {share:.1%} HFMA2 in the two products, at least {least:.0%}")
    elif p.plan["shader"].startswith("attention"):
        holds(share >= 0.70, f"{p.name}: {share:.1%} FFMA in the two products, at least 70 %")
    if p.plan["shader"].startswith("conv2d.half"):
        holds(share >= 0.70, f"{p.name}: {share:.1%} HFMA2 per trip, at least 70 %")
    if p.plan["shader"].startswith("conv2d.winograd"):
        # Fewer outputs have fewer products beside the same transform; constant 11 is how many a workgroup has.
        least = 0.65 if int(p.plan["spec"]["11"]) >= 32 else 0.55
        holds(share >= least, f"{p.name}: {share:.1%} {p.fma} per trip, at least {least:.0%}")
    other = alike(p, fp16) if precision == "int8" and p.packed else None
    beside_fp16 = other is not None and other.packed
    if beside_fp16:
        # Both add their sums in fp32, by conversions, and gains of a LayerNorm that are not in the codes are converted
        # while rows are staged; codes become halves without one.
        bad = p.loop_ops(["CVT", "IMUL"]) - other.loop_ops(["CVT", "IMUL"]) - p.gains()
        holds(bad <= 0, f"{p.name}: {bad} conversions and integer multiplies in the K loop beside fp16, at most 0")
        more = p.slots_of(p.plan["uses"][0]["step"]) / other.slots_of(p.plan["uses"][0]["step"]) - 1
        holds(more <= 0.08, f"{p.name}: {more:+.1%} instructions beside fp16, at most +8 %")
    if not p.plan["shader"].startswith("linear"):
        return
    if model in WASTE:
        holds(p.waste() <= WASTE[model], f"{p.name}: {p.waste():.1%} padding waste, at most {WASTE[model]:.0%}")
    if precision == "fp32":
        holds(share >= 0.88, f"{p.name}: {share:.1%} FFMA per trip, at least 88 %")
    if precision == "fp16":
        holds(p.packed and share >= 0.80, f"{p.name}: {share:.1%} {p.fma} per trip, at least 80 % HFMA2")
    if precision == "int8" and not beside_fp16:
        bad = p.loop_ops(["CVT", "IMUL"])
        holds(bad == 0, f"{p.name}: {bad} conversions and integer multiplies in the K loop, at most 0")
        other = alike(p, fp32)
        if other:
            more = sum(p.per_trip()) / sum(other.per_trip()) - 1
            holds(more <= 0.05, f"{p.name}: {more:+.1%} instructions per trip beside fp32, at most +5 %")


results, counts = [], []
for model in models:
    fp32, fp16 = [], []
    for precision in precisions:
        pipelines = [Pipeline(path) for path in sorted((folder / f"{model}.{precision}").glob("*.json"))]
        if precision == "fp32":
            fp32 = pipelines
        if precision == "fp16":
            fp16 = pipelines
        counts += [f"{model} {precision} {p.counts()}" for p in pipelines]
        results.append(table(model, precision, pipelines, fp32, fp16))

print("\n| model | precision | useful / issued FLOPs | issue-slot bound, ms | fp32 roofline, ms | ratio |")
print("|---|---|---|---|---|---|")
for model, precision, useful, ms, roofline in results:
    ratio = f"{ms / roofline:.2f}" if roofline else "-"
    print(f"| {model} | {precision} | {useful:.1%} | {ms:.1f} | {roofline or '-'} | {ratio} |")
if counts_file:
    compilers = {a["driver"] for a in answers.values()}
    pathlib.Path(counts_file).write_text("\n".join(sorted(compilers) + counts + misses) + "\n")
print(f"\n{len(misses)} limits missed. Computed from NAK's instruction counts, not measured on a board.")
sys.exit(1 if misses else 0)
