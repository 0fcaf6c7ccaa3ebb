// Does with each text what a tokenizer of model.mjs does, for the tests: node tokenizers.mjs < questions.json

import { readFileSync } from "node:fs";
import { Tokenizer } from "../../kerass2s/deploy/web/model.mjs";

const { models, texts, ids } = JSON.parse(readFileSync(0, "utf-8"));
const answers = models.map((model) => {
  const tokenizer = new Tokenizer(new Uint8Array(Buffer.from(model, "base64")));
  return {
    kind: tokenizer.kind,
    pieces: tokenizer.pieces,
    encode: texts.map((text) => tokenizer.encode(text)),
    split: texts.map((text) => tokenizer.split(text, true)),
    together: texts.map((text) => tokenizer.split(text)),
    join: texts.map((text) => tokenizer.join(tokenizer.split(text, true))),
    decode: ids.map((row) => tokenizer.decode(row)),
  };
});
process.stdout.write(JSON.stringify(answers));
