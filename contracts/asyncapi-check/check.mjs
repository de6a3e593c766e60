// Checks an AsyncAPI document with AsyncAPI's own parser: node check.mjs FILE
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const ERROR = 0;
const WARNING = 1;

async function problems(text) {
  const { diagnostics } = await new Parser().parse(text);
  return diagnostics.filter(({ severity }) => severity === ERROR || severity === WARNING);
}

const text = readFileSync(process.argv[2], "utf8");
const found = await problems(text);
for (const { severity, path, message } of found) {
  console.error(`${severity === ERROR ? "error" : "warning"} at ${path.join(".")}: ${message}`);
}

// Verifies that the parser reports a broken document, so that an empty result is meaningful.
const broken = JSON.parse(text);
delete Object.values(broken.operations)[0].channel;
if ((await problems(JSON.stringify(broken))).length === 0) {
  console.error("the parser accepted an operation without a channel");
  process.exit(1);
}

if (found.length > 0) process.exit(1);
console.log(`${process.argv[2]}: valid AsyncAPI ${JSON.parse(text).asyncapi}, no warnings`);
