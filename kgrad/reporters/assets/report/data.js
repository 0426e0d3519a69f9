// The other side of kgrad/reporters/packing.py: the blob of the page as typed arrays.
const MISSING = 0, BROKEN = 1, ZERO = 2, FIRST = 3, LEAST = -324, PER_DECADE = 100;

const READERS = {
  steps: (buffer, at, count) => new Float64Array(buffer.slice(at, at + 8 * count)),
  floats: (buffer, at, count) => new Float32Array(buffer.slice(at, at + 4 * count)),
  codes: (buffer, at, count) => {
    const low = new Uint8Array(buffer, at, count), high = new Uint8Array(buffer, at + count, count);
    return Uint16Array.from(low, (byte, place) => byte | (high[place] << 8));
  },
};

async function unpack({ blob, parts }) {
  const bytes = Uint8Array.from(atob(blob), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const read = ([name, { at, count, kind }]) => [name, READERS[kind](buffer, at, count)];
  return Object.fromEntries(Object.entries(parts).map(read));
}

// The decimal logarithm that a code stands for; NaN for what has none.
const logarithm = (code) => (code < FIRST ? NaN : (code - FIRST) / PER_DECADE + LEAST);

// One layer's row of a matrix that lies layer after layer.
const rowOf = (matrix, layer, columns) => matrix.subarray(layer * columns, (layer + 1) * columns);
