#!/usr/bin/env python3
"""Draws aerial pictures of a flooded, damaged settlement, each with its label map: the data of the model in this folder.

    python3 scenes.py DIR --split test            # 200 scenes: DIR/test/NAME.jpg, DIR/testannot/NAME.png
    python3 scenes.py DIR --split val --limit 10

A scene is drawn from its seed alone and needs numpy and Pillow only. World coordinates are metres, z up; a pinhole camera
35 to 105 m above the ground looks down, tilted by up to 35 degrees. The ground (water, vegetation, bare ground, roads) is
computed per pixel from noise of the world, so that its texture follows height and tilt; shadows, debris, vehicles, buildings
and trees are polygons drawn over it, far ones first, the same ones into the picture and into the label map. Light, haze,
exposure, lens and sensor come last. A pixel's label is the class of what is drawn there last:

    0 water             flood and swimming pools
    1 debris            heaps of planks, slabs and rubbish on ground, road and water
    2 building          roof and walls of one that stands
    3 road              with its pavement, markings, mud and cracks
    4 damaged building  roof holes, tarpaulins, missing roofs, collapsed ones
    5 vegetation        grass and trees
    6 vehicle           cars, vans, trucks, boats
    7 bare ground

The order is one in which the colours of Vireo's overlays suit the classes.
"""
import argparse
import io
import math
import os
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from brushes import CARS, GROUND, ROAD, ROOFS, VEGETATION, WALLS, WATER, Brushes, blob, jitter, pick, rectangle

SIZE = (384, 512)
SPLITS = {"train": (1000000, 1000), "val": (2000000, 50), "test": (3000000, 200)}  # first seed, scenes


# ------------------------------------------------------------------- noise

def fractal(rng, power, n=512):
    """Periodic noise of spectrum 1/f^power, mean 0, deviation 1."""
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]) * n
    f[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((n, n))) / f ** power
    spectrum[0, 0] = 0
    x = np.fft.irfft2(spectrum, (n, n))
    return (x / x.std()).astype(np.float32)


class Noise:
    """Noise fields over the world, each use of its own place and direction."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.fields = {power: fractal(rng, power) for power in (0.6, 1.2, 2.0)}

    def __call__(self, rng, x, y, period, power=1.2, smooth=False, stretch=1.0):
        a, ox, oy = rng.uniform(0, 2 * math.pi), np.float32(rng.uniform(0, 512)), np.float32(rng.uniform(0, 512))
        s, c = np.float32(512 / period * math.sin(a)), np.float32(512 / period * math.cos(a))
        size, step = x.shape, (4 if power == 2.0 else 2) if smooth else 1  # smooth ones are enlarged from a coarser grid
        x, y = x[::step, ::step], y[::step, ::step]
        u, v = x * c + y * s + ox, (y * c - x * s) * np.float32(stretch) + oy
        field = self.fields[power]
        iu, iv = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
        if not smooth:
            return field[iv & 511, iu & 511]
        fu, fv = u - iu, v - iv
        iu0, iu1, iv0, iv1 = iu & 511, (iu + 1) & 511, iv & 511, (iv + 1) & 511
        top = field[iv0, iu0] * (1 - fu) + field[iv0, iu1] * fu
        coarse = top * (1 - fv) + (field[iv1, iu0] * (1 - fu) + field[iv1, iu1] * fu) * fv
        return np.array(Image.fromarray(coarse).resize(size[::-1], Image.BILINEAR))


NOISE = None


class Dice:
    """The few draws a scene needs, from Python's generator: numpy's takes ten times as long for a single number."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.random, self.uniform, self.normal = self.r.random, self.r.uniform, self.r.gauss

    def integers(self, low, high=None):
        low, high = (0, low) if high is None else (low, high)
        return low + int(self.r.random() * (high - low))

    def choice(self, values):
        return values[self.integers(len(values))]


# ------------------------------------------------------------------- the camera

class Camera:
    def __init__(self, rng, size):
        self.h, self.w = size
        self.height = 35 * 3 ** rng.uniform(0, 1)
        tilt = math.radians(rng.uniform(0, 35) if rng.random() < 0.75 else 0)
        roll = math.radians(rng.normal(0, 3))
        self.f = self.w / 2 / math.tan(math.radians(rng.uniform(52, 70)) / 2)
        forward = np.array([0, math.sin(tilt), -math.cos(tilt)])
        right, down = np.array([1.0, 0, 0]), np.array([0, -math.cos(tilt), -math.sin(tilt)])
        self.axes = np.stack([math.cos(roll) * right + math.sin(roll) * down,
                              math.cos(roll) * down - math.sin(roll) * right, forward])
        self.place = np.array([0, -self.height * math.tan(tilt), self.height])

        self.numbers = [tuple(float(v) for v in a) for a in (*self.axes, self.place)]

    def project(self, points):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz), (ox, oy, oz) = self.numbers
        out = []
        for x, y, z in points:
            x, y, z = x - ox, y - oy, z - oz
            k = self.f / max(1.0, cx * x + cy * y + cz * z)
            out.append((self.w / 2 + k * (ax * x + ay * y + az * z), self.h / 2 + k * (bx * x + by * y + bz * z)))
        return out

    def scale(self, point):
        """Pixels per metre at a point."""
        c, o = self.numbers[2:]
        return self.f / max(1.0, sum((p - q) * n for p, q, n in zip(point, o, c)))

    def ground(self):
        """World x and y that every pixel sees, and the distance."""
        u, v = np.meshgrid((np.arange(self.w) + 0.5 - self.w / 2) / self.f, (np.arange(self.h) + 0.5 - self.h / 2) / self.f)
        d = u[..., None] * self.axes[0] + v[..., None] * self.axes[1] + self.axes[2]
        t = -self.place[2] / np.minimum(d[..., 2], -0.05)
        return ((self.place[0] + t * d[..., 0]).astype(np.float32), (self.place[1] + t * d[..., 1]).astype(np.float32),
                (t * np.linalg.norm(d, axis=2)).astype(np.float32))


# ------------------------------------------------------------------- the scene

class Road:
    def __init__(self, rng, x, y, angle, width, kind):
        self.x, self.y, self.angle, self.width, self.kind = x, y, angle, width, kind
        self.amplitude = rng.uniform(0, 5) * (rng.random() < 0.5)
        self.wave, self.phase = rng.uniform(18, 40), rng.uniform(0, 6)
        self.pavement = rng.uniform(1.2, 2.2) if kind != "dirt" and rng.random() < 0.5 else 0.0

    def local(self, x, y):
        """Along and across."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        along = (x - self.x) * c + (y - self.y) * s
        return along, (y - self.y) * c - (x - self.x) * s - self.amplitude * np.sin(along / self.wave + self.phase)

    def world(self, along, across):
        c, s = math.cos(self.angle), math.sin(self.angle)
        across = across + self.amplitude * math.sin(along / self.wave + self.phase)
        turn = math.atan(self.amplitude / self.wave * math.cos(along / self.wave + self.phase))
        return self.x + along * c - across * s, self.y + along * s + across * c, self.angle + turn


class Scene(Brushes):
    def __init__(self, seed, size=SIZE):
        global NOISE
        NOISE = NOISE or Noise()
        self.rng = rng = Dice(seed)
        self.camera = Camera(rng, size)
        self.sunny = rng.random() < 0.65
        azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(28, 65))
        flat = math.cos(elevation)
        self.sun = np.array([math.cos(azimuth) * flat, math.sin(azimuth) * flat, math.sin(elevation)])
        self.damage = rng.choice([0.15, 0.4, 0.6, 0.8])
        self.reach = 0.62 * self.camera.height * self.camera.w / self.camera.f + 10
        self.ground()
        self.image = Image.fromarray(np.clip(self.colour, 0, 255).astype(np.uint8))
        self.label = Image.fromarray(self.classes)
        self.pen, self.mark = ImageDraw.Draw(self.image), ImageDraw.Draw(self.label)
        self.settle()
        self.draw()
        self.finish()

    # ---- what the ground is

    def ground(self):
        rng, cam = self.rng, self.camera
        x, y, self.distance = cam.ground()
        self.xy = x, y
        grain = NOISE(rng, x, y, 40, 0.6)
        rough = NOISE(rng, x, y, 90, 1.2, smooth=True)
        self.grain = grain
        # Bare ground, and grass where another noise is high; between them a ragged border.
        soil = ([(158, 134, 104), (139, 117, 92), (170, 152, 124), (126, 112, 98), (150, 118, 90)][rng.integers(5)])
        soil = np.array(jitter(rng, soil, 8), np.float32)
        colour = soil + (10 * rough + 6 * grain)[..., None] * np.array([1, 0.95, 0.85], np.float32)
        classes = np.full(x.shape, GROUND, np.uint8)
        green = NOISE(rng, x, y, rng.uniform(140, 320), 2.0, smooth=True) + 0.12 * NOISE(rng, x, y, 60, 1.2, smooth=True)
        grass = green > np.quantile(green, rng.uniform(0.25, 0.75))
        leaf = np.array(pick(rng, [(92, 112, 62), (110, 122, 70), (76, 100, 56), (124, 126, 78)], 8), np.float32)
        tufts = NOISE(rng, x, y, 30, 0.6)
        meadow = leaf + (9 * rough + 10 * tufts)[..., None] * np.array([0.9, 1, 0.6], np.float32)
        colour[grass], classes[grass] = meadow[grass], VEGETATION
        # Roads: a main one near the middle and others across it or beside it.
        angle, n = rng.uniform(0, math.pi), rng.choice([1, 2, 2, 3])
        kinds = ["asphalt", "asphalt", "asphalt", "concrete", "dirt"]
        self.roads = []
        for i in range(n):
            a = angle + (0 if i == 0 else math.pi / 2 if rng.random() < 0.7 else rng.normal(0, 0.3))
            off = rng.uniform(-0.35, 0.35) * self.reach if i == 0 else rng.uniform(-0.7, 0.7) * self.reach
            self.roads.append(Road(rng, -off * math.sin(a), off * math.cos(a), a, rng.uniform(5, 9.5), kinds[rng.integers(5)]))
        height = NOISE(rng, x, y, rng.uniform(250, 500), 2.0, smooth=True) + 0.08 * rough
        patches = NOISE(rng, x, y, 70, 1.2, smooth=True)
        for road in reversed(self.roads):
            self.pave(road, x, y, colour, classes, height, patches)
        # Flood: all below a level, deeper water hides more of the ground.
        level = np.quantile(height, rng.uniform(0.1, 0.6)) if rng.random() < 0.75 else -1e9
        depth = level - height
        self.wet = depth > 0
        mud = np.array(pick(rng, [(128, 110, 84), (104, 96, 78), (86, 98, 92), (70, 86, 96), (120, 104, 74)], 7), np.float32)
        ripple = NOISE(rng, x, y, 22, 1.2, stretch=0.4)
        swell = NOISE(rng, x, y, 160, 2.0, smooth=True, stretch=0.5)
        sky = np.array([190, 200, 212], np.float32)
        up = (np.arange(cam.h, dtype=np.float32)[:, None] / cam.h - 0.5)
        glance = np.clip(0.16 + 0.10 * swell - 0.25 * up, 0, 0.6)[..., None]
        water = (mud + (2.5 * ripple + 3 * swell)[..., None]) * (1 - glance) + sky * glance
        if self.sunny and rng.random() < 0.5:
            water += (np.clip(ripple - 2.2, 0, 1) * 120)[..., None]
        clear = np.exp(-np.maximum(depth, 0) * rng.uniform(12, 40))[..., None] * 0.75
        shallow = colour * clear * 0.8 + water * (1 - clear)
        bank = np.clip(1 + depth * 14, 0, 1)[..., None] * (~self.wet)[..., None]  # the ground beside it is wet and dark
        colour = np.where(self.wet[..., None], shallow, colour * (1 - 0.28 * bank))
        classes[self.wet] = WATER
        self.colour, self.classes = colour, classes
        self.height, self.level = height, level

    def pave(self, road, x, y, colour, classes, height, patches):
        rng = self.rng
        along, across = road.local(x, y)
        side, half = np.abs(across), road.width / 2
        tone = {"asphalt": rng.uniform(72, 110), "concrete": rng.uniform(145, 175), "dirt": 138}[road.kind]
        base = np.array(jitter(rng, (150, 138, 122), 6) if road.kind == "dirt" else (tone, tone, 1.02 * tone), np.float32)
        edge = side + 0.25 * patches * (2.5 if road.kind == "dirt" else 0.6)
        strip = edge < half + road.pavement
        surface = base + (5 * patches + 4 * self.grain)[..., None] - (np.exp(-(side - half * 0.5) ** 2 / 0.5) * 7)[..., None]
        if road.pavement:
            slab = (edge >= half)[..., None]
            surface = np.where(slab, 165 + 4 * self.grain[..., None] - 14 * ((along % 1.8) < 0.15)[..., None], surface)
            surface[np.abs(side - half) < 0.12] = 190
        if road.kind == "asphalt" and rng.random() < 0.85:
            paint = (side < 0.12) & ((along % 6) < 3.2) | (np.abs(side - half + 0.45) < 0.08)
            surface[paint & (patches > -1.2)] = rng.uniform(180, 215)
        cracks = np.abs(NOISE(rng, x, y, 60, 1.2, smooth=True)) < 0.03
        surface[cracks] *= 0.8
        dirty = np.clip(NOISE(rng, x, y, 120, 2.0, smooth=True) - rng.uniform(0.6, 1.8), 0, 0.6)[..., None]
        surface = surface * (1 - dirty) + np.array([140, 118, 92], np.float32) * dirty
        colour[strip], classes[strip] = surface[strip], ROAD
        height += np.exp(-np.maximum(side - half, 0) ** 2 / 30) * rng.uniform(0, 0.5)  # roads lie on low dams

    def flooded(self, x, y):
        u, v = self.camera.project([(x, y, 0.0)])[0]
        i, j = int(v), int(u)
        return 0 <= i < self.camera.h and 0 <= j < self.camera.w and bool(self.wet[i, j])

    # ---- what stands on it

    def settle(self):
        rng = self.rng
        self.things = []  # (x, y, how to draw)
        self.heaps, self.houses, self.shades = [], [], []
        density = rng.choice([0.35, 0.6, 0.85])
        for road in self.roads:
            for way in (-1, 1):
                along = -self.reach * 1.5 + rng.uniform(0, 15)
                while along < self.reach * 1.5:
                    length, width = rng.uniform(8, 17), rng.uniform(7, 12)
                    along += length / 2
                    setback = road.width / 2 + road.pavement + rng.uniform(2, 8) + width / 2
                    x, y, a = road.world(along, way * setback)
                    if rng.random() < density:
                        self.house(x, y, a + rng.normal(0, 0.06), length, width)
                    along += length / 2 + rng.uniform(2.5, 14)
        for _ in range(rng.integers(0, 5)):
            x, y = (rng.uniform(-1, 1) * self.reach for _ in "xy")
            self.house(x, y, rng.uniform(0, math.pi), rng.uniform(6, 20), rng.uniform(5, 13))
        for road in self.roads:
            for _ in range(rng.integers(1, 8)):
                lane = rng.choice([-1, 1])
                x, y, a = road.world(rng.uniform(-1, 1) * self.reach, lane * (road.width / 4 + rng.normal(0, 0.3)))
                self.vehicle(x, y, a + (rng.normal(0, 0.05) if rng.random() < 0.7 else rng.uniform(-1.5, 1.5)))
            if rng.random() < 0.5 * self.damage + 0.2:
                x, y, _ = road.world(rng.uniform(-1, 1) * self.reach, rng.uniform(-1, 1) * road.width / 2)
                self.heaps.append((x, y, rng.uniform(1.5, 5)))
        for _ in range(rng.integers(0, 6)):
            x, y = (rng.uniform(-1, 1) * self.reach for _ in "xy")
            if self.free(x, y, 3):
                self.vehicle(x, y, rng.uniform(0, 6))
        for _ in range(rng.integers(1, 5)):
            x, y = (rng.uniform(-1, 1) * self.reach for _ in "xy")
            self.heaps.append((x, y, rng.uniform(1.5, 6)))
        wood = rng.choice([4, 14, 30])
        for _ in range(wood):
            x, y = (rng.uniform(-1.1, 1.1) * self.reach for _ in "xy")
            for _ in range(rng.integers(1, 5)):
                self.tree(x + rng.normal(0, 3.5), y + rng.normal(0, 3.5))

    def free(self, x, y, radius, roads=True):
        if roads and any(abs(r.local(x, y)[1]) < r.width / 2 + r.pavement + radius for r in self.roads):
            return False
        return all((x - h[0]) ** 2 + (y - h[1]) ** 2 > (radius + h[2]) ** 2 for h in self.houses)

    def house(self, x, y, angle, length, width):
        rng = self.rng
        corners = rectangle(x, y, angle, length, width)
        if not self.free(x, y, 0.45 * width) or not all(self.free(a, b, 0.3) for a, b in corners):
            return
        if any((x - h[0]) ** 2 + (y - h[1]) ** 2 < (0.5 * length + h[2] + 1) ** 2 for h in self.houses):
            return
        self.houses.append((x, y, 0.5 * length))
        wide = length * width > 150
        roof = "flat" if rng.random() < (0.6 if wide else 0.25) else ("gable" if rng.random() < 0.65 else "hip")
        tall = rng.uniform(2.6, 4) if not wide or rng.random() < 0.6 else rng.uniform(5, 11)
        if self.flooded(x, y):
            tall -= rng.uniform(0.3, 1.2)
        b = dict(x=x, y=y, angle=angle, length=length, width=width, tall=tall, roof=roof, rise=rng.uniform(0.15, 0.35) * width,
                 tiles=pick(rng, ROOFS), wall=pick(rng, WALLS), damage=None)
        if rng.random() < self.damage:
            b["damage"] = ["holes", "holes", "roofless", "collapsed"][rng.integers(4)]
            for _ in range(rng.integers(1, 4)):
                r, a = rng.uniform(0.5, 0.9) * length, rng.uniform(0, 6.3)
                self.heaps.append((x + r * math.cos(a), y + r * math.sin(a), rng.uniform(1.2, 4)))
        flat = 0.8 if b["damage"] == "collapsed" else tall + (0 if roof == "flat" else 0.5 * b["rise"])
        self.shade(rectangle(x, y, angle, length, width), flat)
        self.things.append((x, y, lambda: self.draw_house(b)))
        if b["damage"] is None and rng.random() < 0.08:
            a, r = angle + math.pi / 2, width / 2 + 5
            self.pool(rectangle(x + r * math.cos(a), y + r * math.sin(a), angle, rng.uniform(5, 9), rng.uniform(3, 4.5)))
        if rng.random() < 0.5:  # a car beside it, a tree behind it
            a = angle + rng.choice([0, math.pi])
            r = length / 2 + 2
            self.vehicle(x + r * math.cos(a), y + r * math.sin(a), angle + math.pi / 2 + rng.normal(0, 0.1))
        for _ in range(rng.integers(0, 3)):
            a, r = rng.uniform(0, 6.3), 0.5 * length + rng.uniform(2, 5)
            self.tree(x + r * math.cos(a), y + r * math.sin(a))

    def pool(self, corners):
        rng = self.rng
        if not any(self.flooded(x, y) for x, y in corners) and all(self.free(x, y, 0.5) for x, y in corners):
            self.fill([(x, y, 0) for x, y in corners], (200, 196, 188), WATER)
            cx, cy = np.mean(corners, 0)
            inner = [(cx + 0.88 * (x - cx), cy + 0.85 * (y - cy), 0) for x, y in corners]
            self.fill(inner, jitter(rng, (70, 160, 185), 12), WATER)

    def vehicle(self, x, y, angle):
        rng = self.rng
        wet = self.flooded(x, y)
        kind = rng.random()
        size = (4.4, 1.85, 1.45) if kind < 0.75 else (5.6, 2.1, 2.1) if kind < 0.9 else (8.5, 2.5, 3.0)
        size = tuple(v * rng.uniform(0.92, 1.12) for v in size)
        boat = wet and rng.random() < 0.6
        if wet and not boat:
            size = (size[0], size[1], size[2] * 0.7)
        self.shade(rectangle(x, y, angle, size[0], size[1]), 0.5 if boat else size[2])
        colour = pick(rng, CARS, 8)
        if boat:
            self.things.append((x, y, lambda: self.draw_boat(x, y, angle)))
        else:
            self.things.append((x, y, lambda: self.draw_car(x, y, angle, size, colour)))

    def tree(self, x, y):
        rng = self.rng
        radius = rng.uniform(1.3, 3.8)
        if not self.free(x, y, radius * 0.5):
            return
        tall = radius * rng.uniform(1.3, 2.2)
        self.shade(blob(rng, x, y, radius, 10, 0.2), tall)
        tone = jitter(rng, [(62, 86, 44), (78, 98, 50), (52, 76, 46), (96, 104, 60)][rng.integers(4)], 8)
        self.things.append((x, y, lambda: self.draw_tree(x, y, radius, tall, tone)))

    def shade(self, outline, tall):
        self.shades.append((outline, tall))

    # ---- light, air, lens and sensor

    def finish(self):
        rng, cam = self.rng, self.camera
        x = np.asarray(self.image, np.float32)
        x = x * (1 + 0.035 * self.grain[..., None])
        haze = (1 - np.exp(-self.distance * np.float32(rng.uniform(0, 0.18) / cam.height)))[..., None]
        x = x * (1 - haze) + np.array([196, 204, 212], np.float32) * haze
        warm = rng.normal(0, 0.05) + (0.03 if self.sunny else -0.02)
        x = x * (np.array([1 + warm, 1, 1 - warm], np.float32) * np.float32(rng.uniform(0.78, 1.22)))
        x = (x - 115) * rng.uniform(0.82, 1.2) + 115
        yy, xx = np.mgrid[-1:1:cam.h * 1j, -1:1:cam.w * 1j]
        x = x * (1 - rng.uniform(0, 0.11) * (xx ** 2 + yy ** 2)).astype(np.float32)[..., None]
        image = Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.45, 0.95)))
        noise = np.random.default_rng(rng.integers(1 << 30))
        x = np.asarray(image, np.float32) + rng.uniform(1, 6) * noise.standard_normal((cam.h, cam.w, 1), np.float32)
        x += 1.5 * noise.standard_normal((cam.h, cam.w, 3), np.float32)
        self.image = Image.fromarray(np.clip(x + 0.5, 0, 255).astype(np.uint8))


def jpeg(image, quality=90):
    f = io.BytesIO()
    image.save(f, "JPEG", quality=quality)
    return f.getvalue()


def palette():
    """Colours of the label maps, for looking at them (those of Vireo's overlays); what counts is the index."""
    return [0x5E, 0xA9, 0xFF, 0x60, 0x05, 0x51, 0xFC, 0xF1, 0x42, 0x72, 0x87, 0x7B,
            0xA6, 0x4C, 0x9A, 0x00, 0x4F, 0x32, 0xDC, 0x99, 0x0F, 0xA1, 0x8D, 0x5A]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("folder")
    p.add_argument("--split", choices=sorted(SPLITS), default="test")
    p.add_argument("--limit", type=int, help="the first scenes only")
    o = p.parse_args()
    first, n = SPLITS[o.split]
    pictures, labels = os.path.join(o.folder, o.split), os.path.join(o.folder, o.split + "annot")
    os.makedirs(pictures, exist_ok=True)
    os.makedirs(labels, exist_ok=True)
    for i in range(min(n, o.limit or n)):
        scene = Scene(first + i)
        with open(os.path.join(pictures, "%04d.jpg" % i), "wb") as f:
            f.write(jpeg(scene.image))
        scene.label.putpalette(palette())
        scene.label.save(os.path.join(labels, "%04d.png" % i), optimize=True)


if __name__ == "__main__":
    main()
