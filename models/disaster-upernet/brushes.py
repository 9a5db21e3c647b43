"""Brushes of scenes.py: faces, boxes, houses, heaps, vehicles and trees, drawn through the camera into the picture and, with
their class, into the label map."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ["water", "debris", "building", "road", "damaged building", "vegetation", "vehicle", "bare ground"]
WATER, DEBRIS, BUILDING, ROAD, DAMAGED, VEGETATION, VEHICLE, GROUND = range(8)

ROOFS = [(150, 75, 55), (120, 60, 48), (96, 92, 90), (130, 128, 125), (80, 70, 66), (165, 110, 80), (70, 88, 105),
         (175, 170, 160), (112, 95, 78), (90, 105, 92), (190, 186, 180), (140, 60, 60)]
WALLS = [(205, 198, 185), (185, 170, 145), (170, 165, 160), (150, 120, 100), (215, 210, 205), (160, 140, 120)]
CARS = [(225, 225, 225), (40, 42, 46), (130, 133, 138), (175, 178, 182), (165, 35, 32), (40, 66, 130), (215, 180, 45),
        (70, 90, 75), (120, 60, 40), (235, 235, 240)]
WOOD = [(150, 118, 85), (120, 92, 66), (176, 150, 118), (92, 74, 58)]
RUBBISH = [(200, 198, 194), (150, 146, 140), (105, 100, 96), (60, 58, 58), (170, 90, 70), (80, 110, 140)]


def jitter(rng, colour, amount=12):
    """A colour somewhat lighter or darker, with a little of another hue."""
    grey = rng.normal(0, amount)
    return tuple(min(255.0, max(0.0, c + grey + rng.normal(0, amount / 3))) for c in colour)


def shade(colour, times, plus=0):
    return tuple(c * times + plus for c in colour)


def pick(rng, colours, amount=10):
    return jitter(rng, colours[rng.integers(len(colours))], amount)


def rectangle(x, y, angle, length, width):
    angle, length, width = float(angle), float(length), float(width)
    c, s = math.cos(angle), math.sin(angle)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return [(x + c * a * length / 2 - s * b * width / 2, y + s * a * length / 2 + c * b * width / 2) for a, b in corners]


def blob(rng, x, y, radius, n=12, rough=0.3):
    phase, r = rng.uniform(0, 6), [radius * rng.uniform(1 - rough, 1 + rough) for _ in range(n)]
    turns = [phase + 2 * math.pi * i / n for i in range(n)]
    return [(x + k * math.cos(a), y + k * math.sin(a)) for k, a in zip(r, turns)]


class Brushes:
    """What a Scene draws with: its camera, sun, dice, and the pens of picture and label map."""

    def fill(self, points, colour, kind, light=1.0):
        p = self.camera.project(points)
        xs, ys = [q[0] for q in p], [q[1] for q in p]
        if max(xs) < -20 or min(xs) > self.camera.w + 20 or max(ys) < -20 or min(ys) > self.camera.h + 20:
            return
        self.pen.polygon(p, fill=tuple(int(min(255, max(0, c * light))) for c in colour))
        if kind is not None:
            self.mark.polygon(p, fill=kind)

    def line(self, a, b, colour, metres, kind=None):
        p = self.camera.project([a, b])
        wide = max(1, int(round(metres * self.camera.scale(a))))
        self.pen.line(p, fill=tuple(int(min(255, max(0, c))) for c in colour), width=wide)
        if kind is not None:
            self.mark.line(p, fill=kind, width=wide)

    def light(self, normal):
        """How bright a face is."""
        n = np.asarray(normal, float)
        facing = max(0.0, float(n @ self.sun)) / np.linalg.norm(n)
        return 0.62 + 0.55 * facing if self.sunny else 0.82 + 0.18 * n[2] / np.linalg.norm(n)

    def face(self, points, colour, kind):
        """A flat face, seen from outside only (counter-clockwise from there)."""
        p = np.asarray(points, float)
        n = np.cross(p[1] - p[0], p[2] - p[0])
        if n @ (self.camera.place - p[0]) > 0:
            self.fill(p, colour, kind, self.light(n))
            return True
        return False

    def box(self, x, y, angle, length, width, low, high, colour, kind, top=None):
        c = rectangle(x, y, angle, length, width)
        for i in range(4):
            (ax, ay), (bx, by) = c[i], c[(i + 1) % 4]
            self.face([(ax, ay, low), (bx, by, low), (bx, by, high), (ax, ay, high)], colour, kind)
        self.face([(a, b, high) for a, b in c], colour if top is None else top, kind)

    def draw(self):
        self.draw_shades()
        for heap in self.heaps:
            self.draw_heap(*heap)
        eye = self.camera.place
        for _, _, show in sorted(self.things, key=lambda t: -math.hypot(t[0] - eye[0], t[1] - eye[1])):
            show()

    def draw_shades(self):
        if not self.sunny:
            return
        mask = Image.new("L", self.image.size, 0)
        pen = ImageDraw.Draw(mask)
        throw = -self.sun[:2] / self.sun[2]
        for outline, tall in self.shades:
            moved = [(x + throw[0] * tall, y + throw[1] * tall) for x, y in outline]
            n = len(outline)
            quads = [[outline[i], outline[(i + 1) % n], moved[(i + 1) % n], moved[i]] for i in range(n)]
            for q in quads + [moved]:
                pen.polygon(self.camera.project([(x, y, 0) for x, y in q]), fill=255)
        dark = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
        shaded = np.asarray(self.image) * (1 - dark * (1 - np.array([0.45, 0.48, 0.55], np.float32)))
        self.image.paste(Image.fromarray(shaded.astype(np.uint8)))

    def pieces(self, where, n, colours, kind, low=0.3, high=1.6):
        """Planks and slabs lying about; where() gives a place (x, y, z)."""
        rng = self.rng
        for _ in range(n):
            x, y, z = where()
            long = rng.uniform(low, high)
            quad = rectangle(x, y, rng.uniform(0, math.pi), long, max(0.14, long * rng.uniform(0.15, 0.7)))
            quad = [(a, b, z + rng.uniform(0, 0.3)) for a, b in quad]
            self.fill(quad, pick(rng, colours, 14), kind, rng.uniform(0.65, 1.15))

    def draw_heap(self, x, y, radius):
        rng = self.rng
        stretch, turn = rng.uniform(0.5, 1), rng.uniform(0, math.pi)
        c, s = math.cos(turn), math.sin(turn)

        def place(r, a):
            u, v = r * math.cos(a), stretch * r * math.sin(a)
            return x + c * u - s * v, y + s * u + c * v

        outline = [place(radius * rng.uniform(0.75, 1.15), 2 * math.pi * i / 14) for i in range(14)]
        self.fill([(a, b, 0) for a, b in outline], jitter(rng, (98, 84, 70), 10), DEBRIS)

        def inside():
            return (*place(radius * math.sqrt(rng.uniform(0, 1)), rng.uniform(0, 6.3)), rng.uniform(0, 0.6))

        self.pieces(inside, int(20 + 9 * radius * radius * stretch), WOOD + RUBBISH, DEBRIS)

    def roof_faces(self, b):
        """Corner lists of the roof (counter-clockwise from outside) and of the gables."""
        c, s = math.cos(b["angle"]), math.sin(b["angle"])

        def at(u, v, z):
            return b["x"] + c * u - s * v, b["y"] + s * u + c * v, z

        l, w, t, top = b["length"] / 2, b["width"] / 2, b["tall"], b["tall"] + b["rise"]
        if b["roof"] == "flat":
            return [[at(-l, -w, t), at(l, -w, t), at(l, w, t), at(-l, w, t)]], []
        if b["roof"] == "gable":
            o, l = 0.4, l + 0.3
            low = t - o * b["rise"] / w
            return ([[at(-l, -w - o, low), at(l, -w - o, low), at(l, 0, top), at(-l, 0, top)],
                     [at(l, w + o, low), at(-l, w + o, low), at(-l, 0, top), at(l, 0, top)]],
                    [[at(l, -w, t), at(l, w, t), at(l, 0, top)], [at(-l, w, t), at(-l, -w, t), at(-l, 0, top)]])
        k = max(0.5, l - w)
        return [[at(-l, -w, t), at(l, -w, t), at(k, 0, top), at(-k, 0, top)],
                [at(l, w, t), at(-l, w, t), at(-k, 0, top), at(k, 0, top)],
                [at(l, -w, t), at(l, w, t), at(k, 0, top), at(k, 0, top)],
                [at(-l, w, t), at(-l, -w, t), at(-k, 0, top), at(-k, 0, top)]], []

    def draw_house(self, b):
        rng = self.rng
        kind = BUILDING if b["damage"] is None else DAMAGED
        x, y, angle, l, w, t = (b[k] for k in ("x", "y", "angle", "length", "width", "tall"))
        if b["damage"] == "collapsed":
            return self.draw_ruin(b)
        corners = rectangle(x, y, angle, l, w)
        for i in range(4):
            (ax, ay), (bx, by) = corners[i], corners[(i + 1) % 4]
            shown = self.face([(ax, ay, 0), (bx, by, 0), (bx, by, t), (ax, ay, t)], b["wall"], kind)
            if shown:
                n = max(1, int(math.hypot(bx - ax, by - ay) / 3))
                for k in range(n):
                    for z in np.arange(1.0, t - 1.2, 2.8):
                        p, q = (k + 0.3) / n, (k + 0.62) / n
                        frame = ((p, 0), (q, 0), (q, 1.1), (p, 1.1))
                        quad = [(ax + (bx - ax) * f, ay + (by - ay) * f, z + h) for f, h in frame]
                        self.fill(quad, (58, 62, 70), None)
        if b["damage"] == "roofless":
            return self.draw_open(b, corners)
        faces, gables = self.roof_faces(b)
        for g in gables:
            self.face(g, b["wall"], kind)
        eye = self.camera.place
        for f in sorted(faces, key=lambda f: -np.linalg.norm(np.mean(f, 0) - eye)):
            if not self.face(f, b["tiles"], kind):
                continue
            p = np.asarray(f, float)
            n = np.cross(p[1] - p[0], p[2] - p[0])
            bright = self.light(n)
            rows = 7 if b["roof"] != "flat" else 3
            for k in range(1, rows):  # rows of tiles or sheets
                q = k / rows
                tone = shade(b["tiles"], bright * rng.uniform(0.86, 0.97))
                self.line(p[0] + (p[3] - p[0]) * q, p[1] + (p[2] - p[1]) * q, tone, 0.12)
            if b["damage"]:
                self.draw_holes(b, p, bright)
        if b["roof"] == "flat" and faces:
            for i in range(4):
                (ax, ay), (bx, by) = corners[i], corners[(i + 1) % 4]
                self.line((ax, ay, t), (bx, by, t), shade(b["wall"], 1.05), 0.35, kind)
            if b["damage"] is None:
                c, s = math.cos(angle), math.sin(angle)
                for _ in range(rng.integers(0, 5)):
                    u, v = rng.uniform(-0.35, 0.35) * l, rng.uniform(-0.35, 0.35) * w
                    long, wide = rng.uniform(0.8, 2.2), rng.uniform(0.8, 1.6)
                    self.box(x + c * u - s * v, y + s * u + c * v, angle, long, wide, t, t + 0.9,
                             pick(rng, [(170, 170, 170), (205, 205, 205), (120, 122, 126)]), kind)
        elif b["damage"] is None and rng.random() < 0.5:  # a chimney
            c, s = math.cos(angle), math.sin(angle)
            u = rng.uniform(-0.3, 0.3) * l
            self.box(x + c * u, y + s * u, angle, 0.9, 0.7, t, t + b["rise"] + 0.6, (120, 84, 70), kind)

    def draw_holes(self, b, p, bright):
        """A roof face with its covering gone in places, rafters in the holes, perhaps a tarpaulin."""
        rng = self.rng

        def on(u, v):
            low, high = p[0] + (p[1] - p[0]) * u, p[3] + (p[2] - p[3]) * u
            return low + (high - low) * v

        wide, deep = np.linalg.norm(p[1] - p[0]), max(1.0, np.linalg.norm((p[3] + p[2] - p[0] - p[1]) / 2))
        for _ in range(rng.integers(1, 3 if b["roof"] == "flat" else 4)):
            u, v, r = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.22, 0.5) * min(wide, deep)
            phase, n = rng.uniform(0, 6), 11
            turns = [phase + 6.283 * i / n for i in range(n)]
            rim = [(u + r * rng.uniform(0.5, 1.3) / wide * math.cos(a), v + r * rng.uniform(0.5, 1.3) / deep * math.sin(a))
                   for a in turns]
            rim = [(min(1, max(0, a)), min(1, max(0, c))) for a, c in rim]
            self.fill([on(a, c) for a, c in rim], shade(b["tiles"], 0.6, 25), DAMAGED, bright)
            self.fill([on(u + 0.86 * (a - u), v + 0.86 * (c - v)) for a, c in rim], jitter(rng, (52, 46, 42), 8), DAMAGED)
            reach = r / wide
            for a in np.arange(u - reach, u + reach, 0.7 / wide):  # rafters
                if 0 < a < 1 and rng.random() < 0.8:
                    half = 0.75 * r / deep * math.sqrt(max(0, 1 - ((a - u) / reach) ** 2))
                    self.line(on(a, max(0, v - half)), on(a, min(1, v + half)), pick(rng, WOOD), 0.18)

            def inside():
                a, c = u + rng.normal(0, 0.7) * r / wide, v + rng.normal(0, 0.7) * r / deep
                return on(min(1, max(0, a)), min(1, max(0, c)))

            self.pieces(inside, int(6 + r * r), WOOD + RUBBISH + [b["tiles"]], DAMAGED, 0.3, 1.4)
        if rng.random() < 0.25:
            u, v = rng.uniform(0, 0.6), rng.uniform(0, 0.5)
            du, dv = rng.uniform(0.2, 0.4), rng.uniform(0.3, 0.5)
            sheet = [on(u, v), on(u + du, v + 0.03), on(u + du - 0.02, v + dv), on(u + 0.02, v + dv)]
            self.fill(sheet, jitter(rng, (45, 90, 165), 12), DAMAGED, bright)

    def draw_open(self, b, corners):
        """Walls without a roof: floor, partitions, what fell in, and what is left of the roof."""
        rng, t = self.rng, b["tall"]
        centre = np.mean(corners, 0)
        self.fill([(x, y, t) for x, y in corners], jitter(rng, (92, 84, 76), 10), DAMAGED)

        def within(f=0.9):
            u, v = (rng.uniform(-f, f) / 2 for _ in "uv")
            c, s = math.cos(b["angle"]), math.sin(b["angle"])
            u, v = u * b["length"], v * b["width"]
            return b["x"] + c * u - s * v, b["y"] + s * u + c * v, 0.3 * t

        self.pieces(within, int(b["length"] * b["width"] * 0.55), WOOD + RUBBISH + [b["tiles"]] * 3, DAMAGED, 0.4, 2.0)
        for i in range(4):
            (ax, ay), (bx, by) = corners[i], corners[(i + 1) % 4]
            if rng.random() < 0.8:
                self.line((ax, ay, t), (bx, by, t), shade(b["wall"], 1.05), 0.4, DAMAGED)
            f = rng.uniform(0.3, 0.7)
            if i < 2:
                (cx, cy), (dx, dy) = corners[(i + 2) % 4], corners[(i + 3) % 4]
                self.line((ax + (bx - ax) * f, ay + (by - ay) * f, t), (dx + (cx - dx) * f, dy + (cy - dy) * f, t),
                          b["wall"], 0.3)
        if rng.random() < 0.6:
            k = rng.integers(4)
            quad = [corners[k], corners[(k + 1) % 4]]
            f = rng.uniform(0.25, 0.45)
            quad += [tuple(np.add(quad[1], f * np.subtract(corners[(k + 2) % 4], quad[1]))),
                     tuple(c + rng.normal(0, 0.6) for c in centre),
                     tuple(np.add(quad[0], f * np.subtract(corners[(k + 3) % 4], quad[0])))]
            self.fill([(x, y, t + 0.4) for x, y in quad], b["tiles"], DAMAGED, rng.uniform(0.8, 1.1))

    def draw_ruin(self, b):
        """A collapsed house: large slabs of its roof over its rubble."""
        rng = self.rng
        rim = []
        corners = rectangle(b["x"], b["y"], b["angle"], b["length"], b["width"])
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
            for f in (0.0, 0.33, 0.66):
                k = rng.uniform(0.85, 1.12)
                rim.append((b["x"] + k * (ax + (bx - ax) * f - b["x"]), b["y"] + k * (ay + (by - ay) * f - b["y"]), 0.2))
        self.fill(rim, shade(b["wall"], 0.35, 55), DAMAGED)
        c, s = math.cos(b["angle"]), math.sin(b["angle"])

        def within(f=0.95):
            u, v = (rng.uniform(-f, f) / 2 for _ in "uv")
            u, v = u * b["length"], v * b["width"]
            return b["x"] + c * u - s * v, b["y"] + s * u + c * v, rng.uniform(0.2, 1.2)

        self.pieces(within, int(b["length"] * b["width"] * 0.6), WOOD + RUBBISH + [b["wall"]] * 3, DAMAGED, 0.4, 1.8)
        for _ in range(rng.integers(3, 7)):
            x, y, z = within(0.6)
            turn, long, wide = rng.normal(0, 0.35), rng.uniform(0.25, 0.5) * b["length"], rng.uniform(0.25, 0.5) * b["width"]
            quad = rectangle(x, y, b["angle"] + turn, long, wide)
            lift = [rng.uniform(0, 1.2) for _ in range(4)]
            self.fill([(p, q, z + h) for (p, q), h in zip(quad, lift)], b["tiles"], DAMAGED, rng.uniform(0.7, 1.15))
        self.pieces(within, int(b["length"] * b["width"] * 0.2), WOOD + RUBBISH, DAMAGED, 0.3, 1.2)

    def draw_car(self, x, y, angle, size, colour):
        l, w, h = size
        self.box(x, y, angle, l, w, 0.0, 0.58 * h, colour, VEHICLE)
        long = l > 5
        back, front = (-0.46 * l, 0.28 * l) if long else (-0.38 * l, 0.16 * l)
        glass, c, s = (38, 44, 54), math.cos(angle), math.sin(angle)

        def at(u, v, z):
            return x + c * u - s * v, y + s * u + c * v, z

        low, v, k = 0.58 * h, 0.45 * w, 0.38 * w
        slope = 0.3 if long else 0.13 * l
        foot = [(back - 0.5 * slope, -v), (front + slope, -v), (front + slope, v), (back - 0.5 * slope, v)]
        top = [(back, -k), (front, -k), (front, k), (back, k)]
        for i in range(4):
            j = (i + 1) % 4
            self.face([at(*foot[i], low), at(*foot[j], low), at(*top[j], h), at(*top[i], h)], glass, VEHICLE)
        self.face([at(*p, h) for p in top], colour, VEHICLE)

    def draw_boat(self, x, y, angle):
        rng = self.rng
        l, w = rng.uniform(4, 7), rng.uniform(1.8, 2.4)
        c, s = math.cos(angle), math.sin(angle)

        def hull(k, z):
            p = [(-0.5, -0.5), (0.2, -0.5), (0.5, 0), (0.2, 0.5), (-0.5, 0.5)]
            return [(x + c * u * l * k - s * v * w * k, y + s * u * l * k + c * v * w * k, z) for u, v in p]

        tone = pick(rng, [(230, 110, 40), (225, 225, 225), (200, 40, 40), (60, 70, 80)])
        self.fill(hull(1, 0.5), tone, VEHICLE)
        self.fill(hull(0.72, 0.5), shade(tone, 0.45, 30), VEHICLE)
        for _ in range(rng.integers(1, 5)):
            u, v = rng.uniform(-0.3, 0.2) * l, rng.uniform(-0.25, 0.25) * w
            self.fill([(a, b, 1.0) for a, b in rectangle(x + c * u - s * v, y + s * u + c * v, angle, 0.6, 0.5)],
                      pick(rng, [(220, 120, 30), (60, 60, 70), (190, 160, 130)]), VEHICLE)

    def draw_tree(self, x, y, radius, tall, tone):
        rng, cam, sun = self.rng, self.camera, [float(v) for v in self.sun]
        balls = []
        for _ in range(int(14 + 5 * radius)):
            a, r, z = rng.uniform(0, 6.3), radius * 0.8 * math.sqrt(rng.uniform(0, 1)), rng.uniform(-0.6, 0.6)
            balls.append((r * math.cos(a), r * math.sin(a), z * radius, radius * rng.uniform(0.22, 0.42)))
        for u, v, z, r in sorted(balls, key=lambda q: q[2]):
            p = (x + u, y + v, max(r, tall + z - 0.4 * radius))
            facing = (u * sun[0] + v * sun[1] + z * sun[2]) / radius
            bright = (0.95 + 0.42 * facing if self.sunny else 0.95 + 0.22 * z / radius) + rng.normal(0, 0.07)
            (px, py), k = cam.project([p])[0], cam.scale(p) * r
            oval = [px - k, py - k, px + k, py + k]
            if -30 < px < cam.w + 30 and -30 < py < cam.h + 30:
                self.pen.ellipse(oval, fill=tuple(int(min(255, max(0, q * bright))) for q in tone))
                self.mark.ellipse(oval, fill=VEGETATION)
