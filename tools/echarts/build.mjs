// Writes kgrad/reporters/assets/echarts.min.js with its licences, and records what it was made of.
// `npm ci && npm run build`; the same versions give the same bytes.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const ASSETS = new URL("../../kgrad/reporters/assets/", import.meta.url);
const PARTS = ["echarts", "zrender", "tslib"];

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const version = (part) => JSON.parse(read(`node_modules/${part}/package.json`)).version;
const versions = Object.fromEntries([...PARTS, "esbuild"].map((part) => [part, version(part)]));

const made = await build({
  entryPoints: ["entry.js"],
  absWorkingDir: new URL(".", import.meta.url).pathname,
  bundle: true,
  minify: true,
  write: false,
  format: "iife",
  globalName: "echarts",
  target: "es2020",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  banner: {
    js: `/*! Apache ECharts ${versions.echarts} (Apache-2.0), zrender ${versions.zrender} (BSD-3-Clause), tslib ${versions.tslib} (0BSD). Licences: echarts.LICENSE.txt of kgrad. */`,
  },
});
const script = made.outputFiles[0].text;
// It is put inside a <script> of a page whose policy forbids eval.
for (const forbidden of ["</script", "<!--", "new Function", "eval("]) {
  if (script.includes(forbidden)) throw new Error(`the bundle holds ${forbidden}`);
}

const licences = PARTS.map((part) => {
  const file = part === "tslib" ? "LICENSE.txt" : "LICENSE";
  const notice = part === "echarts" ? `\n${read("node_modules/echarts/NOTICE")}` : "";
  return `==== ${part} ${versions[part]}\n\n${read(`node_modules/${part}/${file}`).trim()}\n${notice}`;
});
const licencesOfParts = read("node_modules/echarts/licenses/LICENSE-d3");
licences.push(`==== d3, parts of which are in echarts\n\n${licencesOfParts.trim()}\n`);

const record = {
  bytes: Buffer.byteLength(script),
  sha256: createHash("sha256").update(script).digest("hex"),
  versions,
};
writeFileSync(new URL("echarts.min.js", ASSETS), script);
writeFileSync(new URL("echarts.LICENSE.txt", ASSETS), licences.join("\n"));
writeFileSync(new URL("echarts.json", ASSETS), `${JSON.stringify(record, null, 2)}\n`);
console.log(`${record.bytes} bytes, sha256 ${record.sha256}`);
