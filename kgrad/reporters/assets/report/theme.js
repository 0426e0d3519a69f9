// Colours come from the style sheet, so that charts follow the light and the dark theme.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function viridis(value) {
  const place = Math.min(Math.max(value, 0), 1) * (VIRIDIS.length - 1);
  const left = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[left].map((from, part) => from + (VIRIDIS[left + 1][part] - from) * (place - left));
}

const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

// A table from code to packed pixel, for the span of codes between the two ends of the scale.
function pixelTable([low, high]) {
  const packed = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;
  const table = new Uint32Array(65536);
  for (let code = FIRST; code < table.length; code++) table[code] = packed(viridis((logarithm(code) - low) / (high - low)));
  table[MISSING] = packed(rgb(colour("missing")));
  table[BROKEN] = packed(rgb(colour("broken")));
  table[ZERO] = packed(rgb(colour("zero")));
  return table;
}

function axisStyle() {
  return {
    axisLine: { lineStyle: { color: colour("line") } },
    axisTick: { show: false },
    axisLabel: { color: colour("soft"), fontSize: 11, hideOverlap: true },
    splitLine: { lineStyle: { color: colour("grid") } },
    nameTextStyle: { color: colour("soft"), fontSize: 11, align: "left" },
    nameGap: 10,
  };
}

// Where a chart's axes stand: exactly there, so that charts one under the other line up.
const place = (more) => ({ left: 56, right: 20, outerBoundsMode: "none", ...more });

const stepAxis = ([first, last], more = {}) => ({
  ...axisStyle(), type: "value", min: first, max: Math.max(last, first + 1), splitLine: { show: false }, ...more,
  axisLabel: { ...axisStyle().axisLabel, formatter: (step) => (Number.isInteger(step) ? count(step) : ""), ...more.axisLabel },
});

// renderMode richText draws on the canvas: tooltips as HTML would need inline styles, which the page's policy forbids.
const tooltip = (formatter) => ({
  trigger: "axis", renderMode: "richText", confine: true, transitionDuration: 0, formatter,
  backgroundColor: colour("panel"), borderColor: colour("line"), textStyle: { color: colour("ink"), fontSize: 12 },
  axisPointer: { lineStyle: { color: colour("soft"), type: "solid" }, animation: false },
});
