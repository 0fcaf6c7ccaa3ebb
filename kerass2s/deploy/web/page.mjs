// What the page does: loads the picked model in a worker, asks it as you type, and shows what it answers.

import { drawAttention } from "./attention.mjs";

const $ = (id) => document.getElementById(id);
const format = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
const percent = (share) => `${format(100 * share, share < 0.0995 ? 1 : 0)} %`;
const megabytes = (bytes) => `${format(bytes / 1e6, 1)} MB`;

/** What settings are called, and what values they can have; one that is not here goes by the name in the file. */
const SETTINGS = {
  max_length: { label: "Longest output, in tokens", min: 1, max: 4096, step: 1 },
  length_penalty: { label: "Length penalty", min: -10, max: 10, step: 0.1 },
  temperature: { label: "Temperature of the draws", min: 0.05, max: 100, step: 0.05 },
  seed: { label: "Seed of the draws", min: 0, max: 1e9, step: 1 },
};

const state = { models: [], model: null, defaults: {}, settings: {}, attends: false, search: "", ready: false };

// === The worker: one question is on its way at a time, and of those that wait the newest wins ===

const questions = { worker: null, busy: false, waiting: null };

// Returns a worker that is free; one that is at work on something else is given up, as it cannot be interrupted.
function freeWorker() {
  if (questions.worker && !questions.busy) return questions.worker;
  questions.worker?.terminate();
  const worker = new Worker("worker.mjs", { type: "module" });
  worker.onmessage = ({ data }) => {
    if (worker !== questions.worker) return; // what it had said before it was given up
    if (data.progress) return showProgress(...data.progress);
    questions.busy = false;
    if (data.ready) begin(data.ready);
    if (data.error !== undefined) showError(data.error);
    if (data.answer) showAnswer(data.answer);
    if (questions.waiting && state.ready) send();
  };
  worker.onerror = (event) => showError(event.message || "The worker did not start.");
  return (questions.worker = worker);
}

function tell(message) {
  freeWorker().postMessage(message);
  questions.busy = true;
}

function ask() {
  remember();
  if (!state.ready) return;
  if (!$("text").value.trim()) return showNothing();
  questions.waiting = { text: $("text").value, settings: { ...state.settings } };
  if (!questions.busy) send();
}

function send() {
  tell({ ask: questions.waiting });
  questions.waiting = null;
  $("answer").classList.add("stale");
}

// === Models ===

async function start() {
  try {
    const response = await fetch("models.json", { cache: "no-cache" });
    if (!response.ok) throw new Error(`models.json: the server answered ${response.status} ${response.statusText}`);
    state.models = (await response.json()).models;
  } catch (error) {
    return showError(`There is no list of models. ${error.message}`);
  }
  const link = new URLSearchParams(location.hash.slice(1));
  $("model").replaceChildren(...state.models.map(({ name }) => new Option(name)));
  $("model").disabled = false;
  $("model").value = state.models.some(({ name }) => name === link.get("model"))
    ? link.get("model")
    : state.models[0].name;
  $("text").value = link.get("text") ?? "";
  if (matchMedia("(pointer: fine)").matches) $("text").focus();
  pick(!link.has("text"));
}

// Loads the model that is picked; without a text of the user's own it begins with its first example.
function pick(withExample) {
  const examples = state.model?.examples ?? [];
  state.model = state.models.find(({ name }) => name === $("model").value);
  state.ready = false;
  if (withExample || examples.includes($("text").value)) $("text").value = state.model.examples[0] ?? "";
  grow();
  showNothing();
  showExamples(state.model.examples);
  for (const id of ["settings", "about", "error"]) $(id).hidden = true;
  showProgress(0, state.model.bytes);
  questions.waiting = null;
  tell({ load: state.model });
}

function begin({ metadata, settings, attends }) {
  Object.assign(state, { defaults: settings, settings: { ...settings }, attends, ready: true });
  state.search = metadata.search;
  $("loading").hidden = true;
  showSettings();
  showDescription(metadata);
  ask();
  keepForOffline();
}

// The address names the model and the text, so that it can be sent to somebody.
function remember() {
  history.replaceState(null, "", `#${new URLSearchParams({ model: $("model").value, text: $("text").value })}`);
}

// Once a model has run: what it needs is kept by the browser, and the page opens without a network.
async function keepForOffline() {
  const { file } = state.model;
  try {
    await navigator.serviceWorker?.register("service-worker.js");
    (await navigator.serviceWorker?.ready)?.active.postMessage({ keep: file });
  } catch (error) {
    console.warn("not kept for offline use:", error); // the page is as good without
  }
}

// === Showing ===

function showProgress(done, all) {
  $("loading").hidden = false;
  const over = done >= all;
  $("stage").textContent = over
    ? "Preparing the model …"
    : `Loading the model: ${megabytes(done)} of ${megabytes(all)}`;
  $("progress").hidden = false;
  $("progress").max = all;
  if (over) $("progress").removeAttribute("value");
  else $("progress").value = done;
}

function showError(reason) {
  $("loading").hidden = true;
  $("error").hidden = false;
  $("reason").textContent = reason;
}

function showNothing() {
  questions.waiting = null;
  $("answer").classList.remove("stale");
  $("answer").textContent = $("facts").textContent = "";
  for (const id of ["list", "looked", "unknown"]) $(id).hidden = true;
}

function showAnswer({ source, hypotheses, milliseconds }) {
  if (!$("text").value.trim()) return showNothing();
  $("answer").classList.toggle("stale", questions.waiting !== null);
  $("error").hidden = true;
  $("answer").textContent = hypotheses[0]?.text || "(nothing)";
  $("facts").textContent = `${format(milliseconds, 0)} ms · ${state.search}`;
  showUnknown(source);
  showHypotheses(hypotheses, (hypothesis) => showAttention(source, hypothesis));
}

function showUnknown(source) {
  const unknown = [
    ...new Set(source.filter(({ known }) => !known).map(({ piece }) => plain(piece).replace(/^␣$/, "space"))),
  ];
  $("unknown").hidden = unknown.length === 0;
  $("unknown").replaceChildren(
    "The model does not know ",
    ...unknown.flatMap((piece) => [element("mark", piece), " "]),
  );
}

function showHypotheses(hypotheses, show) {
  $("list").hidden = hypotheses.length === 0;
  $("hypotheses").replaceChildren(
    ...hypotheses.map((hypothesis, rank) => {
      const probability = Math.exp(logarithm(hypothesis));
      const radio = Object.assign(document.createElement("input"), {
        type: "radio",
        name: "hypothesis",
        checked: rank === 0,
      });
      radio.onchange = () => show(hypothesis);
      const bar = element("i", "", "bar");
      bar.style.setProperty("--share", probability);
      const row = element("label", "", "hypothesis");
      const words = element("span", "", "words");
      words.dir = "auto";
      words.append(...compared(hypothesis.text || "(nothing)", hypotheses[0].text));
      row.append(
        radio,
        words,
        element("span", percent(probability), "share"),
        element("span", format(hypothesis.score, 3), "score"),
        bar,
      );
      return row;
    }),
  );
  const logarithms = hypotheses.every((each) => Math.abs(each.score - logarithm(each)) < 0.001);
  $("scored").textContent =
    "How likely the model holds the whole output to be, and its score: " +
    (logarithms ? "the logarithm of that." : "what the search ordered them by.");
  if (hypotheses.length) show(hypotheses[0]);
  else $("looked").hidden = true;
}

function logarithm({ tokenScores }) {
  return tokenScores.reduce((sum, each) => sum + each, 0);
}

// The words of an output; those that the best one does not have at their place in the order are marked.
function compared(text, best) {
  const [words, others] = [text.split(" "), best.split(" ")];
  const shared = words.map(() => []); // how many the rests have in common, from each place in both: a longest common subsequence
  const common = (word, other) => shared[word]?.[other] ?? 0;
  for (let word = words.length - 1; word >= 0; word--) {
    for (let other = others.length - 1; other >= 0; other--) {
      shared[word][other] =
        words[word] === others[other]
          ? 1 + common(word + 1, other + 1)
          : Math.max(common(word + 1, other), common(word, other + 1));
    }
  }
  if (2 * common(0, 0) < words.length) return [text]; // another output altogether
  let other = 0;
  return words.flatMap((word, place) => {
    while (word !== others[other] && common(place, other + 1) > common(place + 1, other)) other += 1;
    const same = word === others[other];
    if (same) other += 1;
    return [place ? " " : "", same ? word : element("b", word)];
  });
}

function showAttention(source, { pieces, alignment, tokenScores }) {
  $("looked").hidden = !pieces.length;
  $("legend").hidden = !state.attends;
  if (!state.attends) {
    $("map").replaceChildren();
    $("readout").textContent = "This model has no attention to show.";
    return;
  }
  const columns = [
    ...source.map(({ piece, known }) => ({ label: plain(piece), unknown: !known })),
    { label: "end", end: true },
  ];
  const rows = pieces.map((piece, index) => ({
    label: plain(piece),
    probability: percent(Math.exp(tokenScores[index])),
  }));
  drawAttention($("map"), $("readout"), columns, rows, alignment);
}

// A piece as people read it: the sign before a word goes, spaces and what cannot be seen are named.
function plain(piece) {
  const shown = piece.length > 1 ? piece.replace(/^\u2581/, "") : piece;
  return shown
    .replaceAll("\u2581", "␣")
    .replace(/[\p{C}\p{Z}]/gu, (one) => `U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
}

function showExamples(examples) {
  $("examples").hidden = examples.length === 0;
  const buttons = examples.map((example) => {
    const button = Object.assign(element("button", example), { type: "button", dir: "auto" });
    button.onclick = () => {
      $("text").value = example;
      $("text").oninput();
    };
    return button;
  });
  $("examples").replaceChildren("Try ", ...buttons);
}

function showSettings() {
  const fields = Object.entries(state.defaults).map(([name, value]) => {
    const { label = name, ...limits } = SETTINGS[name] ?? { step: "any" };
    const input = Object.assign(document.createElement("input"), {
      type: "number",
      name,
      required: true,
      ...limits,
      value: shortest(value),
    });
    input.oninput = () => {
      // A step is where the arrows go; other values between the limits are as good, but for whole numbers.
      const good = input.value !== "" && !(input.validity.rangeUnderflow || input.validity.rangeOverflow);
      const whole = limits.step !== 1 || Number.isInteger(input.valueAsNumber);
      input.setAttribute("aria-invalid", !(good && whole));
      if (!good || !whole) return;
      state.settings[name] = input.valueAsNumber;
      ask();
    };
    const field = element("label", label);
    field.append(input);
    return field;
  });
  $("fields").replaceChildren(...fields);
  $("settings").hidden = fields.length === 0;
}

// A float32 as a person would write it: 0.6 and not 0.6000000238418579.
function shortest(value) {
  return Number(value.toPrecision(7));
}

function showDescription(metadata) {
  const vocabulary = (side) => `${format(JSON.parse(metadata[`${side}_vocabulary`]).length, 0)} pieces`;
  const facts = {
    Architecture: metadata.architecture,
    Search: metadata.search,
    File: `${state.model.file.split("/").at(-1)}, ${megabytes(state.model.bytes)}`,
    "Input vocabulary": vocabulary("source"),
    "Output vocabulary": vocabulary("target"),
    "Made by": `kerass2s ${metadata.kerass2s_version}`,
  };
  $("description").replaceChildren(
    ...Object.entries(facts).flatMap(([term, fact]) => [element("dt", term), element("dd", fact)]),
  );
  $("about").hidden = false;
}

function element(tag, text = "", className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function grow() {
  const box = $("text");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

$("text").oninput = () => {
  grow();
  ask();
};
$("model").onchange = () => pick(false);
$("retry").onclick = () => (state.models.length ? pick(false) : location.reload());
$("reset").onclick = () => {
  state.settings = { ...state.defaults };
  showSettings();
  ask();
};
addEventListener("resize", grow);
start();
