// Loss over the steps, under the timeline of phases.
function overviewOption(run, state) {
  const { data, series } = run, wide = data.series.loss, loss = series.loss;
  const shown = (value) => (wide ? Math.log10(value) : value);
  const [first, last] = state.span;
  const pixels = (run.charts.overview?.getWidth() ?? 600) / Math.max(last - first, 1);
  const phases = data.phases.map((phase) => {
    const width = (Math.min(phase.last + 1, last) - Math.max(phase.first, first)) * pixels;
    return [
      { xAxis: Math.max(phase.first, first), name: phase.name, itemStyle: { color: colour(`p-${phase.name}`) }, label: { show: width > 8 * phase.name.length } },
      { xAxis: Math.min(phase.last + 1, Math.max(last, first + 1)) },
    ];
  }).filter(([from, to]) => to.xAxis > from.xAxis);
  const strip = { ...line("", [], { xAxisIndex: 1, yAxisIndex: 1 }), markArea: {
    silent: true, animation: false, data: phases,
    label: { color: colour("ink"), fontSize: 11, fontWeight: 600, position: "inside" },
  } };
  const tints = { silent: true, animation: false, label: { show: false }, data: phases.map(([from, to]) => [{ ...from, name: "", label: { show: false }, itemStyle: { ...from.itemStyle, opacity: 0.28 } }, to]) };
  const curves = [line("", [], { markArea: tints })];
  if (loss) {
    if (!data.exact) curves.push(...band(run, state.span, (c) => shown(loss.low[c]), (c) => shown(loss.high[c])));
    curves.push(line("loss", points(run, state.span, (c) => shown(loss.middle[c])), {
      itemStyle: { color: colour("curve") }, lineStyle: run.trend ? { width: 1, opacity: 0.45 } : {}, markArea: brokenAreas(run, (c) => !Number.isFinite(loss.middle[c])),
    }));
    if (run.trend) curves.push(line("trend", points(run, state.span, (c) => run.trend[c]), { itemStyle: { color: colour("curve") }, lineStyle: { width: 2.4 } }));
  }
  const validated = data.validation.filter(([step]) => step >= first && step <= last).map(([step, value]) => [step, shown(value)]);
  if (validated.length) curves.push({ type: "scatter", name: "validation loss", data: validated, symbol: "diamond", symbolSize: 8, silent: true, animation: false, itemStyle: { color: colour("worst") } });
  const name = (loss ? (wide ? "loss, logarithmic" : "loss") : "no loss was recorded") + (validated.length ? "   ◆ validation" : "");
  return {
    animation: false,
    grid: [place({ top: 62, bottom: 26 }), place({ top: 4, height: 22 })],
    xAxis: [stepAxis(state.span), stepAxis(state.span, { gridIndex: 1, show: false })],
    yAxis: [
      { ...axisStyle(), type: "value", scale: true, name, axisLabel: { ...axisStyle().axisLabel, formatter: wide ? decade : tick }, minInterval: wide ? 1 : undefined },
      { type: "value", gridIndex: 1, show: false, min: 0, max: 1 },
    ],
    tooltip: tooltip((items) => stepTip(run, items)),
    series: [strip, ...curves],
  };
}

// What a step chart says at the pointer.
function stepTip(run, items) {
  const at = run.columnAt((Array.isArray(items) ? items[0] : items).axisValue);
  const lines = [run.stepsOf(at)];
  for (const [name, series] of Object.entries(run.series)) lines.push(`${name.replaceAll("_", " ")}  ${number(series.middle[at])}`);
  return lines.join("\n");
}
