// The charts of one layer over the steps, and of all layers through depth.
const logAxis = (name, more = {}) => ({
  ...axisStyle(), type: "value", scale: true, name, minInterval: 1, ...more,
  axisLabel: { ...axisStyle().axisLabel, formatter: decade },
});

// Median over the layers of each column, as a logarithm: what a layer is seen against.
function medianOfLayers(run) {
  const { columns } = run, layers = run.data.layers.length, codes = run.gradient.middle;
  return Float64Array.from({ length: columns }, (_, column) => {
    const known = [];
    for (let layer = 0; layer < layers; layer++) {
      const code = codes[layer * columns + column];
      if (code >= FIRST) known.push(code);
    }
    known.sort((a, b) => a - b);
    return known.length ? logarithm(known[known.length >> 1]) : NaN;
  });
}

function layerOption(run, state) {
  const of = (matrix) => rowOf(matrix, state.shown, run.columns);
  const middle = of(run.gradient.middle), update = run.update && of(run.update.middle);
  run.usual ??= medianOfLayers(run);
  const series = [line("median of all layers", points(run, state.span, (c) => run.usual[c]), { lineStyle: { width: 1 }, itemStyle: { color: colour("second") } })];
  if (!run.data.exact) {
    const low = of(run.gradient.low), high = of(run.gradient.high);
    series.push(...band(run, state.span, (c) => logarithm(low[c]), (c) => logarithm(high[c])));
  }
  series.push(line("gradient norm", points(run, state.span, (c) => logarithm(middle[c])), {
    itemStyle: { color: colour("curve") }, markArea: brokenAreas(run, (c) => middle[c] === BROKEN),
  }));
  series.push(line("", [], { markArea: zeroAreas(run, (c) => middle[c] === ZERO) }));
  if (update) series.push(line("update / weight", points(run, state.span, (c) => logarithm(update[c])), { xAxisIndex: 1, yAxisIndex: 1, itemStyle: { color: colour("curve") }, markArea: zeroAreas(run, (c) => update[c] === ZERO) }));
  const grids = update ? [place({ top: 26, height: "44%" }), place({ bottom: 26, height: "24%" })] : [place({ top: 26, bottom: 26 })];
  return {
    animation: false,
    grid: grids,
    xAxis: grids.map((_, index) => stepAxis(state.span, { gridIndex: index, axisLabel: { show: index === grids.length - 1 } })),
    yAxis: [logAxis("gradient norm"), logAxis("update / weight", { gridIndex: 1 })].slice(0, grids.length),
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip((items) => {
      const at = run.columnAt((Array.isArray(items) ? items[0] : items).axisValue);
      return [run.stepsOf(at), `gradient norm  ${norm(middle[at])}`, update ? `update / weight  ${norm(update[at])}` : ""].join("\n").trim();
    }),
    series,
  };
}

const layerAxis = (layers) => ({
  ...axisStyle(), type: "category", data: layers, splitLine: { show: false },
  axisLabel: { color: colour("soft"), fontSize: 11, rotate: layers.length > 6 ? 35 : 0, width: 86, overflow: "truncate", hideOverlap: true },
});

// The chosen layer, and the layers that a logarithm cannot show because their value is exactly zero.
const layerLines = (chosen, zeros) => ({
  silent: true, symbol: "none", animation: false,
  data: [
    ...(chosen === null ? [] : [{ xAxis: chosen, label: { show: false }, lineStyle: { color: colour("soft"), type: "solid", width: 1 } }]),
    ...zeros.map((layer) => ({
      xAxis: layer, lineStyle: { color: colour("soft"), type: "dotted", width: 1 },
      label: { show: zeros.length <= 12, formatter: "zero", position: "insideStartTop", color: colour("soft"), fontSize: 11 },
    })),
  ],
});

const STYLES = { start: ["solid", "circle"], worst: ["dashed", "triangle"], end: ["dotted", "rect"] };

function depthOption(run, state) {
  const { data } = run, dots = data.layers.length <= 60;
  const profile = ({ name, norms }) => line(name, norms.map((value) => (value > 0 ? Math.log10(value) : null)), {
    symbol: dots ? STYLES[name][1] : "none", symbolSize: 6, itemStyle: { color: colour(name) }, lineStyle: { width: 2, type: STYLES[name][0] },
  });
  const series = data.profiles.map(profile);
  const zeros = data.layers.map((_, layer) => layer).filter((layer) => data.profiles.some(({ norms }) => norms[layer] === 0));
  if (series.length) series[0].markLine = layerLines(state.shown, zeros);
  if (state.column !== null) {
    const now = data.layers.map((_, layer) => logarithm(run.gradient.middle[layer * run.columns + state.column]));
    series.push(line("pointer", now.map((value) => (Number.isFinite(value) ? value : null)), { itemStyle: { color: colour("cursor") }, lineStyle: { width: 1 } }));
  }
  return {
    animation: false,
    grid: place({ top: 26, bottom: 64 }),
    xAxis: layerAxis(data.layers),
    yAxis: logAxis("gradient norm"),
    tooltip: tooltip((items) => {
      const layer = items[0].dataIndex;
      return [data.layers[layer], ...data.profiles.map((p) => `${p.name}  ${p.norms[layer] === null ? "not known" : number(p.norms[layer])}`)].join("\n");
    }),
    series,
  };
}

// Decades between which an update is of a sound size; its source stands under the chart.
const SOUND = [-4, -1];

// Median and the span of nine tenths of each layer's update sizes over the steps shown.
function updateSpans(run, state) {
  const [from, to] = visibleColumns(run, state.span);
  return run.data.layers.map((_, layer) => {
    const known = rowOf(run.update.middle, layer, run.columns).slice(from, to + 1).filter((code) => code >= FIRST).sort();
    const at = (part) => (known.length ? logarithm(known[Math.round(part * (known.length - 1))]) : NaN);
    return [layer, at(0.05), at(0.5), at(0.95)];
  });
}

function updatesOption(run, state) {
  const all = updateSpans(run, state), spans = all.filter((span) => Number.isFinite(span[2]));
  const [from, to] = visibleColumns(run, state.span);
  const still = (layer) => rowOf(run.update.middle, layer, run.columns).slice(from, to + 1).some((code) => code === ZERO);
  const zeros = all.filter((span) => !Number.isFinite(span[2]) && still(span[0])).map(([layer]) => layer);
  const bar = (_, api) => {
    const low = api.coord([api.value(0), api.value(1)]), high = api.coord([api.value(0), api.value(3)]), middle = api.coord([api.value(0), api.value(2)]);
    const wide = Math.max(Math.min(api.size([1, 0])[0] * 0.5, 14), 1), chosen = api.value(0) === state.layer;
    const height = Math.max(low[1] - high[1], 2);
    return { type: "group", children: [
      { type: "rect", shape: { x: high[0] - wide / 2, y: high[1], width: wide, height, r: Math.min(wide / 2, 3) }, style: { fill: colour("curve"), opacity: chosen ? 0.75 : 0.35 } },
      { type: "circle", shape: { cx: middle[0], cy: middle[1], r: Math.max(Math.min(wide / 3, 3.5), 1) }, style: { fill: colour("ink") } },
    ] };
  };
  return {
    animation: false,
    grid: place({ top: 26, bottom: 64 }),
    xAxis: layerAxis(run.data.layers),
    yAxis: logAxis("update / weight, one step", { min: ({ min }) => Math.floor(Math.min(min, SOUND[0])), max: ({ max }) => Math.ceil(Math.max(max, SOUND[1])) }),
    tooltip: tooltip((items) => {
      const span = spans.find(([layer]) => layer === items[0].dataIndex || layer === items[0].value?.[0]);
      return span ? `${run.data.layers[span[0]]}\nmedian  ${number(10 ** span[2])}\nnine tenths  ${number(10 ** span[1])} to ${number(10 ** span[3])}` : "";
    }),
    series: [{
      type: "custom", renderItem: bar, data: spans, encode: { x: 0, y: [1, 2, 3] }, animation: false,
      markArea: { silent: true, animation: false, itemStyle: { color: colour("p-healthy"), opacity: 0.45 }, label: { show: false }, data: [[{ yAxis: SOUND[0] }, { yAxis: SOUND[1] }]] },
      markLine: layerLines(null, zeros),
    }],
  };
}
