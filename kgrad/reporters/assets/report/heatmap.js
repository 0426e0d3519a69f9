// Layer x step, painted pixel by pixel inside ECharts' axes: its own heatmap series makes one object per cell, which
// at 200 layers x 600 columns alone took longer than a whole page may (measured; see benchmarks/report_time.py).
function makePainter(run) {
  const { columns } = run, codes = run.gradient.middle, layers = run.data.layers.length;
  let table = null, kept = null, key = "";
  // What stands for several columns under one pixel is the one farthest from the layer's own median: no extreme is lost.
  const usual = Array.from({ length: layers }, (_, layer) => {
    const known = rowOf(codes, layer, columns).filter((code) => code >= FIRST).sort();
    return known.length ? known[known.length >> 1] : FIRST;
  });
  const strangest = (row, from, to, layer) => {
    let best = row[from];
    for (let column = from + 1; column < to; column++) {
      if (row[column] === BROKEN) return BROKEN;
      if (Math.abs(row[column] - usual[layer]) > Math.abs(best - usual[layer])) best = row[column];
    }
    return best;
  };

  function paint(width, height, [first, last]) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const edges = Array.from({ length: width + 1 }, (_, x) => run.columnAt(first + ((last + 1 - first) * x) / width));
    let painted = -1;
    for (let y = 0; y < height; y++) {
      const layer = Math.floor((y * layers) / height);
      if (layer === painted) {
        pixels.copyWithin(y * width, (y - 1) * width, y * width);
        continue;
      }
      painted = layer;
      const row = rowOf(codes, layer, columns);
      for (let x = 0; x < width; x++) pixels[y * width + x] = table[strangest(row, edges[x], Math.max(edges[x + 1], edges[x] + 1), layer)];
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  return {
    forget: () => { table = null; key = ""; },
    picture(width, height, span) {
      const wanted = [width, height, ...span].join();
      table ??= pixelTable(run.data.scale);
      if (wanted !== key) [key, kept] = [wanted, paint(Math.max(width, 1), Math.max(height, 1), span)];
      return kept;
    },
  };
}

// Every layer gets at least a pixel, a few layers get room to breathe.
const heatmapHeight = (layers) => Math.max(Math.min(Math.max(layers * 22, 140), 460), layers) + 40;

function heatmapOption(run, state) {
  const { data, painter } = run, layers = data.layers;
  const narrow = (run.charts.heatmap?.getWidth() ?? 900) < 560;
  const room = Math.min(Math.max(...layers.map((name) => name.length)) * 6.5 + 14, narrow ? 64 : 130);
  return {
    animation: false,
    grid: place({ left: Math.max(room, 40), top: 6, bottom: 26 }),
    xAxis: stepAxis([state.span[0], state.span[1] + 1]),
    yAxis: {
      ...axisStyle(), type: "category", data: layers, inverse: true, splitLine: { show: false },
      axisLabel: { color: colour("soft"), fontSize: 11, width: Math.max(room, 40) - 10, overflow: "truncate" },
    },
    series: [{
      type: "custom", coordinateSystem: "cartesian2d", data: [[state.span[0], 0]], silent: true, clip: true, animation: false,
      renderItem: (params) => heatmapItem(run, state, params.coordSys, painter),
    }],
  };
}

function heatmapItem(run, state, { x, y, width, height }, painter) {
  const ratio = window.devicePixelRatio || 1, band = height / run.data.layers.length;
  const image = painter.picture(Math.round(width * ratio), Math.round(height * ratio), state.span);
  const children = [{ type: "image", style: { image, x, y, width, height } }];
  for (const [hue, lineWidth] of [["panel", 3.5], ["ink", 1.5]]) {
    children.push({ type: "rect", shape: { x, y: y + state.shown * band, width, height: band }, style: { fill: "none", stroke: colour(hue), lineWidth } });
  }
  if (state.column !== null) {
    const [first, last] = state.span;
    const at = x + (width * (run.first[state.column] + 0.5 - first)) / (last + 1 - first);
    if (at >= x && at <= x + width) children.push({ type: "line", shape: { x1: at, x2: at, y1: y, y2: y + height }, style: { stroke: colour("panel"), lineWidth: 1.5 } });
  }
  return { type: "group", children };
}

// Hover follows the pointer, a click keeps the layer, arrow keys do both.
function heatmapManners(run, chart, state) {
  const under = (event) => {
    const at = [event.offsetX, event.offsetY];
    if (!chart.containPixel("grid", at)) return null;
    const [step, layer] = chart.convertFromPixel("grid", at);
    return { column: run.columnAt(step), shown: Math.min(Math.max(Math.round(layer), 0), run.data.layers.length - 1) };
  };
  chart.getZr().on("mousemove", (event) => state.change(under(event) ?? { shown: state.layer, column: null }));
  chart.getZr().on("globalout", () => state.change({ shown: state.layer, column: null }));
  draggable(chart, state, (event) => {
    const found = under(event);
    if (found) state.choose(found.shown);
  });
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0] };
  chart.getDom().addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const [from, to] = visibleColumns(run, state.span);
    const layer = Math.min(Math.max(state.layer + move[0], 0), run.data.layers.length - 1);
    const column = Math.min(Math.max((state.column ?? from) + move[1], from), to);
    state.change({ layer, shown: layer, column });
  });
}
