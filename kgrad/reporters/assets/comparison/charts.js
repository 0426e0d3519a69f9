// Overlaid curves, one line a run, and parallel coordinates.

// renderMode richText draws on the canvas: tooltips as HTML would need inline styles, which the page's policy forbids.
const tooltip = (formatter) => ({
  trigger: "item", renderMode: "richText", confine: true, transitionDuration: 0, formatter,
  backgroundColor: colour("panel"), borderColor: colour("line"), textStyle: { color: colour("ink"), fontSize: 12 },
});

const MOST_AXES = 12;

const PLACES = {
  loss: (data, run) => data.steps[data.curves[run].steps],
  norm: (data, run) => data.steps[data.curves[run].steps],
  profile: (data, run) => {
    const last = Math.max(data.curves[run].profile.length - 1, 1);
    return data.curves[run].profile.map((_, place) => place / last);
  },
};

// Whether a logarithmic axis fits: the values span a decade, and none of a loss is below zero. A norm of zero is
// left out.
function isLogarithmic(data, which, runs) {
  let low = Infinity, high = -Infinity, positive = true;
  for (const run of runs) {
    for (const value of data.curves[run][which]) {
      if (value === null) continue;
      if (value <= 0) positive = false;
      else if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return high > 10 * low && (positive || which !== "loss");
}

function linesOf(data, which, run, logarithmic) {
  const across = PLACES[which](data, run), heights = data.curves[run][which];
  const lines = [];
  let line = [];
  heights.forEach((value, place) => {
    const height = value === null || (logarithmic && value <= 0) ? null : logarithmic ? Math.log10(value) : value;
    if (height !== null) line.push([across[place], height]);
    if ((height === null || place === heights.length - 1) && line.length) {
      lines.push(line);
      line = [];
    }
  });
  return lines;
}

// The ends of the height axis: all values, less a two-hundredth at an end where these would flatten the rest.
function span(values) {
  const sorted = values.sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const last = sorted.length - 1, cut = Math.floor(sorted.length / 200), most = (sorted[last - cut] - sorted[cut]) / 3;
  const low = sorted[cut] - sorted[0] > most ? sorted[cut] : sorted[0];
  const high = sorted[last] - sorted[last - cut] > most ? sorted[last - cut] : sorted[last];
  const margin = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - margin, high + margin];
}

function curvesOption(data, state, which) {
  const coloured = colouring(data, state.colour);
  const shown = state.visible.filter((run) => data.curves[run][which].length);
  for (const run of state.picked) if (!shown.includes(run) && data.curves[run][which].length) shown.push(run);
  const logarithmic = isLogarithmic(data, which, shown);
  const order = [...shown.filter((run) => !state.picked.includes(run)), ...shown.filter((run) => state.picked.includes(run))];
  const lines = new Map(order.map((run) => [run, linesOf(data, which, run, logarithmic)]));
  const points = [...lines.values()].flat(2);
  const [low, high] = span(points.map((point) => point[1]));
  const ticks = logarithmic ? decades(low, high) : undefined;
  const right = which === "profile" ? 1 : points.reduce((most, point) => Math.max(most, point[0]), 1);
  const faint = shown.length > 300 ? 0.16 : shown.length > 60 ? 0.4 : 0.8;
  const pickColour = (run) => colour(state.picked[0] === run ? "first-pick" : "second-pick");
  return {
    animation: false,
    grid: { left: 58, right: 14, top: 24, bottom: 28 },
    xAxis: { ...axisStyle(), type: "value", min: 0, max: right, splitLine: { show: false }, axisLabel: { ...axisStyle().axisLabel, formatter: which === "profile" ? (share) => ({ 0: "input", 1: "output" })[share] ?? "" : short } },
    yAxis: {
      ...axisStyle(), type: "value", min: low, max: high, name: logarithmic ? "logarithmic" : "", nameGap: 8,
      axisTick: { show: false, customValues: ticks },
      axisLabel: { ...axisStyle().axisLabel, customValues: ticks, showMinLabel: logarithmic, showMaxLabel: logarithmic, formatter: (value) => short(logarithmic ? 10 ** value : value) },
    },
    tooltip: tooltip(({ value }) => describe(data, value[0])),
    series: [{
      type: "custom", clip: true, encode: { x: -1, y: -1 }, progressive: 0,
      data: order.map((run) => [run]),
      renderItem: (params, api) => {
        const run = order[params.dataIndex], picked = state.picked.includes(run);
        const style = {
          fill: "none", stroke: picked ? pickColour(run) : coloured.of(run), opacity: picked ? 1 : state.picked.length ? faint / 2 : faint,
          lineWidth: picked ? 2.6 : 1.2, lineJoin: "round",
        };
        return {
          type: "group",
          children: lines.get(run).map((line) => ({ type: "polyline", shape: { points: line.map((point) => api.coord(point)) }, style, z2: picked ? 5 : 1 })),
        };
      },
    }],
  };
}

function describe(data, run) {
  const said = data.axes.map((axis) => `${axis.name}  ${axis.values[run] === null ? "-" : axis.kind === "number" ? short(axis.values[run]) : axis.values[run]}`);
  return [data.runs[run].name.slice(0, 60), ...said].join("\n");
}

function parallelOption(data, state) {
  const coloured = colouring(data, state.colour), axes = data.axes.slice(-MOST_AXES);
  const visible = new Set(state.visible), width = document.querySelector('[data-chart="parallel"]').clientWidth;
  const faint = visible.size > 300 ? 0.25 : 0.6;
  return {
    animation: false,
    parallel: { left: 40, right: 70, top: 46, bottom: 22, parallelAxisDefault: { nameLocation: "end", nameGap: 14, nameRotate: width < 110 * axes.length ? 20 : 0, areaSelectStyle: { width: 16, color: colour("accent"), opacity: 0.25, borderColor: colour("accent") } } },
    parallelAxis: axes.map((axis, dim) => ({
      ...axisStyle(), dim, id: `axis${dim}`, name: axis.name, realtime: false, nameTextStyle: { color: colour("ink"), fontSize: 11 },
      ...(axis.kind === "words"
        ? { type: "category", data: wordsOf(axis) }
        : { type: axis.wide ? "log" : "value", scale: true }),
      axisLabel: { color: colour("ink"), fontSize: 11, textBorderColor: colour("panel"), textBorderWidth: 3, overflow: "truncate", width: Math.max(40, width / axes.length - 12), formatter: axis.kind === "words" ? (word) => word.replaceAll("-", " ") : short },
    })),
    tooltip: tooltip(({ dataIndex }) => describe(data, dataIndex)),
    series: [{
      type: "parallel", progressive: 0, inactiveOpacity: 0.03, activeOpacity: 0.8,
      data: data.runs.map((_, run) => {
        const at = state.picked.indexOf(run), shown = state.brushed !== null || visible.has(run);
        return {
          value: axes.map((axis) => axis.values[run] ?? "-"),
          lineStyle: { color: at >= 0 ? colour(at ? "second-pick" : "first-pick") : coloured.of(run), width: at >= 0 ? 3 : 1.2, opacity: at >= 0 ? 1 : shown ? faint : 0.03 },
        };
      }),
    }],
  };
}

const OPTIONS = {
  parallel: parallelOption,
  loss: (data, state) => curvesOption(data, state, "loss"),
  norm: (data, state) => curvesOption(data, state, "norm"),
  profile: (data, state) => curvesOption(data, state, "profile"),
};

// Each chart is made when it first comes near the window: a page of a thousand runs opens at once.
function offerCharts(data, state) {
  const charts = new Map();
  // Parallel coordinates are merged, so that what is brushed stays so.
  const draw = (box) => charts.get(box).setOption(OPTIONS[box.dataset.chart](data, state), { notMerge: box.dataset.chart !== "parallel" });
  const make = (box) => {
    // On a narrow screen the axes scroll sideways rather than shrink beyond reading.
    if (box.dataset.chart === "parallel") box.style.minWidth = `${110 + 84 * (Math.min(data.axes.length, MOST_AXES) - 1)}px`;
    const chart = echarts.init(box, null, { renderer: "canvas" });
    charts.set(box, chart);
    draw(box);
    if (box.dataset.chart === "parallel") {
      chart.on("axisareaselected", () => {
        const series = chart.getModel().getSeriesByIndex(0);
        const axes = chart.getModel().queryComponents({ mainType: "parallelAxis" });
        const isBrushed = axes.some((axis) => axis.activeIntervals.length);
        state.change({ brushed: isBrushed ? new Set(series.getRawIndicesByActiveState("active")) : null });
      });
      document.getElementById("unbrush").addEventListener("click", () => {
        data.axes.forEach((_, place) => chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: `axis${place}`, intervals: [] }));
        state.change({ brushed: null });
      });
    }
    chart.on("click", ({ dataIndex, value }) => state.toggle(box.dataset.chart === "parallel" ? dataIndex : value[0]));
    box.dataset.drawn = "yes";
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      make(target);
    }
  }, { rootMargin: "200px" });
  for (const box of document.querySelectorAll("[data-chart]")) watcher.observe(box);
  const redraw = (changed) => {
    for (const box of charts.keys()) {
      // A brushed chart keeps its own brush; drawing it anew would lose it.
      if (box.dataset.chart === "parallel" && changed?.has("brushed")) continue;
      draw(box);
    }
  };
  state.listen(redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const chart of charts.values()) chart.resize();
    redraw();
  });
}

function offerColours(data, state) {
  const select = document.getElementById("colour"), legend = document.getElementById("legend");
  for (const axis of data.axes) select.add(new Option(axis.name, axis.name, false, axis.name === state.colour));
  select.addEventListener("change", () => state.change({ colour: select.value }));
  const tell = () => legend.replaceChildren(...colouring(data, state.colour).legend.map(([word, shade]) => {
    const entry = document.createElement("span"), swatch = document.createElement("i");
    entry.setAttribute("role", "listitem");
    swatch.style.background = shade;
    entry.append(swatch, word);
    return entry;
  }));
  state.listen((changed) => changed.has("colour") && tell());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
}
