// The extreme eigenvalues of the Hessian over the steps, each with the bound of its error.
function curvatureOption(run, state) {
  const rows = run.data.curvature, sides = [["largest eigenvalue", 3], ["smallest eigenvalue", 1]];
  const error = (index, column) => ({
    type: "custom", xAxisIndex: index, yAxisIndex: index, silent: true, animation: false, clip: true,
    data: rows.filter((row) => row[column] !== null).map((row) => [row[0], row[column] - (row[column + 1] ?? 0), row[column] + (row[column + 1] ?? 0)]),
    renderItem: (_, api) => {
      const [x, low] = api.coord([api.value(0), api.value(1)]), high = api.coord([api.value(0), api.value(2)])[1];
      return { type: "line", shape: { x1: x, x2: x, y1: low, y2: high }, style: { stroke: colour("soft"), lineWidth: 1.5 } };
    },
  });
  const curve = (index, name, column) => line(name, rows.map((row) => [row[0], row[column]]), {
    xAxisIndex: index, yAxisIndex: index, symbol: "circle", symbolSize: 5, itemStyle: { color: colour("curve") },
    markLine: { silent: true, symbol: "none", animation: false, label: { show: false }, lineStyle: { color: colour("soft"), type: "dashed" }, data: [{ yAxis: 0 }] },
  });
  return {
    animation: false,
    grid: [place({ top: 26, height: "32%" }), place({ bottom: 26, height: "32%" })],
    xAxis: sides.map((_, index) => stepAxis(state.span, { gridIndex: index, axisLabel: { show: index === 1 } })),
    yAxis: sides.map(([name], index) => ({ ...axisStyle(), type: "value", name, gridIndex: index, splitNumber: 3, axisLabel: { ...axisStyle().axisLabel, formatter: tick } })),
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    tooltip: tooltip((items) => {
      const step = (Array.isArray(items) ? items[0] : items).axisValue;
      const row = rows.reduce((best, each) => (Math.abs(each[0] - step) < Math.abs(best[0] - step) ? each : best));
      const said = (column) => (row[column] === null ? "not known" : `${number(row[column])} ± ${number(row[column + 1] ?? NaN)}`);
      return `after ${count(row[0])} steps\nlargest  ${said(3)}\nsmallest  ${said(1)}`;
    }),
    series: sides.flatMap(([name, column], index) => [error(index, column), curve(index, name, column)]),
  };
}
