// Answers each line of the standard input with onnxruntime-node: node node.mjs model.onnx < words.txt

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { Model } from "../../kerass2s/deploy/web/model.mjs";

const bytes = readFileSync(process.argv[2]);
const model = await Model.read(bytes);
const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3, intraOpNumThreads: 1 });

const lines = readFileSync(0, "utf-8").split("\n").slice(0, -1);
for (let start = 0; start < lines.length; start += 50) {
  const answers = await model.ask(ort, session, lines.slice(start, start + 50));
  for (const [best] of answers) console.log(best?.text ?? "");
}
