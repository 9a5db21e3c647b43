#!/usr/bin/env python3
"""Do full-size models agree with PyTorch? Random weights from tests/oracle, one picture's pixels, Vireo's logits on every device
beside the oracle's in double precision; the largest difference is printed as a part of the largest expected value.

Usage: agree.py [NAME ...] [--device cpu] [--device vulkan] [--work DIR] [--server PATH]
  NAME      as tests/oracle/cases.py --full takes it; default: swin_t swin_v2_t upernet-mobilevit-s
  --device  default: cpu, then vulkan (the loader's first device; VK_ICD_FILENAMES chooses the driver)
  --work    where the models go, a folder each; default: a temporary folder
  --server  compare_server (`cmake -DVIREO_BUILD_BENCH=ON`, then build that target); default: build/bin/compare_server
Exit code: 0 all within 5e-5 (what the test cases of tests/golden/cases allow), 1 a difference, 2 something is missing or failed.
Needs torch, numpy and Pillow.
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
LIMIT = 5e-5


def die(text):
    print("agree.py: " + text, file=sys.stderr)
    sys.exit(2)


try:
    import numpy as np
    import torch
    from PIL import Image
except ImportError as missing:
    die(f"{missing}; needs python3-torch, python3-numpy and python3-pil")
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
import cases  # noqa: E402


def prepare(name, folder):
    """Writes the model and its pixels to `folder`; the oracle's logits, and those of PyTorch in single precision."""
    config, processor = cases.full_config(name)
    cases.full(name, folder, 1, False)
    model = cases.build(config).eval()
    state = cases.read_safetensors(os.path.join(folder, "model.safetensors"))
    own = model.state_dict()
    model.load_state_dict({n: torch.as_tensor(np.array(state[n])) if n in state else own[n] for n in own})
    pixels = cases.preprocess(Image.open(os.path.join(folder, "0.png")).convert("RGB"), processor).float()
    pixels.numpy().astype(np.float32).tofile(os.path.join(folder, "input.f32"))
    with torch.no_grad():
        single = model(pixels).double().numpy()
        return model.double()(pixels.double()).numpy(), single


def answer(server, folder, device):
    """Vireo's logits of the pixels, flat, and the device's name."""
    out = os.path.join(folder, device + ".f32")
    done = subprocess.run([server, folder, os.path.join(folder, "input.f32"), "0", "fp32", "1", device],
                          input=f"run 1\noutput {out}\nplan\n", stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        die(f"no answer of {folder} on {device}; the message is above")
    return np.fromfile(out, np.float32).astype(np.float64), done.stdout.splitlines()[-1]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("names", nargs="*", metavar="NAME")
    a.add_argument("--device", action="append", choices=("cpu", "vulkan"))
    a.add_argument("--work")
    a.add_argument("--server", default=os.path.join(ROOT, "build", "bin", "compare_server"))
    o = a.parse_args()
    if not os.access(o.server, os.X_OK):
        die(f"there is no compare_server at '{o.server}'; configure with -DVIREO_BUILD_BENCH=ON and build it, or give --server PATH")
    work, worst = o.work or tempfile.mkdtemp(prefix="vireo-agree-"), 0.0
    for name in o.names or ("swin_t", "swin_v2_t", "upernet-mobilevit-s"):
        folder = os.path.join(work, name)
        expected, single = prepare(name, folder)
        largest = np.abs(expected).max()
        print(f"{name}: {expected.shape[1:]} logits, largest {largest:.3f}; PyTorch in fp32 differs by {np.abs(single - expected).max() / largest:.1e}")
        for device in o.device or ("cpu", "vulkan"):
            got, where = answer(o.server, folder, device)
            if got.size != expected.size:
                die(f"{name} on {where} gave {got.size} values, expected {expected.size}")
            # Of a map Vireo writes rows of pixels, PyTorch a plane per class.
            want = np.moveaxis(expected, 1, -1) if expected.ndim == 4 else expected
            difference = np.abs(got - want.ravel()).max() / largest
            worst = max(worst, difference if np.isfinite(difference) else np.inf)
            print(f"  {device:6}  {difference:.1e} of at most {LIMIT:.0e}  {'PASS' if difference <= LIMIT else 'MISS'}  ({where})", flush=True)
    sys.exit(1 if worst > LIMIT else 0)


if __name__ == "__main__":
    main()
