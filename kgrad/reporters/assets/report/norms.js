// The global norm before and after clipping, and the learning rate under it.
function normsOption(run, state) {
  const { series, data } = run;
  const grids = ["global_norm", "learning_rate"].filter((name) => name in series && !data.constant.includes(name));
  const last = grids.length - 1;
  const shownOf = (name) => (data.series[name] ? Math.log10 : (value) => value);
  const lines = [];
  const add = (name, index, style) => {
    const shown = shownOf(grids[index]), axes = { xAxisIndex: index, yAxisIndex: index };
    if (!data.exact) lines.push(...band(run, state.span, (c) => shown(series[name].low[c]), (c) => shown(series[name].high[c]), axes));
    lines.push(line(name, points(run, state.span, (c) => shown(series[name].middle[c])), { ...axes, ...style, markArea: brokenAreas(run, (c) => Number.isNaN(series[name].middle[c])) }));
  };
  grids.forEach((name, index) => add(name, index, { itemStyle: { color: colour("curve") } }));
  if (series.applied_global_norm && grids[0] === "global_norm") add("applied_global_norm", 0, { itemStyle: { color: colour("worst") }, lineStyle: { type: "dashed" } });
  const grid = last ? [place({ top: 26, height: "42%" }), place({ bottom: 26, height: "22%" })] : [place({ top: 26, bottom: 26 })];
  const title = { global_norm: series.applied_global_norm ? "global norm (dashed: after clipping)" : "global norm", learning_rate: "learning rate" };
  return {
    animation: false,
    grid,
    xAxis: grids.map((_, index) => stepAxis(state.span, { gridIndex: index, axisLabel: { show: index === last } })),
    yAxis: grids.map((name, index) => (data.series[name] ? logAxis(title[name], { gridIndex: index }) : { ...axisStyle(), type: "value", scale: true, name: title[name], gridIndex: index, splitNumber: 3, axisLabel: { ...axisStyle().axisLabel, formatter: tick } })),
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip((items) => stepTip(run, items)),
    series: lines,
  };
}
