// Pieces that several charts draw: a curve with its range, marked spans, and the drag that zooms.

// First and last column that the span of steps touches, with one neighbour each so that lines reach the edge.
function visibleColumns(run, [first, last]) {
  let from = 0, to = run.columns - 1;
  while (from < to && run.first[from + 1] < first) from++;
  while (to > from && run.first[to - 1] > last) to--;
  return [from, to];
}

const points = (run, span, value) => {
  const [from, to] = visibleColumns(run, span);
  const made = [];
  for (let column = from; column <= to; column++) {
    const height = value(column);
    made.push([run.first[column], Number.isFinite(height) ? height : null]);
  }
  return made;
};

const line = (name, data, more = {}) => ({
  type: "line", name, data, symbol: "none", animation: false, silent: true, sampling: undefined,
  ...more, lineStyle: { width: 1.6, ...more.lineStyle },
});

// The range between least and largest of each column, under the line of medians.
function band(run, span, low, high, more = {}) {
  const lows = points(run, span, low);
  const heights = points(run, span, (column) => high(column) - low(column));
  const stacked = { stack: `band${more.xAxisIndex ?? 0}`, stackStrategy: "all", lineStyle: { width: 0 }, tooltip: { show: false }, ...more };
  return [line("", lows, stacked), line("", heights, { ...stacked, areaStyle: { color: colour("band") } })];
}

// Spans of columns for which a test holds, as areas of a chart.
function areas(run, test, style) {
  const spans = [];
  for (let column = 0; column < run.columns; column++) {
    if (!test(column)) continue;
    const open = spans.at(-1);
    if (open && open.end === column) open.end = column + 1;
    else spans.push({ start: column, end: column + 1 });
  }
  return spans.map(({ start, end }) => [{ xAxis: run.first[start], itemStyle: style }, { xAxis: run.last[end - 1] + 1 }]);
}

const markedAreas = (words, style) => (run, test) => ({
  silent: true, animation: false,
  label: { show: true, color: colour("ink"), fontSize: 11, position: "insideTop", formatter: words },
  data: areas(run, test, style()),
});
const brokenAreas = markedAreas("not finite", () => ({ color: colour("broken"), opacity: 0.22 }));
const zeroAreas = markedAreas("exactly zero", () => ({ color: colour("missing"), opacity: 0.22 }));

// Drag sideways to zoom, double click to see everything, click to do what `clicked` says.
function draggable(chart, state, clicked = () => {}) {
  const box = chart.getDom(), pointer = chart.getZr();
  const mark = document.createElement("div");
  mark.className = "drag";
  mark.hidden = true;
  box.append(mark);
  let from = null;
  const isTouch = (event) => event.event?.type?.startsWith("touch") || event.event?.pointerType === "touch";
  const inside = (event) => chart.containPixel({ gridIndex: "all" }, [event.offsetX, event.offsetY]) || chart.containPixel("grid", [event.offsetX, event.offsetY]);
  const stepAt = (x) => chart.convertFromPixel({ xAxisIndex: 0 }, x);

  pointer.on("mousedown", (event) => {
    if (!isTouch(event) && inside(event)) from = event.offsetX;
  });
  pointer.on("mousemove", (event) => {
    if (from === null) return;
    mark.hidden = Math.abs(event.offsetX - from) < 5;
    mark.style.left = `${Math.min(from, event.offsetX)}px`;
    mark.style.width = `${Math.abs(event.offsetX - from)}px`;
  });
  const end = (event) => {
    if (from === null) return;
    const start = from;
    from = null;
    mark.hidden = true;
    if (Math.abs(event.offsetX - start) >= 5) state.zoom(stepAt(start), stepAt(event.offsetX));
    else clicked(event);
  };
  pointer.on("mouseup", end);
  pointer.on("globalout", () => {
    from = null;
    mark.hidden = true;
  });
  pointer.on("dblclick", () => state.change({ span: state.whole }));
}
