"""What the recipes of this folder share: a progress line, and whether bfloat16 products are worth it on this CPU."""
import sys
import time


def multiplies_bfloat16():
    """Whether the CPU has instructions for it (AVX512_BF16 or AMX); elsewhere PyTorch's bfloat16 is slower than float32."""
    try:
        with open("/proc/cpuinfo") as f:
            flags = next((line.split() for line in f if line.startswith("flags")), [])
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line every half minute."""

    def __init__(self, title):
        self.title, self.start, self.last, self.terminal = title, time.time(), 0.0, sys.stderr.isatty()

    def __call__(self, part, text, spent=None):
        now = time.time()
        if part < 1 and now - self.last < (0.2 if self.terminal else 30):
            return
        self.last = now
        spent = now - self.start if spent is None else spent
        left = spent * (1 - part) / max(part, 1e-6)
        bar = "#" * int(20 * part) + "." * (20 - int(20 * part))
        line = "%s [%s] %3d %%  %s left  %s" % (self.title, bar, 100 * part, "%d:%02d" % divmod(int(left), 60), text)
        sys.stderr.write(("\r" + line + "\x1b[K" if self.terminal else line + "\n") + ("\n" if self.terminal and part >= 1 else ""))
        sys.stderr.flush()
