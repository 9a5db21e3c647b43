#include "profile_page.h"

namespace cli {
namespace {

const char* const kBefore = R"PAGE(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vireo profile</title>
<style>
:root { color-scheme: light dark; --bg:#ffffff; --fg:#1b1f24; --dim:#5b6570; --line:#d8dde3; --card:#f5f7f9; --accent:#0b62c4; }
@media (prefers-color-scheme: dark) { :root { --bg:#14171b; --fg:#e6e9ed; --dim:#9aa5b1; --line:#333a42; --card:#1d2127; --accent:#6cb2ff; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--bg); color:var(--fg); font:15px/1.45 system-ui, sans-serif; }
main { max-width:1240px; margin:0 auto; padding:20px 16px 60px; }
h1 { font-size:22px; margin:0 0 4px; } h2 { font-size:17px; margin:34px 0 8px; }
p.note { color:var(--dim); margin:0 0 10px; max-width:80ch; }
.profile { min-width:0; }
.two { display:grid; grid-template-columns:1fr 1fr; gap:24px; }
@media (max-width:900px) { .two { grid-template-columns:1fr; } }
.cards { display:grid; grid-template-columns:repeat(auto-fit, minmax(130px, 1fr)); gap:10px; margin:14px 0; }
.card { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:8px 12px; }
.card b { display:block; font-size:18px; font-variant-numeric:tabular-nums; } .card span { color:var(--dim); font-size:13px; }
.chart { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:8px; overflow-x:auto; }
svg { display:block; width:100%; height:auto; } svg text { fill:var(--fg); font-size:12px; } svg text.dim { fill:var(--dim); } svg text.on { fill:#14171b; }
svg line.axis { stroke:var(--line); }
.legend { display:flex; flex-wrap:wrap; gap:4px 14px; margin:8px 2px; font-size:13px; } .legend i { display:inline-block; width:11px; height:11px; border-radius:3px; margin-right:5px; }
.scroll { overflow-x:auto; border:1px solid var(--line); border-radius:8px; max-height:560px; }
table { border-collapse:collapse; width:100%; font-size:13px; font-variant-numeric:tabular-nums; }
th, td { padding:5px 9px; text-align:right; white-space:nowrap; border-bottom:1px solid var(--line); }
th.t, td.t { text-align:left; } td.k { max-width:330px; overflow:hidden; text-overflow:ellipsis; }
th { position:sticky; top:0; background:var(--card); } th button { all:unset; cursor:pointer; font-weight:600; } th button:focus-visible { outline:2px solid var(--accent); }
th[aria-sort=ascending] button::after { content:" \25B2"; } th[aria-sort=descending] button::after { content:" \25BC"; }
#tip { position:fixed; pointer-events:none; background:var(--fg); color:var(--bg); padding:5px 9px; border-radius:6px; font-size:13px; max-width:340px; display:none; z-index:9; }
</style>
</head>
<body>
<main id="main"></main>
<div id="tip" role="status"></div>
<script id="data" type="application/json">)PAGE";

const char* const kAfter = R"PAGE(</script>
<script>
"use strict";
const profiles = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = {linear:"#3b7dd8", attention:"#e08a1e", conv2d:"#2f9e63", layer_norm:"#9a5fd0", head_norm:"#b07be0", add:"#8a8f98", resize:"#c2568f", concat:"#7a8c2d", adaptive_pool:"#4aa3a3", merge:"#a2703c", argmax:"#c24a3f", mean:"#6b7a8f", pool:"#4f9a8f"};
const SPARE = ["#5566cc", "#aa7733", "#339988", "#bb4466", "#778833"];
const unknown = [];
function colour(op) {
  if (COLOURS[op]) return COLOURS[op];
  if (!unknown.includes(op)) unknown.push(op);
  return SPARE[unknown.indexOf(op) % SPARE.length];
}
function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  for (const c of children) e.append(c);
  return e;
}
function s(tag, attributes, text) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}
const ms = us => (us / 1000).toFixed(us < 10000 ? 3 : us < 1e6 ? 2 : 0);
const tip = document.getElementById("tip");
function tipped(e, text) {
  e.addEventListener("pointermove", v => {
    tip.textContent = text; tip.style.display = "block";
    tip.style.left = Math.min(v.clientX + 12, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = (v.clientY + 16) + "px";
  });
  e.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  const t = s("title", {}, text); if (e.namespaceURI === SVG) e.append(t);
  return e;
}
// Charts are drawn as wide as there is room, so that their text keeps its size; what is narrower than this scrolls.
const WIDTH = Math.max(560, Math.min(1200, (profiles.length > 1 && innerWidth > 900 ? innerWidth / 2 : innerWidth) - 52));
const percent = x => (100 * x).toFixed(0) + " %";
const label = d => (d.label || d.name) + (d.part ? " (" + d.part + ")" : "");
const about = d => `${label(d)}: ${ms(d.serialised_us)} ms alone, ${ms(d.scheduled_us)} ms as scheduled, ${d.gflops} GFLOP/s, ${d.gbs} GB/s.` + (d.phases ? ` Load ${percent(d.phases.load.share)}, compute ${percent(d.phases.compute.share)}, store ${percent(d.phases.store.share)}.` : "") + ` ${d.kernel}`;
function block(name) {
  const m = name.match(/^(.*?\d+(?:\.(?:blocks|layer|layers|transformer\.layer)\.\d+)?)(\.|$)/);
  return m ? m[1] : name.split(".")[0];
}
function legend(p) {
  const ops = new Map();
  for (const d of p.dispatches) ops.set(d.op, (ops.get(d.op) || 0) + d.serialised_us);
  const l = el("div", {class: "legend"});
  for (const [op, us] of [...ops].sort((a, b) => b[1] - a[1])) {
    const i = el("i"); i.style.background = colour(op);
    l.append(el("span", {}, i, `${op} ${(100 * us / Math.max(p.serialised_us, 1e-9)).toFixed(1)} %`));
  }
  return l;
}
function ticks(max) {
  const raw = max / 5, p = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(x => x * p).find(x => x >= raw) || p;
  const out = []; for (let t = 0; t <= max * 1.0001; t += step) out.push(t);
  return out;
}
function timeline(p) {
  const w = WIDTH, h = 120, host = p.host_us, device = host.upload + (p.device.kind === "cpu" ? 0 : host.submit);
  const total = Math.max(host.upload + host.submit + host.wait + host.download, device + Math.max(...p.dispatches.map(d => d.begin_us + d.scheduled_us)), 1e-6);
  const x = us => 60 + us / total * (w - 70), v = s("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "timeline"});
  v.style.minWidth = w + "px";
  for (const t of ticks(total / 1000)) {
    v.append(s("line", {class: "axis", x1: x(t * 1000), x2: x(t * 1000), y1: 8, y2: 92}), s("text", {class: "dim", x: x(t * 1000), y: 110, "text-anchor": x(t * 1000) > w - 40 ? "end" : "middle"}, +t.toPrecision(4) + " ms"));
  }
  v.append(s("text", {x: 2, y: 28}, "host"), s("text", {x: 2, y: 70}, "device"));
  let at = 0; const shades = {upload: "#6b7a8f", submit: "#8897aa", wait: "#b9c3ce", download: "#6b7a8f"};
  for (const k of ["upload", "submit", "wait", "download"]) {
    v.append(tipped(s("rect", {x: x(at), y: 12, width: Math.max(0.5, x(at + host[k]) - x(at)), height: 24, fill: shades[k]}), `host ${k}: ${ms(host[k])} ms`));
    at += host[k];
  }
  for (const d of p.dispatches)
    v.append(tipped(s("rect", {x: x(device + d.begin_us), y: 48, width: Math.max(0.5, x(device + d.begin_us + d.scheduled_us) - x(device + d.begin_us)), height: 36, fill: colour(d.op), "fill-opacity": 0.9}), about(d)));
  return v;
}
function bars(p) {
  const rows = new Map();
  for (const d of p.dispatches) { const b = block(d.name); if (!rows.has(b)) rows.set(b, []); rows.get(b).push(d); }
  const list = [...rows], longest = Math.max(...list.map(([, ds]) => ds.reduce((a, d) => a + d.serialised_us, 0)), 1e-6);
  const w = WIDTH, each = 22, h = list.length * each + 8, left = w < 900 ? 170 : 230, most = w < 900 ? 25 : 34, v = s("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "time per block"});
  v.style.minWidth = w + "px";
  list.forEach(([name, ds], i) => {
    let at = left; const y = 4 + i * each;
    v.append(s("text", {x: left - 8, y: y + 14, "text-anchor": "end"}, name.length > most ? "…" + name.slice(1 - most) : name));
    for (const d of ds) {
      const width = d.serialised_us / longest * (w - left - 90);
      v.append(tipped(s("rect", {x: at, y, width: Math.max(0.4, width), height: each - 5, fill: colour(d.op)}), about(d)));
      at += width;
    }
    v.append(s("text", {class: "dim", x: at + 6, y: y + 14}, ms(ds.reduce((a, d) => a + d.serialised_us, 0)) + " ms"));
  });
  return v;
}
function roofline(p) {
  const r = p.roofs, points = p.dispatches.filter(d => d.flops > 0 && d.bytes > 0 && d.serialised_us > 0 && !(d.device === "cpu" && p.device.kind !== "cpu"));
  const w = WIDTH, h = 420, v = s("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "roofline"});
  v.style.minWidth = w + "px";
  if (!points.length || !(r.fma_gflops > 0 && r.copy_gbs > 0)) { v.append(s("text", {x: 20, y: 30}, "no roofs were measured")); return v; }
  const xs = points.map(d => d.flops / d.bytes), ys = points.map(d => d.gflops), peak = Math.max(r.fma_gflops, r.half_fma_gflops || 0);
  const lo = f => Math.floor(Math.log10(f)), hi = f => Math.ceil(Math.log10(f));
  const x0 = lo(Math.min(...xs, 0.1)), x1 = hi(Math.max(...xs, 10 * r.fma_gflops / r.copy_gbs)), y0 = lo(Math.max(1e-3, Math.min(...ys.filter(y => y > 0), peak / 100))), y1 = hi(Math.max(peak * 1.5, ...ys.map(y => y * 1.2)));
  const x = v => 62 + (Math.log10(v) - x0) / (x1 - x0) * (w - 82), y = v => h - 40 - (Math.log10(Math.max(v, 10 ** y0)) - y0) / (y1 - y0) * (h - 60);
  for (let e = x0; e <= x1; ++e) v.append(s("line", {class: "axis", x1: x(10 ** e), x2: x(10 ** e), y1: 16, y2: h - 40}), s("text", {class: "dim", x: x(10 ** e), y: h - 22, "text-anchor": "middle"}, e < 0 ? (10 ** e).toFixed(-e) : String(10 ** e)));
  for (let e = y0; e <= y1; ++e) v.append(s("line", {class: "axis", x1: 62, x2: w - 20, y1: y(10 ** e), y2: y(10 ** e)}), s("text", {class: "dim", x: 56, y: y(10 ** e) + 4, "text-anchor": "end"}, e < 0 ? (10 ** e).toFixed(-e) : String(10 ** e)));
  v.append(s("text", {class: "dim", x: w - 22, y: h - 5, "text-anchor": "end"}, "FLOP per byte"), s("text", {class: "dim", x: 4, y: 12}, "GFLOP/s"));
  const roof = (gf, name, dash) => {
    const knee = gf / r.copy_gbs, left = 10 ** x0;
    const start = Math.max(left, 10 ** y0 / r.copy_gbs);
    v.append(s("polyline", {points: `${x(start)},${y(start * r.copy_gbs)} ${x(knee)},${y(gf)} ${x(10 ** x1)},${y(gf)}`, fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-dasharray": dash}));
    v.append(s("text", {x: w - 24, y: y(gf) - 6, "text-anchor": "end"}, `${name} ${gf.toFixed(1)} GFLOP/s`));
  };
  roof(r.fma_gflops, "fp32", ""); if (r.half_fma_gflops > 0) roof(r.half_fma_gflops, "fp16", "6 4");
  const a = Math.sqrt(10 ** x0 * r.fma_gflops / r.copy_gbs);
  v.append(s("text", {x: x(a) + 8, y: y(a * r.copy_gbs) + 18}, `copy ${r.copy_gbs.toFixed(2)} GB/s`));
  for (const d of points)
    v.append(tipped(s("circle", {cx: x(d.flops / d.bytes), cy: y(d.gflops), r: 4 + 9 * Math.sqrt(d.serialised_us / p.serialised_us), fill: colour(d.op), "fill-opacity": 0.65, stroke: "var(--bg)"}), about(d)));
  return v;
}
// Shares of loads, arithmetic and stores, the operators with the most time first.
const PARTS = [["load", "#3b7dd8"], ["compute", "#e08a1e"], ["store", "#2f9e63"]];
function phases(p) {
  const ops = new Map();
  for (const d of p.dispatches.filter(d => d.phases)) {
    if (!ops.has(d.op)) ops.set(d.op, {us: 0, n: 0, load: 0, compute: 0, store: 0});
    const o = ops.get(d.op); o.us += d.serialised_us; ++o.n;
    for (const [part] of PARTS) o[part] += d.serialised_us * d.phases[part].share;
  }
  const list = [...ops].filter(([, o]) => o.us > 0).sort((a, b) => b[1].us - a[1].us);
  const w = WIDTH, each = 30, left = w < 900 ? 170 : 230, v = s("svg", {viewBox: `0 0 ${w} ${list.length * each + 8}`, role: "img", "aria-label": "phases"});
  v.style.minWidth = w + "px";
  list.forEach(([op, o], i) => {
    let at = left; const y = 4 + i * each;
    v.append(s("text", {x: left - 8, y: y + 16, "text-anchor": "end"}, `${op} (${o.n} dispatch${o.n === 1 ? "" : "es"})`));
    for (const [part, fill] of PARTS) {
      const share = o[part] / o.us, width = share * (w - left - 20);
      v.append(tipped(s("rect", {x: at, y, width: Math.max(0.4, width), height: each - 8, fill}), `${op}: ${part} ${percent(share)}`));
      if (width > 90) v.append(s("text", {x: at + 8, y: y + 16, class: "on"}, `${part} ${percent(share)}`));
      at += width;
    }
  });
  return v;
}
const COLUMNS = [["step", "name", "t"], ["op", "op", "t"], ["alone ms", "serialised_us"], ["scheduled ms", "scheduled_us"], ["share %", "share"], ["GFLOP/s", "gflops"], ["GB/s", "gbs"], ["of roof %", "roof_share"], ["groups", "groups"], ["kernel", "kernel", "t"]];
// Columns that not every profile has; older files know neither.
const COMPILED = [["registers", "registers"], ["spills", "spills"], ["instructions", "instructions"], ["subgroup", "subgroup_size"]];
// Shares of the instructions that are issued, counted from the SPIR-V: words and bytes are other counts of the same accesses.
const MIX = [["fma %", "fma half"], ["loads %", "shared_load global_load texel"], ["conv. %", "convert"], ["barriers %", "barrier"]];
const mixed = (mix, classes) => {
  const all = Object.entries(mix).filter(([n]) => !/_words$|_bytes$/.test(n)).reduce((sum, [, x]) => sum + x, 0);
  return all > 0 ? classes.split(" ").reduce((sum, n) => sum + (mix[n] || 0), 0) / all : 0;
};
function columns(p) {
  const all = COLUMNS.slice(0, -2);
  if (p.dispatches.some(d => d.phases)) all.push(...PARTS.map(([part]) => [part + " %", "phases." + part]));
  if (p.dispatches.some(d => d.compiler)) all.push(...COMPILED.map(([title, k]) => [title, "compiler." + k]));
  if (p.dispatches.some(d => d.executed)) all.push(...MIX.map(([title, k]) => [title, "executed." + k]));
  all.push(...COLUMNS.slice(-2));
  if (p.no_compiler) all.push(["compiler", "no_compiler", "t"]);
  return all;
}
function table(p) {
  const COLUMNS = columns(p);
  const t = el("table", {}), head = el("tr"), body = el("tbody");
  const inner = (d, k) => { if (k.startsWith("executed.")) return d.executed ? Number((100 * mixed(d.executed, k.slice(9))).toFixed(1)) : null; const [of, part] = k.split("."), x = d[of] && d[of][part]; return x == null ? null : of === "phases" ? x.share : x; };
  const show = (d, k) => k === "no_compiler" ? p.no_compiler : k.includes(".") ? (inner(d, k) == null ? "–" : k.startsWith("phases") ? (100 * inner(d, k)).toFixed(0) : String(inner(d, k))) : k === "name" ? label(d) : k.endsWith("_us") ? ms(d[k]) : k === "share" || k === "roof_share" ? (d[k] > 0 ? (100 * d[k]).toFixed(1) : "–") : k === "groups" ? (d.device === "cpu" ? "–" : d.groups.join(" × ")) : typeof d[k] === "number" ? d[k].toFixed(2) : d[k];
  const value = (d, k) => k === "no_compiler" ? 0 : k.includes(".") ? inner(d, k) ?? -1 : k === "groups" ? d.groups[0] * d.groups[1] * d.groups[2] : k === "name" ? [d.step, d.part] : d[k];
  const fill = rows => body.replaceChildren(...rows.map(d => { const tr = el("tr"); for (const [, k, left] of COLUMNS) { const td = el("td", left ? {class: k === "kernel" ? "t k" : "t"} : {}, show(d, k)); if (k === "kernel") td.title = d.kernel; if (k.startsWith("phases") && d.phases) { const x = d.phases[k.slice(7)]; td.title = `${x.mean_ticks} ticks of a workgroup in the mean, ${x.max_ticks} at most, ${d.phases.workgroups} workgroups`; } if (k.startsWith("executed") && d.executed) td.title = Object.keys(d.executed).map(n => `${n}: ${d.spirv[n]} in the module, ${Math.round(d.executed[n])} executed`).join("\n"); if (k.startsWith("compiler") && d.compiler) td.title = Object.entries(d.compiler.statistics).map(([n, x]) => `${n}: ${x}`).join("\n"); tr.append(td); } return tr; }));
  for (const [title, k, left] of COLUMNS) {
    const button = el("button", {type: "button"}, title), th = el("th", left ? {class: "t"} : {}, button);
    button.addEventListener("click", () => {
      const up = th.getAttribute("aria-sort") === "descending" || (left && th.getAttribute("aria-sort") !== "ascending");
      head.querySelectorAll("th").forEach(o => o.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const order = (a, b) => { const u = value(a, k), w = value(b, k); return Array.isArray(u) ? u[0] - w[0] || u[1] - w[1] : typeof u === "number" ? u - w : String(u).localeCompare(String(w)); };
      fill([...p.dispatches].sort((a, b) => up ? order(a, b) : order(b, a)));
    });
    head.append(th);
  }
  t.append(el("thead", {}, head), body); fill(p.dispatches);
  return t;
}
function card(value, what) { return el("div", {class: "card"}, el("b", {}, value), el("span", {}, what)); }
function section(root, title, note, chart) {
  root.append(el("h2", {}, title)); if (note) root.append(el("p", {class: "note"}, note));
  root.append(el("div", {class: title === "Dispatches" ? "scroll" : "chart"}, chart));
}
function render(p) {
  const root = el("section", {class: "profile"});
  root.append(el("h1", {}, p.model), el("p", {class: "note"}, `${p.device.kind}: ${p.device.name} · ${p.precision} · batch ${p.batch} · ${p.height}×${p.width} · medians of ${p.runs} run${p.runs === 1 ? "" : "s"}` + (p.device.reason ? " · " + p.device.reason : "")));
  root.append(el("div", {class: "cards"}, card(ms(p.wall_us) + " ms", "wall, without timestamps"), card(ms(p.serialised_us) + " ms", "dispatches, each alone"), card(ms(p.overlap_us) + " ms", "overlapped"), card(String(p.dispatches.length), "dispatches"), card((p.arena_bytes / 1048576).toFixed(1) + " MiB", "arena"), card((p.weights_bytes / 1048576).toFixed(1) + " MiB", "weights")));
  root.append(legend(p));
  section(root, "Timeline", "As scheduled: without timestamps around them, dispatches that need not wait for each other may overlap.", timeline(p));
  section(root, "Time per block", "Each dispatch alone, behind a barrier.", bars(p));
  if (p.dispatches.some(d => d.phases)) section(root, "Phases", "Inside the workgroups, by the shader clock of the first invocation of each: until data are in registers or shared memory, arithmetic, epilogue and results. Each dispatch counts by its time alone; a column per part is in the table below.", phases(p));
  else if (p.no_phases) root.append(el("h2", {}, "Phases"), el("p", {class: "note"}, p.no_phases));
  section(root, "Roofline", "The roofs were measured on this device. A dispatch's bytes are those of the cost model: what the caches save moves a point to the right of its real place.", roofline(p));
  section(root, "Dispatches", "Click a heading to sort.", table(p));
  if ((p.notes || []).length) root.append(el("h2", {}, "Notes"), ...p.notes.map(n => el("p", {class: "note"}, n)));
  return root;
}
const main = document.getElementById("main");
if (profiles.length > 1) {
  const [a, b] = profiles;
  main.append(el("div", {class: "cards"}, card((a.wall_us / b.wall_us).toFixed(3) + "×", "wall, first / second"), card((a.serialised_us / b.serialised_us).toFixed(3) + "×", "dispatches alone, first / second")));
  main.append(el("div", {class: "two"}, ...profiles.map(render)));
} else main.append(...profiles.map(render));
</script>
</body>
</html>
)PAGE";

}  // namespace

std::string profile_page(const Json& profiles) {
  std::string data = profiles.dump(-1, ' ', false, Json::error_handler_t::replace);
  // Within a script element only "</" and "<!--" mean anything to HTML.
  for (size_t at = 0; (at = data.find('<', at)) != std::string::npos; at += 6) data.replace(at, 1, "\\u003c");
  return kBefore + data + kAfter;
}

Json parse_profile(const std::string& text, const std::string& path) {
  constexpr int kDeepest = 32;  // a profile nests six deep; printing what nests much deeper would run out of stack
  bool deep = false;
  Json j = Json::parse(
      text, [&deep](int depth, Json::parse_event_t, Json&) { return depth <= kDeepest || !(deep = true); }, false);
  if (deep)
    throw Failure("'" + path + "' is no profile: it nests deeper than any; write it anew with `vireo profile --json`");
  std::string schema = j.is_object() ? "none" : "no JSON object";
  if (j.is_object() && j.contains("schema"))
    schema = j["schema"].is_string() ? j["schema"].get<std::string>() : j["schema"].dump().substr(0, 40);
  if (schema != "vireo-profile/1")
    throw Failure("'" + path + "' is no profile: its schema is '" + schema +
                  "', expected 'vireo-profile/1'; write it anew with `vireo profile --json`");
  const auto is = [&](const char* key, bool right) {
    if (!right)
      throw Failure("'" + path + "' is damaged: '" + key +
                    "' is missing or of another type; write it anew with `vireo profile --json`");
  };
  is("model", j.contains("model") && j["model"].is_string());
  is("device", j.contains("device") && j["device"].is_object() && j["device"].contains("name") &&
                   j["device"]["name"].is_string());
  for (const char* key : {"wall_us", "serialised_us", "scheduled_us", "overlap_us", "arena_bytes", "weights_bytes"})
    is(key, j.contains(key) && j[key].is_number());
  for (const char* key : {"host_us", "roofs"}) is(key, j.contains(key) && j[key].is_object());
  is("dispatches", j.contains("dispatches") && j["dispatches"].is_array());
  for (const Json& d : j["dispatches"]) {
    is("dispatches", d.is_object());
    for (const char* key : {"name", "op", "kernel", "device"}) is(key, d.contains(key) && d[key].is_string());
    for (const char* key : {"part", "flops", "bytes", "begin_us", "scheduled_us", "serialised_us", "roof_us"})
      is(key, d.contains(key) && d[key].is_number());
    is("groups", d.contains("groups") && d["groups"].is_array());
  }
  return j;
}

}  // namespace cli
