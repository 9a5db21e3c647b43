"""Vireo's C ABI (include/vireo/vireo.h) for the recipes: any checkpoint that Vireo opens, as a function of pictures.

    cmake -B build-so -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON && cmake --build build-so --target vireo

    teacher = Session("build-so/lib/libvireo.so", "models/fashion-vit", batch=32, threads=1)
    logits = teacher(pictures)  # uint8 [<= 32, height, width, 3], prepared as the checkpoint says: float32 [n, classes]
"""
import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_size_t, c_ssize_t, c_uint8, c_void_p

import numpy as np

LOGITS, FEATURES = 0, 1
PRECISIONS = {"fp32": 0, "fp16": 1, "int8": 2, "checkpoint": 3, "w8a8": 4}


class Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("message", ctypes.c_char * 1020)]


class Options(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("device", c_char_p), ("precision", c_int), ("head", c_int), ("batch", c_int),
                ("height", c_int), ("width", c_int), ("threads", c_int), ("cache_dir", c_char_p), ("latency_window", c_int),
                ("on_inference", c_void_p), ("user", c_void_p), ("on_log", c_void_p), ("weights", c_char_p), ("no_recompute", c_int)]


class Image(ctypes.Structure):
    _fields_ = [("rgb", POINTER(c_uint8)), ("width", c_int), ("height", c_int), ("stride", c_ssize_t)]


class Output(ctypes.Structure):
    _fields_ = [("data", POINTER(c_float)), ("batch", c_int), ("rows", c_int), ("cols", c_int), ("scores", c_int),
                ("device_kind", c_char_p), ("device_name", c_char_p), ("device_reason", c_char_p), ("ms", c_double),
                ("preprocess_ms", c_double)]


class Session:
    """A model that was opened. Raises RuntimeError with Vireo's own sentence."""

    def __init__(self, library, model, head=LOGITS, device="cpu", precision="checkpoint", batch=1, threads=0):
        lib = ctypes.CDLL(library)
        lib.vireo_options_init_sized.argtypes, lib.vireo_options_init_sized.restype = [POINTER(Options), c_size_t], None
        lib.vireo_open.argtypes = [c_char_p, POINTER(Options), POINTER(c_void_p), POINTER(Error)]
        lib.vireo_run_images.argtypes = [c_void_p, POINTER(Image), c_int, POINTER(Output), POINTER(Error)]
        lib.vireo_close.argtypes, lib.vireo_close.restype = [c_void_p], None
        lib.vireo_classes.argtypes = [c_void_p]
        lib.vireo_label.argtypes, lib.vireo_label.restype = [c_void_p, c_int], c_char_p
        self.lib, self.batch, self.session, self.error = lib, batch, c_void_p(), Error()
        options = Options()
        lib.vireo_options_init_sized(byref(options), ctypes.sizeof(Options))
        options.device, options.precision, options.head = device.encode(), PRECISIONS[precision], head
        options.batch, options.threads = batch, threads
        self.check(lib.vireo_open(model.encode(), byref(options), byref(self.session), byref(self.error)))
        self.labels = [lib.vireo_label(self.session, i).decode() for i in range(lib.vireo_classes(self.session))]

    def check(self, status):
        if status:
            raise RuntimeError(self.error.message.decode(errors="replace"))

    def __call__(self, pictures):
        """At most `batch` pictures; a last, smaller batch is filled with its first one and cut again."""
        n = len(pictures)
        rows = list(range(n)) + [0] * (self.batch - n)
        pictures = np.ascontiguousarray(pictures, np.uint8)
        images = (Image * self.batch)()
        for image, i in zip(images, rows):
            image.rgb = pictures[i].ctypes.data_as(POINTER(c_uint8))
            image.height, image.width, image.stride = pictures.shape[1], pictures.shape[2], 0
        out = Output()
        self.check(self.lib.vireo_run_images(self.session, images, self.batch, byref(out), byref(self.error)))
        y = np.ctypeslib.as_array(out.data, (out.batch, out.rows * out.cols))[:n]
        return y.copy()  # the memory is the session's until its next run

    def close(self):
        self.lib.vireo_close(self.session)
        self.session = c_void_p()
