"use strict";
// What every page is made of: elements, charts that follow the width there is, tables that sort, filter and fit, one search field, a
// timeline that zooms. Data stand in the element "data" as JSON.
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main"), tip = document.getElementById("tip");
const SVG = (() => { const holder = document.createElement("div"); holder.innerHTML = "<svg></svg>"; return holder.firstChild.namespaceURI; })();

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}
function s(tag, attributes, text) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}
const ms = us => (us / 1000).toFixed(Math.abs(us) < 10000 ? 3 : Math.abs(us) < 1e6 ? 2 : 0);
const percent = x => (100 * x).toFixed(0) + " %";
const sum = (list, of) => list.reduce((total, x) => total + of(x), 0);
const clip = (text, most) => text.length > most ? "…" + text.slice(1 - Math.max(2, most)) : text;

const COLOURS = {linear:"#3b7dd8", attention:"#e08a1e", conv2d:"#2f9e63", layer_norm:"#9a5fd0", head_norm:"#b07be0", add:"#8a8f98", resize:"#c2568f", concat:"#7a8c2d", adaptive_pool:"#4aa3a3", merge:"#a2703c", argmax:"#c24a3f", mean:"#6b7a8f", pool:"#4f9a8f"};
const SPARE = ["#5566cc", "#aa7733", "#339988", "#bb4466", "#778833"], unknown = [];
function colour(op) {
  if (COLOURS[op]) return COLOURS[op];
  if (!unknown.includes(op)) unknown.push(op);
  return SPARE[unknown.indexOf(op) % SPARE.length];
}

function tipped(e, text) {
  e.addEventListener("pointermove", v => {
    tip.textContent = text; tip.style.display = "block";
    tip.style.left = Math.max(4, Math.min(v.clientX + 12, document.documentElement.clientWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (v.clientY + 16 + tip.offsetHeight > innerHeight ? Math.max(4, v.clientY - tip.offsetHeight - 10) : v.clientY + 16) + "px";
  });
  e.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  if (e.namespaceURI === SVG) e.append(s("title", {}, text));
  return e;
}

// ---- search: one field for the page. What shows a dispatch asks matches(); `finders` are told when the words change.
let words = [];
const finders = [];
let searched = d => [d.label, d.name, d.op, d.kernel, d.shader];  // a page of other rows says what is searched in them
const matches = d => { const text = searched(d).filter(x => typeof x === "string").join(" ").toLowerCase(); return words.every(w => text.includes(w)); };
/// A shape of a chart that stands for the dispatch d.
function mark(e, d) { e.classList.add("mark"); e.d = d; return e; }
function highlight(root) {
  for (const e of root.querySelectorAll(".mark")) {
    const hit = words.length > 0 && matches(e.d);
    e.classList.toggle("hit", hit); e.classList.toggle("off", words.length > 0 && !hit);
  }
}
/// `lists`: arrays of dispatches; `time`: their field that counts, null where times do not add up. `what`: what they are called.
function search(lists, time, {what = "dispatches", among = ["steps", "operators", "kernels"]} = {}) {
  const field = el("input", {type: "search", id: "search", placeholder: "Search " + among.join(", "), "aria-label": "Search " + among.join(", ")});
  const told = el("output", {for: "search"});
  const tell = () => {
    words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    told.textContent = !words.length ? "" : lists.map(list => {
      const found = list.filter(matches), count = `${found.length} of ${list.length} ${what}`;
      if (!time) return count;
      const us = sum(found, d => d[time]), all = sum(list, d => d[time]);
      return `${count}, ${ms(us)} ms` + (all > 0 ? ` (${(100 * us / all).toFixed(1)} %)` : "");
    }).join(" · ");
    for (const f of finders) f();
  };
  field.addEventListener("input", tell);
  field.addEventListener("keydown", e => { if (e.key === "Escape" && field.value) { field.value = ""; tell(); e.preventDefault(); } });
  document.addEventListener("keydown", e => {
    if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) return;
    field.focus(); e.preventDefault();
  });
  return el("div", {class: "find", role: "search"}, field, told);
}

// ---- charts: drawn as wide as their box, so that their text keeps its size, and anew when that changes.
const charts = [];
function chart(box, draw) {
  const c = {box, drawn: 0, draw: () => {
    const w = c.drawn = Math.max(220, box.clientWidth), picture = draw(w);
    picture.setAttribute("viewBox", `0 0 ${w} ${picture.tall}`);
    box.replaceChildren(picture); highlight(box);
  }};
  charts.push(c); finders.push(() => highlight(box));
  return c;
}
function section(root, title, note, draw) {
  const plot = el("div", {class: "plot"}), box = el("div", {class: "chart"}, plot), part = el("div", {class: "part"}, el("h2", {}, title));
  if (note) part.append(el("p", {class: "note"}, note));
  part.append(box); root.append(part);
  return draw && chart(plot, draw), {box, plot};
}
function picture(label, tall) { const v = s("svg", {role: "img", "aria-label": label}); v.tall = tall; return v; }

// ---- tables: columns {title, of(row) -> what sorts, show(row) -> text, left, rank, title2(row), mark(row, td)}. The rank says which go
// first where there is no room: the highest; 0 stays.
const tables = [];
document.head.append(el("style", {}, Array.from({length: 40}, (_, i) => `table.h${i} th:nth-child(${i + 1}), table.h${i} td:nth-child(${i + 1}) { display:none; }`).join("\n")));
function table(root, columns, rows, {filtered = true, whole = false, last = null} = {}) {
  const head = el("tr"), body = el("tbody"), t = el("table", {}, el("thead", {}, head), body), box = el("div", {class: "scroll" + (whole ? " whole" : "")}, t);
  const told = el("span"), button = el("button", {type: "button"}), line = el("p", {class: "columns"}, told, button);
  let order = [...rows], all = false;
  const row = (d, kind) => {
    const tr = el("tr", kind ? {class: kind} : {});
    for (const c of columns) {
      const text = c.show(d), td = el("td", {class: [c.left ? "t" : "", c.name ? "name" : "", c.long ? "k" : ""].filter(Boolean).join(" ")});
      // A long name is broken behind its dots.
      if (c.name) (text.match(/[^.]*\.|[^.]+$/g) || []).forEach((part, i) => td.append(...(i ? [el("wbr")] : []), part));
      else td.append(text);
      const hint = c.hint && c.hint(d); if (hint) td.title = hint;
      if (c.mark) c.mark(d, td);
      tr.append(td);
    }
    return tr;
  };
  const fill = () => body.replaceChildren(...order.filter(d => !filtered || matches(d)).map(d => row(d)), ...(last ? [row(last, "all")] : []));
  for (const c of columns) {
    const sorter = el("button", {type: "button"}, c.title), th = el("th", c.left ? {class: "t"} : {}, sorter);
    sorter.addEventListener("click", () => {
      const up = th.getAttribute("aria-sort") === "descending" || (c.left && th.getAttribute("aria-sort") !== "ascending");
      head.querySelectorAll("th").forEach(o => o.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const by = (a, b) => {
        const u = c.of(a), w = c.of(b);
        return Array.isArray(u) ? u[0] - w[0] || u[1] - w[1] : typeof u === "number" ? u - w : String(u).localeCompare(String(w));
      };
      order = [...rows].sort((a, b) => up ? by(a, b) : by(b, a)); fill();
    });
    head.append(th);
  }
  const fit = () => {
    t.className = "";
    const ranks = columns.map((c, i) => [c.rank || 0, i]).filter(([rank]) => rank > 0).sort((a, b) => b[0] - a[0] || b[1] - a[1]);
    let hidden = 0;
    while (!all && hidden < ranks.length && t.offsetWidth > box.clientWidth) t.classList.add("h" + ranks[hidden++][1]);
    line.hidden = !hidden && !all;
    told.textContent = all ? "" : `${columns.length - hidden} of ${columns.length} columns fit. `;
    button.textContent = all ? "Only what fits" : "Show all";
  };
  button.addEventListener("click", () => { all = !all; fit(); });
  root.append(line, box); fill();
  tables.push({fit}); if (filtered) finders.push(() => { fill(); if (!words.length) fit(); });
  return t;
}
/// Sums of dispatches per operator, as a table.
function operators(root, list, time, allUs) {
  const sums = new Map();
  for (const d of list) {
    if (!sums.has(d.op)) sums.set(d.op, {op: d.op, us: 0, flops: 0, n: 0});
    const o = sums.get(d.op); o.us += d[time]; o.flops += d.flops; ++o.n;
  }
  const rows = [...sums.values()].sort((a, b) => b.us - a.us);
  root.append(el("h2", {}, "Operators"));
  table(root, [
    {title: "operator", left: true, of: o => o.op, show: o => { if (o.all) return "all"; const i = el("i"); i.style.cssText = `display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;background:${colour(o.op)}`; return el("span", {}, i, o.op); }},
    {title: "ms", of: o => o.us, show: o => ms(o.us)},
    {title: "share %", rank: 1, of: o => o.us, show: o => allUs > 0 ? (100 * o.us / allUs).toFixed(1) : "–"},
    {title: "dispatches", rank: 2, of: o => o.n, show: o => String(o.n)},
    {title: "GFLOP", rank: 4, of: o => o.flops, show: o => (o.flops * 1e-9).toFixed(4)},
    {title: "GFLOP/s", rank: 3, of: o => o.us > 0 ? o.flops / o.us : 0, show: o => o.us > 0 ? (o.flops / o.us * 1e-3).toFixed(2) : "–"},
  ], rows, {filtered: false, whole: true, last: {all: true, us: sum(rows, o => o.us), flops: sum(rows, o => o.flops), n: list.length}});
}
function legend(list, time, allUs) {
  const ops = new Map();
  for (const d of list) ops.set(d.op, (ops.get(d.op) || 0) + d[time]);
  const l = el("div", {class: "legend"});
  for (const [op, us] of [...ops].sort((a, b) => b[1] - a[1])) {
    const i = el("i"); i.style.background = colour(op);
    l.append(el("span", {}, i, `${op} ${(100 * us / Math.max(allUs, 1e-9)).toFixed(1)} %`));
  }
  return l;
}

// ---- time per block of the network
function block(name) {
  const m = name.match(/^(.*?\d+(?:\.(?:blocks|layer|layers|transformer\.layer)\.\d+)?)(\.|$)/);
  return m ? m[1] : name.split(".")[0];
}
function bars(list, time, about) {
  const rows = new Map();
  for (const d of list) { const b = block(d.name); if (!rows.has(b)) rows.set(b, []); rows.get(b).push(d); }
  const blocks = [...rows], longest = Math.max(...blocks.map(([, ds]) => sum(ds, d => d[time])), 1e-6);
  return w => {
    const each = 22, left = Math.min(230, Math.round(w * (w < 560 ? 0.36 : 0.28)), 14 + 7.4 * Math.max(...blocks.map(([name]) => name.length), 8)), v = picture("time per block", blocks.length * each + 8);
    blocks.forEach(([name, ds], i) => {
      let at = left; const y = 4 + i * each;
      v.append(s("text", {x: left - 8, y: y + 14, "text-anchor": "end"}, clip(name, Math.floor((left - 8) / 7.4))));
      for (const d of ds) {
        const width = d[time] / longest * (w - left - 76);
        v.append(mark(tipped(s("rect", {x: at, y, width: Math.max(0.4, width), height: each - 5, fill: colour(d.op)}), about(d)), d));
        at += width;
      }
      v.append(s("text", {class: "dim", x: at + 6, y: y + 14}, ms(sum(ds, d => d[time])) + " ms"));
    });
    return v;
  };
}

// ---- timeline: lanes {name, spans: [{at, us, fill, text, title, d}]} in microseconds; wheel, drag and keys zoom and move.
function ticks(from, to, most) {
  const raw = Math.max((to - from) / Math.max(1, most), 1e-9), p = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(x => x * p).find(x => x >= raw * 0.9999) || p;
  const out = [], digits = Math.max(0, -Math.floor(Math.log10(step * 1.0001)));
  for (let i = Math.ceil(from / step - 1e-6); i * step <= to * 1.0001; ++i) out.push([i * step, (i * step).toFixed(Math.min(digits, 6))]);
  return out;
}
function timeline(root, title, note, lanes, total) {
  const {box, plot} = section(root, title, note), LEFT = 52, RIGHT = 10, LANE = 44;
  const least = Math.max(total * 1e-4, 1e-3), view = {from: 0, to: total};
  let width = 600, band = null;
  const x = us => LEFT + (us - view.from) / (view.to - view.from) * (width - LEFT - RIGHT);
  const time = px => view.from + (Math.max(LEFT, Math.min(width - RIGHT, px)) - LEFT) / (width - LEFT - RIGHT) * (view.to - view.from);
  const range = el("output");
  const c = chart(plot, w => {
    width = w;
    const v = picture("timeline", lanes.length * LANE + 30), bottom = lanes.length * LANE + 4, small = view.to - view.from < 1000;
    for (const [t, text] of ticks(view.from / (small ? 1 : 1000), view.to / (small ? 1 : 1000), w / 110)) {
      const at = x(t * (small ? 1 : 1000));
      if (at > w - RIGHT + 1) continue;
      v.append(s("line", {class: "axis", x1: at, x2: at, y1: 8, y2: bottom}), s("text", {class: "dim", x: at, y: bottom + 18, "text-anchor": at > w - 40 ? "end" : "middle"}, text + (small ? " µs" : " ms")));
    }
    lanes.forEach((lane, i) => {
      const y = 8 + i * LANE, tall = LANE - 10;
      v.append(s("text", {x: 2, y: y + 21}, lane.name));
      for (const span of lane.spans) {
        if (span.at + span.us < view.from || span.at > view.to) continue;
        const begin = Math.max(LEFT, x(span.at)), end = Math.min(w - RIGHT, x(span.at + span.us)), wide = Math.max(0.5, end - begin);
        const shape = tipped(s("rect", {x: Math.min(begin, w - RIGHT - 0.5), y, width: wide, height: tall, fill: span.fill, "fill-opacity": 0.9}), span.text);
        v.append(span.d ? mark(shape, span.d) : shape);
        const letters = Math.floor((wide - 8) / 7.4);
        if (letters >= 4) v.append(s("text", {class: "on", x: begin + 4, y: y + 21}, clip(span.title, letters)));
      }
    });
    if (band) v.append(s("rect", {class: "band", x: Math.min(...band), y: 4, width: Math.abs(band[1] - band[0]), height: bottom}));
    range.textContent = total < 10000 ? `${view.from.toFixed(2)} to ${view.to.toFixed(2)} µs` : `${ms(view.from)} to ${ms(view.to)} ms`;
    return v;
  });
  /// Shows another part of the time; false when that is what is shown.
  const show = (from, to) => {
    // Everything is exactly everything, whatever zooming in and out has rounded.
    const wanted = Math.max(least, to - from), span = wanted > total * (1 - 1e-9) ? total : wanted;
    const begin = Math.max(0, Math.min(total - span, from));
    if (Math.abs(begin - view.from) < total * 1e-9 && Math.abs(begin + span - view.to) < total * 1e-9) return false;
    view.from = begin; view.to = begin + span; c.draw();
    return true;
  };
  const zoom = (factor, at = (view.from + view.to) / 2) => show(at - (at - view.from) * factor, at + (view.to - at) * factor);
  const pan = share => { const by = (view.to - view.from) * share; return show(view.from + by, view.to + by); };
  const reset = () => show(0, total);
  const tools = el("div", {class: "tools"});
  for (const [text, label, act] of [["−", "zoom out", () => zoom(2)], ["+", "zoom in", () => zoom(0.5)], ["◀", "earlier", () => pan(-0.3)], ["▶", "later", () => pan(0.3)], ["Reset", "show everything", reset]]) {
    const b = el("button", {type: "button", "aria-label": "timeline: " + label, title: label}, text);
    b.addEventListener("click", act); tools.append(b);
  }
  tools.append(range);
  box.prepend(tools);
  plot.classList.add("zoom"); plot.tabIndex = 0; plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", title + ": plus and minus zoom, arrows move, 0 shows everything");
  plot.title = "Wheel: zoom. Drag: zoom into what is marked; with Shift: move. Double click: everything. Keys: + − ← → 0";
  const local = e => e.clientX - plot.getBoundingClientRect().left;
  plot.addEventListener("wheel", e => {
    const lines = e.deltaMode === 1 ? 16 : 1, sideways = e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY);
    const moved = sideways ? pan((e.deltaX || e.deltaY) * lines / Math.max(1, width)) : zoom(Math.exp(Math.max(-1, Math.min(1, e.deltaY * lines * 0.002))), time(local(e)));
    if (moved) e.preventDefault();  // at the end of zooming out the page scrolls on
  }, {passive: false});
  let down = null;
  plot.addEventListener("pointerdown", e => { if (e.button === 0) down = {x: local(e), from: view.from, id: e.pointerId, moved: false, pan: e.shiftKey}; });
  plot.addEventListener("pointermove", e => {
    if (!down || e.pointerId !== down.id) return;
    const at = local(e);
    if (!down.moved && Math.abs(at - down.x) < 5) return;
    if (!down.moved) { down.moved = true; try { plot.setPointerCapture(down.id); } catch (gone) { /* the pointer left already */ } plot.classList.toggle("moves", down.pan); }
    if (down.pan) { const span = view.to - view.from, from = down.from - (at - down.x) / (width - LEFT - RIGHT) * span; show(from, from + span); }
    else { const inside = px => Math.max(LEFT, Math.min(width - RIGHT, px)); band = [inside(down.x), inside(at)]; c.draw(); }
  });
  const up = keep => e => {
    if (!down || e.pointerId !== down.id) return;
    const marked = band; down = band = null; plot.classList.remove("moves");
    if (!(keep && marked && Math.abs(marked[1] - marked[0]) > 4 && show(time(Math.min(...marked)), time(Math.max(...marked)))) && marked) c.draw();
  };
  plot.addEventListener("pointerup", up(true)); plot.addEventListener("pointercancel", up(false));
  plot.addEventListener("dblclick", reset);
  plot.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const act = {"+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), "0": reset, Home: reset, Escape: reset}[e.key];
    if (act) { act(); e.preventDefault(); }
  });
}

// ---- instructions by class, as shares of those that are issued: words and bytes are other counts of the same accesses.
const MIX = [["fma %", "fma half"], ["loads %", "shared_load global_load texel"], ["conv. %", "convert"], ["barriers %", "barrier"]];
function mixed(mix, classes) {
  const all = Object.entries(mix).filter(([n]) => !/_words$|_bytes$/.test(n)).reduce((total, [, x]) => total + x, 0);
  return all > 0 ? classes.split(" ").reduce((total, n) => total + (mix[n] || 0), 0) / all : 0;
}
function card(value, what) { return el("div", {class: "card"}, el("b", {}, value.replace(/ (ms|MiB)$/, "\u00a0$1")), el("span", {}, what)); }
/// Who made a report, with what and when; older files do not say.
function made(report) {
  const m = report.made;
  if (!m) return el("p", {class: "note made"}, "How this was made is not said in the file.");
  const parts = ["vireo " + m.vireo, String(m.date).replace("T", " ").replace("Z", " UTC")];
  if (m.driver) parts.push("driver " + m.driver);
  if (m.threads) parts.push(`${m.threads} thread${m.threads === 1 ? "" : "s"}`);
  if (m.host) parts.push("host " + m.host);
  return el("p", {class: "note made"}, parts.join(" · "), el("br"), el("code", {}, m.command || ""));
}
function notes(root, list) {
  if ((list || []).length) root.append(el("h2", {}, "Notes"), ...list.map(n => el("p", {class: "note"}, n)));
}

// ---- widths: once when everything stands, and again when the window or the paper changes them.
function layout() {
  for (const c of charts) if (c.drawn !== Math.max(220, c.box.clientWidth)) c.draw();
  for (const t of tables) t.fit();
}
function finish() {
  layout();
  let width = main.clientWidth;
  new ResizeObserver(() => { if (main.clientWidth !== width) { width = main.clientWidth; layout(); } }).observe(main);
  // Paper is about 700 pixels wide: charts and tables are made for that while printing.
  const paper = on => () => { main.style.width = on ? "700px" : ""; main.classList.toggle("paper", on); layout(); };
  addEventListener("beforeprint", paper(true)); addEventListener("afterprint", paper(false));
}

// ---- what a search of `vireo compress` found (schema vireo-front/1): KL against ms, as large as the file, and a table.
function front(where, f) {
  const all = f.candidates.filter(c => c.kl != null && c.ms != null), best = new Set(f.front), biggest = Math.max(...all.map(c => c.bytes), 1);
  const least = Math.max(1e-7, Math.min(...all.filter(c => c.kl > 0).map(c => c.kl), 1)), most = Math.max(least * 10, ...all.map(c => c.kl));
  const slow = Math.max(f.original.ms, ...all.map(c => c.ms)) * 1.05, quick = Math.min(f.original.ms, ...all.map(c => c.ms)) * 0.95;
  const short = x => x === 0 ? "0" : x < 1e-3 ? x.toExponential(1) : x.toPrecision(3);
  const stands = new Map((f.points ?? []).map(p => [p.name, p.what]));
  const told = c => `${c.name}: ${f.distance === "kl" ? "KL" : "difference"} ${short(c.kl)}, ${c.ms.toFixed(2)} ms, ${(c.bytes / 1e6).toFixed(2)} MB`;
  if (stands.size) where.append(el("div", {class: "cards"}, ...all.filter(c => stands.has(c.name)).sort((a, b) => a.kl - b.kl).map(c => card(`${short(c.kl)} · ${c.ms.toFixed(2)} ms · ${(c.bytes / 1e6).toFixed(2)} MB`, `${stands.get(c.name)}: ${c.name}`))));
  section(where, "Answers against time", `Each circle is a model, its area the size of the file; filled: on the front, where nothing is better in one without being worse in another; ring: chosen. Time is ${f.measured ? "measured here" : "predicted on " + f.machine}; the scale of ${f.distance === "kl" ? "KL" : "difference"} is logarithmic.`, w => {
    const tall = 300, left = 64, bottom = 26, v = picture("front", tall + bottom), x = ms => left + 12 + (w - left - 32) * (ms - quick) / (slow - quick || 1);
    const y = kl => 12 + (tall - 24) * (1 - Math.log(Math.max(kl, least) / least) / Math.log(most / least));
    for (let d = Math.ceil(Math.log10(least)); d <= Math.log10(most); ++d) v.append(s("line", {x1: left, x2: w - 8, y1: y(10 ** d), y2: y(10 ** d), stroke: "var(--line)"}), s("text", {class: "dim", x: left - 6, y: y(10 ** d) + 4, "text-anchor": "end"}, short(10 ** d)));
    for (const part of [0, 0.5, 1]) v.append(s("text", {class: "dim", x: x(quick + part * (slow - quick)), y: tall + 18, "text-anchor": "middle"}, (quick + part * (slow - quick)).toFixed(1) + " ms"));
    for (const c of all) {
      const r = 3 + 9 * Math.sqrt(c.bytes / biggest), on = best.has(c.name);
      v.append(tipped(s("circle", {cx: x(c.ms), cy: y(c.kl), r, fill: on ? "#3b7dd8" : "none", "fill-opacity": 0.7, stroke: on ? "#3b7dd8" : "#8a8f98"}), told(c)));
      if (c.name === f.chosen && Object.keys(f.budget).length) v.append(s("circle", {cx: x(c.ms), cy: y(c.kl), r: r + 4, fill: "none", stroke: "#e08a1e", "stroke-width": 2}));
    }
    return v;
  });
  table(where, [{title: "recipe", left: true, name: true, of: c => c.name, show: c => c.name, mark: (c, td) => { if (stands.has(c.name)) td.append(" ", el("small", {class: "note"}, stands.get(c.name))); if (c.why_not) td.append(el("small", {class: "bad"}, c.why_not)); }}, {title: "front", left: true, rank: 3, of: c => best.has(c.name) ? 0 : 1, show: c => best.has(c.name) ? "yes" : ""},
    {title: f.distance === "kl" ? "KL" : "difference", rank: 0, of: c => c.kl ?? 1e9, show: c => c.kl == null ? "–" : short(c.kl)}, {title: "ms", rank: 1, of: c => c.ms ?? 1e9, show: c => c.ms == null ? "–" : c.ms.toFixed(2)}, {title: "MB", rank: 2, of: c => c.bytes, show: c => (c.bytes / 1e6).toFixed(2)}], f.candidates, {filtered: false, whole: true});
}
