// The page of `vireo compress`.
const p = data, c = p.compared, mib = x => (x / 1048576).toFixed(1) + " MiB";
const number = x => x === 0 ? "0" : Math.abs(x) < 1e-3 ? x.toExponential(1) : x.toPrecision(3);
const share = x => (100 * x).toFixed(1) + " %";
const SHADES = {linear: "#3b7dd8", head: "#e08a1e", embedding: "#2f9e63", convolution: "#9a5fd0"};
document.title = `vireo compress: ${p.model}, ${p.recipe}`;

/// One bar per layer, in order of execution.
function plot(list, of, what) {
  return w => {
    const tall = 180, left = 56, bottom = 22, most = Math.max(...list.map(of), 1e-12), each = (w - left - 8) / list.length, v = picture(what, tall + bottom);
    for (const part of [0, 0.5, 1]) v.append(s("line", {x1: left, x2: w - 8, y1: 6 + (tall - 6) * (1 - part), y2: 6 + (tall - 6) * (1 - part), stroke: "var(--line)"}), s("text", {class: "dim", x: left - 6, y: 10 + (tall - 6) * (1 - part), "text-anchor": "end"}, number(part * most)));
    list.forEach((l, i) => {
      const high = Math.max(1, of(l) / most * (tall - 6));
      v.append(tipped(s("rect", {x: left + i * each, y: tall - high, width: Math.max(1, each - 1), height: high, fill: SHADES[l.kind] || "#8a8f98"}), `${l.name}: ${what} ${number(of(l))}, ${l.format} by ${l.method}, ${l.rows}×${l.cols}`));
    });
    v.append(s("text", {class: "dim", x: left, y: tall + 16}, list[0].node), s("text", {class: "dim", x: w - 8, y: tall + 16, "text-anchor": "end"}, list[list.length - 1].node));
    return v;
  };
}

main.append(el("h1", {}, `${p.model}, compressed by ${p.recipe}`), el("p", {class: "note"}, `${p.blocks ? `${p.blocks.length} blocks smaller, ` : ""}${p.layers.length} weights as codes${p.activations ? ", rows as int8 while running" : ""}${p.attention ? `, attention's factors as ${p.attention}` : ""}${p.tokens_merged && p.tokens_merged.length ? ", tokens merged by block: " + p.tokens_merged.join(" ") : ""} · ${p.calibration_pictures ? `calibrated with ${p.calibration_pictures} pictures` : "without pictures"} · ${p.seconds.toFixed(1)} s`), made(p));
const cards = [card(`${mib(p.bytes_before)} → ${mib(p.bytes_after)}`, `size, ${p.size_ratio.toFixed(3)} of it`), p.macs_before > p.macs ? card(`${(p.macs_before / 1e9).toFixed(2)} → ${(p.macs / 1e9).toFixed(2)} G`, `multiply-adds, ${share(1 - p.macs / p.macs_before)} fewer`) : card((p.macs / 1e9).toFixed(2) + " G", "multiply-adds")];
if (p.blocks) cards.push(card(`${(p.parameters_before / 1e6).toFixed(2)} → ${(p.parameters_after / 1e6).toFixed(2)} M`, "parameters"));
if (c) {
  if (c.kl != null) cards.push(card(number(c.kl), "mean KL divergence"), card(share(c.agreement), "same answer"));
  else cards.push(card(number(c.difference), "difference of features"));
  if (c.top1_before != null) cards.push(card(`${share(c.top1_before)} → ${share(c.top1_after)}`, "top-1"));
  cards.push(card(`${c.ms_before.toFixed(2)} → ${c.ms_after.toFixed(2)} ms`, "measured here"));
}
if (p.predicted) cards.push(card(`${p.predicted.fp32_ms.toFixed(1)} → ${p.predicted.ms.toFixed(1)} ms`, `predicted on ${p.predicted.machine} (fp16 ${p.predicted.fp16_ms.toFixed(1)})`));
main.append(el("div", {class: "cards"}, ...cards));
if (c) main.append(el("p", {class: "note"}, `Compared on ${c.pictures} pictures${c.calibration ? ", those it was calibrated with: others show more" : ""}.`));

// Query, key and value of one product were measured together: one bar.
const joined = [];
for (const l of p.layers) if (!joined.length || joined[joined.length - 1].node !== l.node || l.kl == null) joined.push({...l, name: l.node});
if (joined.length && joined.every(l => l.kl != null)) section(main, "Sensitivity", "How far the answer moves (mean KL divergence) when this layer alone is compressed. Blue: linears, orange: head, green: embedding, violet: convolutions.", plot(joined, l => l.kl, "KL"));
if (p.layers.length) section(main, "Error of each layer's output", p.calibration_pictures ? "Squared, over the square of the output, by the inputs that calibration saw." : "Squared error of the weight over its square.", plot(p.layers.map(l => ({...l, name: l.tensor})), l => l.error, "error"));

if (p.search) { main.append(el("p", {}, p.search.sentence)); front(main, p.search); }

if (c && c.changed.length) {
  main.append(el("h2", {}, "Pictures whose answer changed"));
  table(main, [{title: "picture", left: true, name: true, of: r => r.picture, show: r => r.picture}, {title: "before", left: true, rank: 1, of: r => r.before, show: r => r.before}, {title: "after", left: true, rank: 0, of: r => r.after, show: r => r.after},
    ...(c.changed.some(r => r.label != null) ? [{title: "label", left: true, rank: 2, of: r => r.label || "", show: r => r.label || "–"}] : [])], c.changed, {filtered: false, whole: true});
}
if (p.blocks) {
  const size = (b, of) => b.before[of] === b.after[of] ? String(b.after[of]) : `${b.before[of]} → ${b.after[of]}`;
  main.append(el("h2", {}, "Blocks that are smaller"), el("p", {class: "note"}, "Widths before and after: queries and keys of a head, values of a head, channels of the MLP. KL: what each narrower part costs alone, summed."));
  table(main, [{title: "block", left: true, name: true, of: b => b.block, show: b => b.block}, ...["heads", "qk", "v", "mlp"].map((of, rank) => ({title: of, rank, of: b => b.after[of], show: b => size(b, of)})),
    {title: "KL alone", rank: 4, of: b => b.kl ?? -1, show: b => b.kl == null ? "–" : number(b.kl)}], p.blocks, {filtered: false, whole: true});
}
if (p.layers.length) main.append(el("h2", {}, "Layers"), el("p", {class: "note"}, "Click a heading to sort."));
if (p.layers.length) table(main, [{title: "weight", left: true, name: true, of: l => l.tensor, show: l => l.tensor}, {title: "format", left: true, rank: 0, of: l => l.format, show: l => l.format}, {title: "method", left: true, rank: 4, of: l => l.method, show: l => l.method},
  {title: "KL alone", rank: 1, of: l => l.kl ?? -1, show: l => l.kl == null ? "–" : number(l.kl)}, {title: "error", rank: 2, of: l => l.error, show: l => number(l.error)}, {title: "KiB", rank: 3, of: l => l.bytes, show: l => (l.bytes / 1024).toFixed(1)},
  {title: "rows", rank: 6, of: l => l.rows, show: l => String(l.rows)}, {title: "columns", rank: 6, of: l => l.cols, show: l => String(l.cols)}, {title: "M MACs", rank: 5, of: l => l.macs, show: l => (l.macs / 1e6).toFixed(1)}], p.layers, {filtered: false});
notes(main, p.layers.length && p.kept.length ? [...p.notes, `kept as floats: ${p.kept.join(", ")}`] : p.notes);
finish();
