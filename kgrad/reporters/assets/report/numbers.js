// Numbers in words, as kgrad/reporters/wording.py writes them.
const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const raised = (exponent) => String(exponent).replace(/[-0-9]/g, (sign) => RAISED[sign]);
const count = (value) => Math.round(value).toLocaleString("en-US");

function number(value) {
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-3 && size < 1e3)) return String(Number(value.toPrecision(3)));
  if (size >= 1e3 && size < 1e6) return count(value);
  const [digits, exponent] = value.toExponential(1).split("e");
  return `${digits.replace(".0", "")}·10${raised(Number(exponent))}`;
}

// A tick of an axis: as many digits as tell it from its neighbours, since ticks are round.
function tick(value) {
  const size = Math.abs(value);
  return size === 0 || (size >= 1e-4 && size < 1e5) ? Number(value.toPrecision(9)).toLocaleString("en-US", { maximumFractionDigits: 9 }) : number(value);
}

// The norm behind a code.
function norm(code) {
  if (code === MISSING) return "not recorded";
  if (code === BROKEN) return "not finite";
  return code === ZERO ? "0" : number(10 ** logarithm(code));
}

// Whole decades on an axis over logarithms.
const decade = (value) => (Number.isInteger(value) ? (value === 0 ? "1" : value === 1 ? "10" : `10${raised(value)}`) : number(10 ** value));
const share = (value) => (Number.isNaN(value) ? "not recorded" : `${number(100 * value)} %`);
