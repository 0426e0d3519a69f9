// Puts the charts in place of the static pictures; until that has worked, the pictures stay.
const OPTIONS = { overview: overviewOption, heatmap: heatmapOption, layer: layerOption, depth: depthOption, norms: normsOption, updates: updatesOption, curvature: curvatureOption };
// What each chart has to be drawn anew for.
const FOLLOWS = { overview: ["span"], heatmap: ["span", "shown", "column"], layer: ["span", "shown"], depth: ["shown", "column"], norms: ["span"], updates: ["span", "layer"], curvature: ["span"] };

// Every proof is drawn once: it shows a trial's steps, not those of the run.
const optionOf = (name, run, state, box) => (name in OPTIONS ? OPTIONS[name](run, state) : proofOption(run, box.dataset.proof));

async function readRun() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const parts = await unpack(data);
  const sides = (name) => ({ middle: parts[`${name}.middle`], low: parts[`${name}.low`], high: parts[`${name}.high`] });
  const run = { data, columns: data.columns, first: parts.first, last: parts.last, charts: {} };
  run.gradient = parts["gradient.middle"] ? sides("gradient") : null;
  run.update = data.updates ? sides("update") : null;
  run.series = Object.fromEntries(Object.keys(data.series).map((name) => [name, sides(name)]));
  run.columnAt = (step) => {
    let low = 0, high = run.columns - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (run.first[middle] <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  run.stepsOf = (column) => (run.first[column] === run.last[column] ? `step ${count(run.first[column])}` : `steps ${count(run.first[column])} to ${count(run.last[column])}`);
  run.trend = parts.trend;
  if (run.gradient) run.painter = makePainter(run);
  return run;
}

function makeCharts(run, state) {
  for (const box of document.querySelectorAll("[data-chart]")) {
    const name = box.dataset.chart;
    if (name === "heatmap") box.style.height = `${heatmapHeight(run.data.layers.length)}px`;
    const chart = echarts.init(box, null, { renderer: "canvas" });
    run.charts[name] = box.chart = chart; // to be reached from the console, and from tests
    chart.setOption(optionOf(name, run, state, box));
    if (name === "heatmap") heatmapManners(run, chart, state);
    else if (name === "depth" || name === "updates") chooses(chart, run, state);
    else if (name in OPTIONS) draggable(chart, state);
  }
}

// A click in a chart whose axis is the layers chooses one.
function chooses(chart, run, state) {
  chart.getZr().on("click", (event) => {
    if (!chart.containPixel("grid", [event.offsetX, event.offsetY])) return;
    const layer = Math.round(chart.convertFromPixel({ xAxisIndex: 0 }, event.offsetX));
    if (layer >= 0 && layer < run.data.layers.length) state.choose(layer);
  });
}

function redraw(run, state, changed) {
  for (const [name, chart] of Object.entries(run.charts)) {
    if (!changed || FOLLOWS[name]?.some((part) => changed.has(part))) chart.setOption(optionOf(name, run, state, chart.getDom()), { notMerge: true });
  }
}

function followPage(run, state) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    run.painter?.forget();
    redraw(run, state);
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const chart of Object.values(run.charts)) chart.resize();
    redraw(run, state);
  });
  const folded = () => [...document.querySelectorAll("details:not([open]):not(.on-demand)")];
  let opened = [];
  addEventListener("beforeprint", () => (opened = folded()).forEach((part) => { part.open = true; }));
  addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
}

async function begin() {
  offerCopies();
  if (!document.getElementById("data")) return;
  const run = await readRun();
  const chip = document.querySelector("article [data-layer]");
  const state = makeState([run.first[0], run.last.at(-1)], chip ? Number(chip.dataset.layer) : 0);
  const root = document.documentElement;
  root.classList.add("ready");
  try {
    makeCharts(run, state);
  } catch (error) {
    root.classList.remove("ready");
    throw error;
  }
  offerPlaces(state);
  offerControls(run, state);
  state.listen((changed) => redraw(run, state, changed));
  state.listen((changed) => tellControls(run, state, changed));
  tellControls(run, state, new Set(["span", "layer", "shown"]));
  followPage(run, state);
  root.dataset.drawn = String(Math.round(performance.now()));
}

begin();
