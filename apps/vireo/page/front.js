// The page of `vireo compress --sweep`.
document.title = `vireo compress: ${data.model}, what can be had`;
main.append(el("h1", {}, `${data.model}: what can be had`), el("p", {class: "note"}, `${data.candidates.length} candidates, judged on ${data.pictures} pictures in ${data.folds} folds: those that are judged were not calibrated with · ${data.seconds.toFixed(0)} s`), made(data));
main.append(el("div", {class: "cards"}, card((data.original.bytes / 1e6).toFixed(2) + " MB", "the original"), card(data.original.ms.toFixed(2) + " ms", data.measured ? "measured here" : "predicted on " + data.machine), card(String(data.front.length), "on the front")));
if (Object.keys(data.budget).length) main.append(el("p", {}, data.sentence));
front(main, data);
finish();
