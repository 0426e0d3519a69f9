// What was tried of a prescription: the unchanged model beside the changed one, over depth or over a trial's steps.
const PAIR = [["unchanged", "worst", "dashed"], ["changed", "end", "solid"]];

function proofOption(run, name) {
  const proof = run.data.proofs[name], overDepth = name.startsWith("dry");
  const shown = (value) => (value === null || (proof.wide && value <= 0) ? null : proof.wide ? Math.log10(value) : value);
  const dots = overDepth && proof.across.length <= 40;
  const title = overDepth ? "gradient norm" : proof.wide ? "loss, logarithmic" : "loss";
  return {
    animation: false,
    grid: place({ left: 48, top: 24, bottom: overDepth ? 52 : 24 }),
    xAxis: overDepth ? layerAxis(proof.across) : stepAxis([proof.across[0], proof.across.at(-1)]),
    yAxis: proof.wide ? logAxis(title) : { ...axisStyle(), type: "value", scale: true, name: title, splitNumber: 3, axisLabel: { ...axisStyle().axisLabel, formatter: tick } },
    tooltip: tooltip((items) => {
      const { axisValue, dataIndex: at } = Array.isArray(items) ? items[0] : items;
      const said = (side) => `${side}  ${proof[side][at] === null ? "not finite" : number(proof[side][at])}`;
      return [overDepth ? axisValue : `step ${count(proof.across[at])}`, ...PAIR.map(([side]) => said(side))].join("\n");
    }),
    series: PAIR.map(([side, hue, type]) => line(side, proof[side].map((value, at) => (overDepth ? shown(value) : [proof.across[at], shown(value)])), {
      symbol: dots ? "circle" : "none", symbolSize: 5, itemStyle: { color: colour(hue) }, lineStyle: { width: 2, type },
    })),
  };
}
