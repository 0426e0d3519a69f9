// Colours come from the style sheet, so that charts follow the light and the dark theme.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const PALETTE = 8;

// Blue to orange through grey: readable in both themes and by colour-blind eyes.
const RAMP = [[0, 114, 178], [110, 150, 170], [190, 160, 110], [213, 94, 0]];

function ramp(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const left = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[left].map((from, part) => Math.round(from + (RAMP[left + 1][part] - from) * (place - left)));
  return `rgb(${mixed.join(",")})`;
}

const short = (value) => (Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(3))));

// Where a logarithmic axis gets its numbers: decades, with 2 and 5 between them where there are few.
function decades(low, high) {
  const every = Math.max(1, Math.ceil((high - low) / 7)), parts = high - low < 2.5 ? [1, 2, 5] : [1];
  const places = [];
  for (let exponent = Math.floor(low / every) * every; exponent <= high; exponent += every) {
    places.push(...parts.map((part) => exponent + Math.log10(part)));
  }
  return places.filter((place) => place >= low && place <= high);
}

function axisStyle() {
  return {
    axisLine: { lineStyle: { color: colour("line") } },
    axisTick: { show: false },
    axisLabel: { color: colour("soft"), fontSize: 11, hideOverlap: true },
    splitLine: { lineStyle: { color: colour("grid") } },
    nameTextStyle: { color: colour("soft"), fontSize: 11 },
  };
}

// The values of an axis of words; a run that could not be read has none.
const wordsOf = (axis) => [...new Set(axis.values)].filter((word) => word !== null).sort();

// How every run is coloured: by its diagnosis or by the values of one setting.
function colouring(data, name) {
  const axis = data.axes.find((each) => each.name === name);
  if (axis.kind === "number") {
    const scaled = axis.values.map((value) => (value === null ? null : axis.wide ? Math.log10(value) : value));
    const known = scaled.filter((value) => value !== null);
    const low = Math.min(...known), high = Math.max(...known);
    const share = (value) => (high > low ? (value - low) / (high - low) : 0.5);
    const back = (value) => short(axis.wide ? 10 ** value : value);
    return {
      of: (run) => (scaled[run] === null ? colour("none") : ramp(share(scaled[run]))),
      legend: [0, 0.5, 1].map((at) => [back(low + at * (high - low)), ramp(at)]),
    };
  }
  const words = wordsOf(axis);
  const isDiagnosis = name === "diagnosis";
  const places = new Map(words.filter((word) => !isDiagnosis || !["healthy", "unreadable", "no step"].includes(word)).map((word, place) => [word, place]));
  const pick = (word) => {
    if (isDiagnosis && word === "healthy") return colour("c2");
    if (!places.has(word)) return colour("none");
    const order = isDiagnosis ? [1, 3, 4, 0, 6, 5] : [0, 1, 2, 3, 4, 5, 6];
    return colour(`c${places.get(word) < order.length ? order[places.get(word)] : PALETTE - 1}`);
  };
  const colours = new Map(words.map((word) => [word, pick(word)]));
  return { of: (run) => colours.get(axis.values[run]) ?? colour("none"), legend: words.slice(0, 12).map((word) => [word.replaceAll("-", " "), colours.get(word)]) };
}
