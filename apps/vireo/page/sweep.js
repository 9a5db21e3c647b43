// The page of `vireo predict --sweep`.
const rows = data.rows, most = Math.max(1e-9, ...rows.map(r => r.images_per_s || 0));
const number = (title, k, rank, digits, mark) => ({title, rank, of: r => r[k] ?? -1, show: r => r[k] == null ? "–" : r[k].toFixed(digits), mark});
document.title = "vireo predict: " + data.machine;
searched = r => [r.model, r.precision, String(r.size), r.error, ...(r.notes || [])];
main.append(search([rows], null, {what: "rows", among: ["models", "precisions", "sizes"]}));
main.append(el("h1", {}, "Predicted on " + data.machine), el("p", {class: "note"}, `${data.device} · batch ${data.batch} · ${data.uncertainty}`), made(data));
table(main, [
  {title: "model", left: true, name: true, of: r => r.model, show: r => r.model, mark: (r, td) => { if (r.error) td.append(el("small", {class: "bad"}, r.error)); for (const n of r.notes || []) td.append(el("small", {}, n)); }},
  {title: "precision", left: true, rank: 1, of: r => r.precision, show: r => r.precision},
  {title: "input", rank: 2, of: r => r.size, show: r => String(r.size)},
  number("ms", "ms", 0, 1),
  {title: "range, ms", rank: 5, of: r => r.high_ms ?? -1, show: r => r.ms == null ? "–" : `${r.low_ms.toFixed(1)} – ${r.high_ms.toFixed(1)}`},
  number("images/s", "images_per_s", 3, 1, (r, td) => { if (r.images_per_s) { td.classList.add("bar"); td.style.setProperty("--w", (100 * r.images_per_s / most).toFixed(0) + "%"); } }),
  number("roofline, ms", "roof_ms", 6, 1), number("memory, MiB", "ram_mib", 4, 0),
], rows, {whole: true});
finish();
