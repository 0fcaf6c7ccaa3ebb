// Holds the model, away from the page, so that typing never waits: loads a file, answers texts, one message at a time.
//
// Asked {load: {file, bytes}}: says {progress: [bytes so far, bytes in all]}, then {ready: {metadata, settings, attends}}.
// Asked {ask: {text, settings}}: says {answer: {source, hypotheses, milliseconds}}. Either can end in {error}.

import { Model, openSettings } from "./model.mjs";

const ORT = new URL("./ort/", import.meta.url);
let [ort, model, session] = [null, null, null];
let before = Promise.resolve();

self.onmessage = ({ data }) => {
  before = before.then(() => (data.load ? load(data.load) : answer(data.ask))).catch(fail);
};

function fail(error) {
  postMessage({ error: error.message ?? String(error) });
}

async function load({ file, bytes: expected }) {
  await session?.release();
  session = null;
  const [bytes, runtime] = await Promise.all([download(file, expected), import(new URL("ort.wasm.min.mjs", ORT))]);
  ort = runtime;
  ort.env.wasm.wasmPaths = ORT.href;
  ort.env.wasm.numThreads = 1; // more of them need headers that a folder of static files cannot send
  model = await Model.read(bytes);
  const { metadata } = model;
  const settings = openSettings(bytes, metadata);
  session = await ort.InferenceSession.create(bytes);
  await model.ask(ort, session, [""], settings); // the first run takes longest
  postMessage({ ready: { metadata, settings, attends: "alignments" in model.outputs } });
}

async function download(file, expected) {
  const response = await fetch(file).catch(({ message }) => Promise.reject(new Error(`${file}: ${message}`)));
  if (!response.ok) throw new Error(`${file}: the server answered ${response.status} ${response.statusText}`);
  const parts = [];
  let done = 0;
  for (const reader = response.body.getReader(); ;) {
    const { value, done: over } = await reader.read();
    if (over) break;
    parts.push(value);
    postMessage({ progress: [(done += value.length), expected] });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function answer({ text, settings }) {
  const began = performance.now();
  const [hypotheses] = await model.ask(ort, session, [text], settings);
  const milliseconds = performance.now() - began;
  const source = model.sourcePieces(text).map((piece) => ({ piece, known: model.source.ids.has(piece) }));
  postMessage({ answer: { source, hypotheses, milliseconds } });
}
