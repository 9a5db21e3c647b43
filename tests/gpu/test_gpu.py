"""bench/gpu.py without a GPU: what it reads out of programs' texts, how it finds NVIDIA's driver, and a whole report of a pack whose
programs are made up. unittest's names of the cases go to test_gpu.sh."""
import contextlib
import io
import json
import os
import stat
import sys
import tempfile
import textwrap
import unittest

sys.path.insert(0, os.path.join(os.environ["VIREO_SOURCE"], "bench"))
import gpu  # noqa: E402

ALL_CASES = gpu.CASES

# Answers as the tool does, in a form that FAKE chooses from: "right", or what is wrong with them.
VIREO = '''#!%(python)s -SE
import json, os, sys, time
how, a = os.environ.get("FAKE", "right"), sys.argv[1:]
verb = a[0]
value = lambda name, otherwise="": a[a.index(name) + 1] if name in a else otherwise
if how == "hangs" and verb == "bench":
    time.sleep(600)
if how == "breaks" and verb == "tune":
    sys.exit("vireo: the device was lost")
if verb == "--version":
    if how == "old" and "/cxx" not in os.environ["LD_LIBRARY_PATH"]:
        sys.exit("vireo: /lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found")
    print("vireo 0")
elif verb == "devices" and "--json" in a:
    icd = os.environ.get("VK_DRIVER_FILES", "")
    works = how == "any" or (how in icd if how != "right" else bool(icd))
    print(json.dumps({"devices": [{"kind": "vulkan", "name": "NVIDIA H200"}] if works else []}))
elif verb == "devices":
    print("vulkan:0   NVIDIA H200")
elif verb == "classify":
    wrong = how == "wrong" and value("--device") != "cpu" and value("--precision") == "fp16"
    if how == "noisy" and os.environ.get("VIREO_VALIDATION"):
        sys.exit("vireo: validation: VUID-something")
    if how == "fused" and not os.environ.get("VIREO_NO_FUSE") and value("--device") != "cpu" and value("--precision") == "int8":
        wrong = True
    pictures = [x for x in a if x.endswith(".png")]
    print(json.dumps({"device": {"name": "NVIDIA H200"}, "results": [{"top": [{"index": 0, "score": 0.5 if wrong else 0.9}, {"index": 1, "score": 0.1}]} for _ in pictures]}))
elif verb == "profile":
    rows = [{"label": l, "op": o, "compiler": {"registers": 40}} for l, o in (("LN + fc1 + GELU", "linear"), ("fc2 + residual", "linear"), ("attn", "attention"))]
    if how == "unfused":
        rows = rows[:1]
    if "--json" in a:
        open(value("--json"), "w").write(json.dumps({"wall_us": 1, "dispatches": rows, "roofs": {}, "notes": []}))
    if "--html" in a:
        open(value("--html"), "w").write("page")
    print("phases   linear load 1 %%")
elif verb == "bench":
    print(json.dumps({"median_ms": 1.0, "min_ms": 0.9, "load_ms": 3, "first_ms": 2.0, "peak_rss_mib": 100}))
elif verb == "tune":
    open(value("--out"), "w").write("tuned")
    print(json.dumps({"default_ms": 2, "ms": 1, "steps": [1, 2, 3]}))
elif verb == "diff":
    bad = "swin" in value("--model") and (how == "differs" or (how in ("parts", "answers part") and value("--precision") == "fp16"))
    answer = 0.3 if how == "answers part" else 0.03
    print(json.dumps({"compared": 60, "differing": 9 * bad, "worst": {"relative": 0.4 * bad}, "values": [{"relative": 0.4 * bad}, {"relative": answer * bad}]}))
    sys.exit("vireo: 'attn' is the first value that differs" if bad else 0)
else:
    sys.exit("what is " + verb)
'''
GTEST = '''#!/bin/sh
echo "[ RUN      ] Ops/Conformance.Linear/0"
if [ "$FAKE" = conformance ] && [ "$GTEST_SHARD_INDEX" = 1 ]; then
  echo "ops_conformance.cpp:1: Failure"
  echo "off by a lot"
  echo "[  FAILED  ] Ops/Conformance.Linear/0, where GetParam() = 1 (3 ms)"
  exit 1
fi
if [ "$FAKE" = slow ]; then exec sleep 600; fi
if [ "$FAKE" = crash ]; then kill -11 $$; fi
echo "[       OK ] Ops/Conformance.Linear/0 (3 ms)"
'''


class Faked(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.pack, self.out = os.path.join(self.root, "pack"), os.path.join(self.root, "out")
        os.makedirs(os.path.join(self.pack, "bin"))
        for name, text in (("vireo", VIREO % {"python": sys.executable}), ("ops_conformance", GTEST), ("fuse_equivalence", GTEST)):
            path = os.path.join(self.pack, "bin", name)
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, stat.S_IRWXU)
        with open(os.path.join(self.pack, "revision"), "w") as f:
            f.write("abc1234\n")
        for name in ("FAKE", "VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
            self.set(name, None)
        # Two of the models are enough.
        cases = os.path.join(self.root, "cases")
        os.makedirs(cases)
        for name in ("hf-swin", "hf-vit"):
            os.symlink(os.path.join(ALL_CASES, name), os.path.join(cases, name))
        gpu.CASES = cases

    def set(self, name, value):
        before = os.environ.get(name)
        self.addCleanup(lambda: os.environ.pop(name, None) if before is None else os.environ.__setitem__(name, before))
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)

    def folder(self, *files):
        path = tempfile.mkdtemp(dir=self.root)
        for f in files:
            open(os.path.join(path, f), "w").close()
        return path

    def made_up(self, fake="right", **how):
        self.set("FAKE", fake)
        self.set("VK_DRIVER_FILES", "/some/icd.json")
        os.makedirs(self.out, exist_ok=True)
        return gpu.Run(self.pack, self.out, **{"budget": 1e6, **how})

    def report(self, fake="right", **how):
        run = self.made_up(fake, **how)
        with contextlib.redirect_stdout(io.StringIO()):
            code = run.all()
        with open(os.path.join(self.out, "gpu.json")) as f:
            made = json.load(f)
        with open(os.path.join(self.out, "gpu.txt")) as f:
            return code, made, f.read()


class Texts(unittest.TestCase):
    def test_counts_of_a_test_program(self):
        counts = gpu.gtest_counts(textwrap.dedent("""\
            [ RUN      ] A.b
            [       OK ] A.b (1 ms)
            [ RUN      ] P/A.c/0
            x.cpp:3: Failure
            Expected: one
            [  FAILED  ] P/A.c/0, where GetParam() = 4 (2 ms)
            [  SKIPPED ] A.d (0 ms)
            [  PASSED  ] 1 test.
            [  SKIPPED ] 1 test, listed below:
            [  SKIPPED ] A.d
            [  FAILED  ] 1 test, listed below:
            [  FAILED  ] P/A.c/0, where GetParam() = 4
             1 FAILED TEST
            """))
        self.assertEqual((counts["passed"], counts["skipped"], counts["failed"]), (1, 1, ["P/A.c/0"]))
        self.assertIn("Expected: one", counts["texts"][0])
        self.assertEqual(gpu.gtest_counts("")["failed"], [])

    def test_fusions_by_label(self):
        row = lambda label, op="linear": {"label": label, "op": op}
        counts = gpu.fused_counts([row("LN + fc1 + GELU"), row("LN + qkv"), row("proj + residual"), row("fc + SiLU + residual"), row("attn", "attention"), row("tokens", "tokens")])
        self.assertEqual(list(counts.values()), [2, 2, 2, 1])

    def test_json_or_nothing(self):
        self.assertEqual(gpu.as_json('{"a": 1}'), {"a": 1})
        self.assertIsNone(gpu.as_json("vireo: no"))


class Driver(Faked):
    def choose(self, fake, folders=(), libraries=()):
        self.set("FAKE", fake)
        run = gpu.Run(self.pack, self.out)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            return run.choose_driver(folders, libraries), run, said.getvalue()

    def test_installed_description(self):
        folder = self.folder("nvidia_icd.json", "lvp_icd.json")
        got, run, said = self.choose("right", [self.folder(), folder])
        self.assertEqual(got["chosen"], os.path.join(folder, "nvidia_icd.json"))
        self.assertEqual(run.environment()["VK_DRIVER_FILES"], got["chosen"])
        self.assertEqual(run.environment()["VK_ICD_FILENAMES"], got["chosen"], "older loaders read this one")
        self.assertIn("NVIDIA H200", said)

    def test_libraries_without_a_description(self):
        for name in gpu.ICD_LIBRARIES:
            folder = self.folder(name)
            got, run, _ = self.choose("right", [self.folder()], [self.folder(), folder])
            with open(got["chosen"]) as f:
                self.assertEqual(json.load(f)["ICD"]["library_path"], os.path.join(folder, name))

    def test_the_next_where_one_gives_no_device(self):
        folder = self.folder("nvidia_icd.json")
        got, _, said = self.choose("libEGL_nvidia", [folder], [self.folder("libGLX_nvidia.so.0", "libEGL_nvidia.so.0")])
        self.assertTrue(got["chosen"].endswith("libEGL_nvidia.json"), got)
        self.assertEqual(len(got["tried"]), 2)
        self.assertIn("gives no device", said)

    def test_none_is_said_in_a_sentence(self):
        got, run, said = self.choose("right", ["/nowhere"], ["/nowhere"])
        self.assertIsNone(got["chosen"])
        self.assertIn("no NVIDIA driver for Vulkan here: no nvidia_icd*.json in /nowhere, and none of libGLX_nvidia.so.0", said)
        self.assertNotIn("VK_DRIVER_FILES", run.environment())
        got, _, said = self.choose("nothing works", [self.folder("nvidia_icd.json")], [])
        self.assertIn("is here but gives no device", said)

    def test_the_environments_choice_stays(self):
        self.set("VK_ICD_FILENAMES", "/mine.json")
        got, run, _ = self.choose("right", [self.folder("nvidia_icd.json")])
        self.assertEqual(got["chosen"], "by the environment")
        self.assertNotIn("VK_DRIVER_FILES", run.environment())

    def test_the_builders_cxx_library_only_where_needed(self):
        self.assertNotIn("/cxx", self.choose("right")[1].environment()["LD_LIBRARY_PATH"])
        self.assertIn("/cxx", self.choose("old")[1].environment()["LD_LIBRARY_PATH"])


class Report(Faked):
    def test_all_held(self):
        code, made, text = self.report()
        self.assertEqual(code, 0, text)
        self.assertEqual(made["failed"], [])
        self.assertEqual(made["revision"], "abc1234")
        for name in ("driver", "devices", "answers", "fused paths", "validation", "conformance", "end to end", "bench", "tune", "profile", "phases", "fused rules",
                     "conformance, validated"):
            self.assertIn("seconds", made["parts"][name], name)
            self.assertNotIn("error", made["parts"][name], name)
        self.assertEqual(made["parts"]["answers"]["fp16"]["of"], 10)
        self.assertEqual(len(made["parts"]["bench"]), 12 + 1)
        self.assertGreater(made["parts"]["conformance"]["passed"], 1)
        self.assertEqual(len(made["parts"]["end to end"]["models"]), 4)
        self.assertEqual(made["parts"]["profile"]["compiled"], 3)
        self.assertEqual(sorted(os.listdir(self.out)), ["gpu.json", "gpu.txt", "profile.html", "profile.json", "tuning.txt"])
        self.assertIn("all held", text)

    def test_what_is_wrong_is_named(self):
        of = {"fused paths": "fused_paths", "end to end": "end_to_end"}
        for fake, part, words in (("wrong", "answers", "fp16 differs by 4.00e-01"), ("fused", "fused paths", "int8 differs"),
                                  ("unfused", "fused paths", "attention in one dispatch is nowhere"), ("noisy", "validation", "VUID-something"),
                                  ("differs", "end to end", "hf-swin fp32: exit code 1, 9 of 60 values differ"),
                                  ("answers part", "end to end", "hf-swin fp16: exit code 1, 9 of 60 values differ, the answer by 0.3"), ("breaks", "tune", "the device was lost")):
            run = self.made_up(fake)
            with contextlib.redirect_stdout(io.StringIO()):
                run.part(part, getattr(run, of.get(part, part)), 1000)
            self.assertTrue([f for f in run.failed if f.startswith(part + ":") and words in f], (fake, run.failed))
        for fake, words in (("conformance", "Ops/Conformance.Linear/0"), ("crash", "exit code -11")):
            run = self.made_up(fake)
            with contextlib.redirect_stdout(io.StringIO()):
                got = run.gtest("conformance", "ops_conformance", 1000, 2)
            self.assertTrue([f for f in run.failed if f.startswith("conformance:") and words in f], (fake, run.failed))
            self.assertEqual(got["unfinished"], 0)

    def test_a_failure_hides_nothing_and_ends_with_1(self):
        code, made, text = self.report("wrong")
        self.assertEqual(code, 1)
        self.assertIn("seconds", made["parts"]["conformance, validated"], "the others go on")
        self.assertIn("fp16 differs by 4.00e-01", "".join(made["failed"]))
        self.assertIn("1 failures", text)

    def test_values_within_may_part_in_fp16(self):
        run = self.made_up("parts")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            got = run.end_to_end(1000)
        self.assertEqual(run.failed, [])
        self.assertIn("4 of 4 models and precisions agree with the CPU, 3 of them in every value", said.getvalue())
        self.assertEqual(got["models"]["hf-swin fp16"]["worst"], 0.4)

    def test_out_of_time_is_no_failure(self):
        run = self.made_up("slow")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            got = run.gtest("conformance", "ops_conformance", 0.5, 2)
        self.assertEqual((got["unfinished"], run.failed), (2, []))
        self.assertIn("2 of 2 shards ran out of time", said.getvalue())
        run = self.made_up("hangs")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            rows = run.bench(2.5)
        self.assertEqual((len(rows), run.failed), (12, []))
        self.assertTrue(all(row == {"out_of_time": True} for row in rows.values()))
        self.assertIn("out of time", said.getvalue())

        def late(_):
            raise gpu.OutOfTime
        with contextlib.redirect_stdout(io.StringIO()):
            run.part("answers", late)
        self.assertEqual((run.report["parts"]["answers"]["out_of_time"], run.failed), (True, []))

    def test_parts_without_time_are_left_out(self):
        # When the tuning is written, all but six of its seconds are over.
        code, made, text = self.report(budget=1e6, clock=lambda: 1e6 - 6 if os.path.exists(os.path.join(self.out, "tuning.txt")) else 0)
        self.assertEqual(code, 0, text)
        for name in ("profile", "phases", "fused rules", "conformance, validated"):
            self.assertTrue(made["parts"][name]["left_out"], name)
        self.assertIn("== profile: left out, no time", text)


if __name__ == "__main__":
    unittest.main()
