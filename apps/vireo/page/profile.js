// The page of `vireo profile`: one profile, or two beside each other with what their steps differ in.
const label = d => (d.label || d.name) + (d.part ? " (" + d.part + ")" : "");
const about = d => `${label(d)}: ${ms(d.serialised_us)} ms alone, ${ms(d.scheduled_us)} ms as scheduled, ${d.gflops} GFLOP/s, ${d.gbs} GB/s.` + (d.above_roof ? ` ${percent(d.roof_share)} of the roof: ${d.above_roof}.` : "") + (d.phases ? ` Load ${percent(d.phases.load.share)}, compute ${percent(d.phases.compute.share)}, store ${percent(d.phases.store.share)}.` : "") + ` ${d.kernel}`;
const alone = "serialised_us";

function schedule(root, p) {
  const host = p.host_us, begins = host.upload + (p.device.kind === "cpu" ? 0 : host.submit);
  const shades = {upload: "#6b7a8f", submit: "#8897aa", wait: "#b9c3ce", download: "#6b7a8f"};
  const total = Math.max(host.upload + host.submit + host.wait + host.download, begins + Math.max(0, ...p.dispatches.map(d => d.begin_us + d.scheduled_us)), 1e-3);
  let at = 0;
  const phases = Object.keys(shades).map(k => { at += host[k]; return {at: at - host[k], us: host[k], fill: shades[k], title: k, text: `host ${k}: ${ms(host[k])} ms`}; });
  const spans = p.dispatches.map(d => ({at: begins + d.begin_us, us: d.scheduled_us, fill: colour(d.op), title: d.name, text: about(d), d}));
  timeline(root, "Timeline", "As scheduled: without timestamps around them, dispatches that need not wait for each other may overlap. Wheel or + and − zoom, a drag marks what to zoom into, arrows move, 0 shows everything.", [{name: "host", spans: phases}, {name: "device", spans}], total);
}

function roofline(p) {
  const r = p.roofs, points = p.dispatches.filter(d => d.flops > 0 && d.bytes > 0 && d.serialised_us > 0 && !(d.device === "cpu" && p.device.kind !== "cpu"));
  return w => {
    const h = w < 560 ? 320 : 420, v = picture("roofline", h);
    if (!points.length || !(r.fma_gflops > 0 && r.copy_gbs > 0)) { v.tall = 46; v.append(s("text", {x: 20, y: 30}, "no roofs were measured")); return v; }
    const xs = points.map(d => d.flops / d.bytes), ys = points.map(d => d.gflops), peak = Math.max(r.fma_gflops, r.half_fma_gflops || 0);
    const lo = f => Math.floor(Math.log10(f)), hi = f => Math.ceil(Math.log10(f));
    const x0 = lo(Math.min(...xs, 0.1)), x1 = hi(Math.max(...xs, 10 * r.fma_gflops / r.copy_gbs)), y0 = lo(Math.max(1e-3, Math.min(...ys.filter(y => y > 0), peak / 100))), y1 = hi(Math.max(peak * 1.5, ...ys.map(y => y * 1.2)));
    const left = 50, x = v => left + (Math.log10(v) - x0) / (x1 - x0) * (w - left - 16), y = v => h - 40 - (Math.log10(Math.max(v, 10 ** y0)) - y0) / (y1 - y0) * (h - 60);
    const power = e => e < 0 ? (10 ** e).toFixed(-e) : String(10 ** e), every = Math.ceil(44 * (x1 - x0) / (w - left - 16));
    for (let e = x0; e <= x1; ++e) {
      v.append(s("line", {class: "axis", x1: x(10 ** e), x2: x(10 ** e), y1: 16, y2: h - 40}));
      if ((e - x0) % every === 0) v.append(s("text", {class: "dim", x: Math.min(x(10 ** e), w - 14), y: h - 22, "text-anchor": "middle"}, power(e)));
    }
    for (let e = y0; e <= y1; ++e) v.append(s("line", {class: "axis", x1: left, x2: w - 16, y1: y(10 ** e), y2: y(10 ** e)}), s("text", {class: "dim", x: left - 6, y: y(10 ** e) + 4, "text-anchor": "end"}, power(e)));
    v.append(s("text", {class: "dim", x: w - 18, y: h - 5, "text-anchor": "end"}, "FLOP per byte"), s("text", {class: "dim", x: 4, y: 12}, "GFLOP/s"));
    const names = [], roof = (gf, name, dash) => {
      const knee = gf / r.copy_gbs, start = Math.max(10 ** x0, 10 ** y0 / r.copy_gbs);
      v.append(s("polyline", {points: `${x(start)},${y(start * r.copy_gbs)} ${x(knee)},${y(gf)} ${x(10 ** x1)},${y(gf)}`, fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-dasharray": dash}));
      names.push(s("text", {class: "over", x: w - 20, y: y(gf) - 6, "text-anchor": "end"}, `${name} ${gf.toFixed(1)} GFLOP/s`));
    };
    roof(r.fma_gflops, "fp32", ""); if (r.half_fma_gflops > 0) roof(r.half_fma_gflops, "fp16", "6 4");
    const a = Math.sqrt(10 ** x0 * r.fma_gflops / r.copy_gbs);
    names.push(s("text", {class: "over", x: x(a) + 8, y: y(a * r.copy_gbs) + 18}, `copy ${r.copy_gbs.toFixed(2)} GB/s`));
    for (const d of points)
      v.append(mark(tipped(s("circle", {cx: x(d.flops / d.bytes), cy: y(d.gflops), r: 4 + (w < 560 ? 6 : 9) * Math.sqrt(d.serialised_us / p.serialised_us), fill: colour(d.op), "fill-opacity": 0.65, stroke: "var(--bg)"}), about(d)), d));
    v.append(...names);  // above the points
    return v;
  };
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
  return w => {
    const each = 30, left = Math.min(230, Math.round(w * 0.4)), v = picture("phases", list.length * each + 8);
    list.forEach(([op, o], i) => {
      let at = left; const y = 4 + i * each;
      v.append(s("text", {x: left - 8, y: y + 16, "text-anchor": "end"}, clip(`${op} (${o.n} dispatch${o.n === 1 ? "" : "es"})`, Math.floor((left - 8) / 7.4))));
      for (const [part, fill] of PARTS) {
        const share = o[part] / o.us, width = share * (w - left - 12);
        v.append(tipped(s("rect", {x: at, y, width: Math.max(0.4, width), height: each - 8, fill}), `${op}: ${part} ${percent(share)}`));
        if (width > 90) v.append(s("text", {x: at + 8, y: y + 16, class: "on"}, `${part} ${percent(share)}`));
        at += width;
      }
    });
    return v;
  };
}

function dispatches(root, p) {
  const number = (title, k, rank, show) => ({title, rank, of: d => d[k] ?? -1, show: d => show(d[k], d)});
  const share = x => x > 0 ? (100 * x).toFixed(1) : "–", two = x => typeof x === "number" ? x.toFixed(2) : "–";
  const columns = [
    {title: "step", left: true, name: true, of: d => [d.step, d.part], show: label},
    {title: "op", left: true, rank: 7, of: d => d.op, show: d => d.op},
    number("alone ms", "serialised_us", 0, ms), number("scheduled ms", "scheduled_us", 8, ms), number("share %", "share", 1, share),
    number("GFLOP/s", "gflops", 3, two), number("GB/s", "gbs", 4, two), {...number("of roof %", "roof_share", 2, (x, d) => share(x) + (d.above_roof ? " *" : "")), hint: d => d.above_roof}];
  // Columns that not every profile has; older files know none of them.
  const inner = (title, of, rank, value, hint) => ({title, rank, of: d => d[of] ? value(d[of]) ?? -1 : -1, show: d => { const x = d[of] && value(d[of]); return x == null ? "–" : String(x); }, hint: d => d[of] && hint(d)});
  if (p.dispatches.some(d => d.phases))
    for (const [part] of PARTS) columns.push(inner(part + " %", "phases", 10, x => Math.round(100 * x[part].share), d => `${d.phases[part].mean_ticks} ticks of a workgroup in the mean, ${d.phases[part].max_ticks} at most, ${d.phases.workgroups} workgroups`));
  if (p.dispatches.some(d => d.compiler))
    for (const [title, k] of [["registers", "registers"], ["spills", "spills"], ["instructions", "instructions"], ["subgroup", "subgroup_size"]])
      columns.push(inner(title, "compiler", 11, x => x[k], d => Object.entries(d.compiler.statistics || {}).map(([n, x]) => `${n}: ${x}`).join("\n")));
  if (p.dispatches.some(d => d.executed))
    for (const [title, classes] of MIX)
      columns.push(inner(title, "executed", 12, x => Number((100 * mixed(x, classes)).toFixed(1)), d => Object.keys(d.executed).map(n => `${n}: ${(d.spirv || {})[n]} in the module, ${Math.round(d.executed[n])} executed`).join("\n")));
  columns.push({title: "groups", rank: 13, of: d => d.groups.reduce((a, b) => a * b, 1), show: d => d.device === "cpu" ? "–" : d.groups.join(" × ")},
    {title: "kernel", left: true, long: true, rank: 14, of: d => d.kernel, show: d => d.kernel, hint: d => d.kernel});
  if (p.no_compiler) columns.push({title: "compiler", left: true, rank: 15, of: () => 0, show: () => p.no_compiler});
  root.append(el("h2", {}, "Dispatches"), el("p", {class: "note"}, "Click a heading to sort."));
  table(root, columns, p.dispatches);
  const above = new Map();
  for (const d of p.dispatches) if (d.above_roof) above.set(d.above_roof, (above.get(d.above_roof) || 0) + 1);
  if (above.size) root.append(el("p", {class: "note above"}, "* above the roof: " + [...above].map(([why, n]) => `${why} (${n})`).join(", ")));
}

function render(p, root) {
  root.append(el("h1", {}, p.model), el("p", {class: "note"}, `${p.device.kind}: ${p.device.name} · ${p.precision} · batch ${p.batch} · ${p.height}×${p.width} · medians of ${p.runs} run${p.runs === 1 ? "" : "s"}` + (p.device.reason ? " · " + p.device.reason : "")), made(p));
  root.append(el("div", {class: "cards"}, card(ms(p.wall_us) + " ms", "wall, without timestamps"), card(ms(p.serialised_us) + " ms", "dispatches, each alone"), card(ms(p.overlap_us) + " ms", "overlapped"), card(String(p.dispatches.length), "dispatches"), card((p.arena_bytes / 1048576).toFixed(1) + " MiB", "arena"), card((p.weights_bytes / 1048576).toFixed(1) + " MiB", "weights")));
  root.append(legend(p.dispatches, alone, p.serialised_us));
  schedule(root, p);
  section(root, "Time per block", "Each dispatch alone, behind a barrier.", bars(p.dispatches, alone, about));
  if (p.dispatches.some(d => d.phases)) section(root, "Phases", "Inside the workgroups, by the shader clock of the first invocation of each: until data are in registers or shared memory, arithmetic, epilogue and results. Each dispatch counts by its time alone; a column per part is in the table below.", phases(p));
  else if (p.no_phases) root.append(el("h2", {}, "Phases"), el("p", {class: "note"}, p.no_phases));
  section(root, "Roofline", "The roofs were measured on this device. A dispatch's bytes are those of the cost model: what the caches save moves a point to the right of its real place.", roofline(p));
  operators(root, p.dispatches, alone, p.serialised_us);
  dispatches(root, p);
  notes(root, p.notes);
}

/// What each step takes more or less in the second profile.
function differences(root, c) {
  const times = x => x == null ? "–" : x.toFixed(3) + "×", rows = [...c.steps.map(x => ({...x, kernel: x.a_kernel === x.b_kernel ? x.a_kernel : x.a_kernel + " → " + x.b_kernel}))];
  for (const [list, side] of [[c.only_a, "a"], [c.only_b, "b"]])
    for (const x of list) rows.push({name: x.name, op: x.op, kernel: x.kernel, only: side, [side + "_us"]: x.us, difference_us: side === "a" ? -x.us : x.us});
  root.append(el("h1", {}, "Differences per step"), el("p", {class: "note"}, "a is the first profile (left), b the second; steps are matched by their names, each alone. Those that changed most stand first."));
  root.append(el("div", {class: "cards"}, card(times(c.wall_ratio), "wall, b / a"), card(times(c.serialised_ratio), "dispatches alone, b / a"), card(String(c.steps.length), "steps of both"), card(String(c.only_a.length), "steps only in a"), card(String(c.only_b.length), "steps only in b")));
  for (const n of c.notes) root.append(el("p", {class: "note"}, n));
  const changed = (d, td) => { if (d.difference_us > 0.5) td.classList.add("worse"); else if (d.difference_us < -0.5) td.classList.add("better"); };
  table(root, [
    {title: "step", left: true, name: true, of: d => d.name, show: d => d.name, mark: (d, td) => { if (d.only) td.append(el("small", {}, "only in " + d.only)); }},
    {title: "op", left: true, rank: 4, of: d => d.op, show: d => d.op},
    {title: "a ms", rank: 2, of: d => d.a_us ?? -1, show: d => d.a_us == null ? "–" : ms(d.a_us)},
    {title: "b ms", rank: 1, of: d => d.b_us ?? -1, show: d => d.b_us == null ? "–" : ms(d.b_us)},
    {title: "difference ms", of: d => d.difference_us, show: d => (d.difference_us > 0 ? "+" : "") + ms(d.difference_us), mark: changed},
    {title: "b / a", rank: 3, of: d => d.ratio ?? -1, show: d => times(d.ratio)},
    {title: "kernel", left: true, long: true, rank: 5, of: d => d.kernel, show: d => d.kernel, hint: d => d.kernel},
  ], rows);
}

const profiles = data.profiles;
document.title = "vireo profile: " + profiles.map(p => p.model).join(", ");
main.append(search(profiles.map(p => p.dispatches), alone));
if (data.comparison) differences(main, data.comparison);
if (profiles.length > 1) main.classList.add("two");
const sides = profiles.map(() => el("section", {class: "profile"}));
main.append(profiles.length > 1 ? el("div", {class: "pair"}, ...sides) : sides[0]);
profiles.forEach((p, i) => render(p, sides[i]));
finish();
