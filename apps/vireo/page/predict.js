// The page of `vireo predict` for one model.
const p = data, us = "us";
const label = d => d.name + (d.part ? " (" + d.part + ")" : "");
const about = d => `${label(d)}: ${ms(d.us)} ms (${ms(d.low_us)} to ${ms(d.high_us)}), ${d.us > 0 ? (d.flops / d.us * 1e-3).toFixed(2) : 0} GFLOP/s. ${d.kernel}`;
const WHY = {padding: "multiply-adds beyond edges, idle lanes", issue: "issue slots of other instructions", convert: "conversions, special functions", shared: "shared memory and load slots", memory: "bandwidth", latency: "latency, too few subgroups", compiler: "what compilers lose (assumed)", dispatch: "dispatches and submission"};

/// From the roofline to the prediction, cause by cause.
function waterfall() {
  const steps = [["roofline", p.roof_us, "FLOPs or bytes, whichever is more"], ...Object.entries(p.lost_us).map(([k, x]) => ["+ " + k, x, WHY[k] || k])];
  return w => {
    const each = 24, left = w < 560 ? 84 : 100, most = Math.max(p.us, sum(steps, x => Math.max(0, x[1])), 1e-9), v = picture("where the time goes", (steps.length + 1) * each + 8), wide = w - left - 70;
    let at = 0;
    [...steps, ["predicted", p.us, "of an inference"]].forEach(([name, time, why], i) => {
      const total = i === steps.length, from = total ? 0 : at, y = 4 + i * each, length = Math.max(0.5, time / most * wide);
      v.append(s("text", {x: left - 8, y: y + 14, "text-anchor": "end"}, name), tipped(s("rect", {x: left + from / most * wide, y, width: length, height: each - 6, fill: total ? "var(--accent)" : i ? "#e08a1e" : "#3b7dd8"}), `${name}: ${ms(time)} ms, ${why}`));
      v.append(s("text", {class: "dim", x: left + from / most * wide + length + 6, y: y + 14}, ms(time) + " ms"));
      if (!total) at += time;
    });
    return v;
  };
}

function sequence(root) {
  let at = 0;
  const spans = p.dispatches.map(d => { at += d.us; return {at: at - d.us, us: d.us, fill: colour(d.op), title: d.name, text: about(d), d}; });
  const rest = Math.max(0, p.us - at);
  if (rest > 0) spans.push({at, us: rest, fill: "#b9c3ce", title: "submission", text: `submission and what the host does: ${ms(rest)} ms`});
  timeline(root, "Timeline", "One dispatch behind the other, as they are predicted. Wheel or + and − zoom, a drag marks what to zoom into, arrows move, 0 shows everything.", [{name: "device", spans}], Math.max(at + rest, 1e-3));
}

function dispatches(root) {
  const rates = p.dispatches.some(d => Object.keys(d.lost_us).length), counted = p.dispatches.some(d => Object.keys(d.instructions).length && !d.on_cpu);
  const time = (title, k, rank) => ({title, rank, of: d => d[k], show: d => ms(d[k])});
  const columns = [
    {title: "step", left: true, name: true, of: d => [d.step, d.part], show: label}, {title: "op", left: true, rank: 5, of: d => d.op, show: d => d.op},
    time("ms", "us", 0), {title: "share %", rank: 1, of: d => d.us, show: d => p.us > 0 ? (100 * d.us / p.us).toFixed(1) : "–"}, {title: "range, ms", rank: 6, of: d => d.high_us, show: d => `${ms(d.low_us)} – ${ms(d.high_us)}`},
    {title: "GFLOP/s", rank: 3, of: d => d.us > 0 ? d.flops / d.us : 0, show: d => d.us > 0 ? (d.flops / d.us * 1e-3).toFixed(2) : "–"}];
  if (rates) {
    columns.push(time("roof ms", "roof_us", 2));
    for (const k of Object.keys(p.lost_us)) columns.push({title: k + " ms", rank: 8, of: d => d.lost_us[k] || 0, show: d => ms(d.lost_us[k] || 0), hint: () => WHY[k]});
  }
  if (counted) for (const [title, classes] of MIX) columns.push({title, rank: 9, of: d => mixed(d.instructions, classes), show: d => (100 * mixed(d.instructions, classes)).toFixed(1), hint: d => Object.entries(d.instructions).map(([n, x]) => `${n}: ${Math.round(x)}`).join("\n")});
  columns.push({title: "kernel", left: true, long: true, rank: 10, of: d => d.kernel, show: d => d.kernel + (d.on_cpu ? " [cpu]" : ""), hint: d => d.kernel});
  root.append(el("h2", {}, "Dispatches"), el("p", {class: "note"}, "Click a heading to sort."));
  table(root, columns, p.dispatches);
}

const mib = x => (x / 1048576).toFixed(1) + " MiB";
document.title = `vireo predict: ${p.model} on ${p.machine}`;
main.append(search([p.dispatches], us));
main.append(el("h1", {}, `${p.model}, predicted on ${p.machine}`), el("p", {class: "note"}, `${p.device} · ${p.precision} · batch ${p.batch} · ${p.height}×${p.width} · ${p.uncertainty}`), made(p));
main.append(el("div", {class: "cards"}, card(ms(p.us) + " ms", "predicted"), card(`${ms(p.low_us)} – ${ms(p.high_us)}`, "range, ms"), card(p.images_per_s.toFixed(1), "images/s"), card(mib(p.ram_bytes), "plan's memory"), card(mib(p.weights_bytes), "weights"), card(mib(p.arena_bytes), "arena"), card(String(p.dispatches.length), "dispatches")));
main.append(legend(p.dispatches, us, p.us));
if (Object.keys(p.lost_us).length) section(main, "Where the time goes", "From what the arithmetic or the bytes take at the device's peak to what is predicted, cause by cause.", waterfall());
sequence(main);
section(main, "Time per block", "", bars(p.dispatches, us, about));
operators(main, p.dispatches, us, p.us);
dispatches(main);
notes(main, p.notes);
finish();
