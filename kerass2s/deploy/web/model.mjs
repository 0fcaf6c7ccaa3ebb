// What an ONNX file of kerass2s says of itself, its tokenizers, and how to ask it: for Node and for browsers, no library.
//
//     const bytes = new Uint8Array(...);                       // the file model.onnx
//     const model = await Model.read(bytes);
//     const session = await ort.InferenceSession.create(bytes); // onnxruntime-web or onnxruntime-node
//     const [hypotheses] = await model.ask(ort, session, ["phoneme"]);
//     hypotheses[0].text                                        // "F OW1 N IY0 M"

const [PAD, UNKNOWN, START, END] = [0, 1, 2, 3]; // the same in every export; also in the metadata
const SPACE = "\u2581"; // SentencePiece's sign for a space
const UNKNOWN_TEXT = " \u2047 "; // how it spells the unknown piece
const toBytes = (text) => new TextEncoder().encode(text);
const toText = (bytes) => new TextDecoder().decode(bytes);

// === Protobuf, as far as it is needed ===

/** Yields [field number, value] of a protobuf message; a value is a number, or bytes: text, or a message inside. */
export function* fields(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte % 128) * factor;
      if (!(byte >= 128)) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) yield [field, varint()];
    else if (kind === 5) yield [field, view.getFloat32((at += 4) - 4, true)];
    else if (kind === 1) yield [field, view.getFloat64((at += 8) - 8, true)];
    else if (kind === 2) {
      const size = varint();
      yield [field, bytes.subarray(at, (at += size))];
    } else throw new Error(`This is no protobuf message. Received: wire type ${kind} at byte ${at}`);
  }
}

/** Returns metadata_props of an ONNX file (bytes: Uint8Array), which ONNX Runtime does not show to JavaScript. */
export function readMetadata(bytes) {
  const metadata = {};
  for (const [field, value] of fields(bytes)) {
    if (field !== 14) continue; // ModelProto.metadata_props
    const entry = Object.fromEntries(fields(value)); // 1: key, 2: value
    metadata[toText(entry[1])] = toText(entry[2] ?? new Uint8Array());
  }
  if (!("search" in metadata)) throw new Error("This is no ONNX file that kerass2s wrote.");
  return metadata;
}

/**
 * Makes the settings of a file (bytes, changed in place, before a session is made) inputs that must be fed.
 *
 * ONNX Runtime's JavaScript knows no input that can be left out: one with a default, which is an initializer of its name,
 * is no input to it. Here the tag of that initializer becomes one that ONNX does not know, so that readers skip it.
 *
 * Returns what `ask` is to be given, `{name: default}`; metadata's `inputs` has the dtypes.
 */
export function openSettings(bytes, metadata) {
  const inputs = Object.entries(JSON.parse(metadata.inputs)).filter(([, { default: value }]) => value !== undefined);
  const settings = Object.fromEntries(inputs.map(([name, { default: value }]) => [name, value]));
  const unused = (9 << 3) | 2; // GraphProto has no field 9
  const graph = [...fields(bytes)].find(([field]) => field === 7)[1];
  for (const [field, tensor] of fields(graph)) {
    if (field !== 5 || !(toText(Object.fromEntries(fields(tensor))[8] ?? new Uint8Array()) in settings)) continue;
    let at = tensor.byteOffset - bytes.byteOffset - 1; // the last byte of the tensor's size
    do at -= 1;
    while (bytes[at] & 128);
    bytes[at] = unused; // what stood there: field 5, initializer, with bytes
  }
  return settings;
}

/** Returns the bytes that the metadata carries as text: compressed by zlib, in base64. */
async function unpacked(text) {
  const compressed = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// === Tokenizers ===

/** A SentencePiece model: text to ids and back, the same as in Python and in TensorFlow. */
export class Tokenizer {
  /** Reads the bytes of a SentencePiece model. */
  constructor(model) {
    this.pieces = [];
    this.scores = [];
    let [trainer, normalizer] = [{}, {}];
    for (const [field, value] of fields(model)) {
      if (field === 1) this.#add(Object.fromEntries(fields(value)));
      if (field === 2) trainer = Object.fromEntries(fields(value));
      if (field === 3) normalizer = Object.fromEntries(fields(value));
    }
    this.kind = [, "unigram", "bpe", "word", "char"][trainer[3] ?? 1];
    this.prefix = (normalizer[3] ?? 1) === 1; // a space before the first word
    this.charsmap = normalizer[2]?.length ? new CharsMap(normalizer[2]) : null;
    this.ids = new Map(this.pieces.map((piece, id) => [piece, id]).slice(END + 1));
    this.longest = Math.max(0, ...[...this.ids.keys()].map((piece) => [...piece].length));
    this.lowest = Math.min(...this.scores.slice(END + 1));
  }

  #add({ 1: piece, 2: score = 0, 3: type = 1 }) {
    if (type > 3) throw new Error(`Pieces are normal, unknown or control. Received: type ${type}`);
    this.pieces.push(toText(piece));
    this.scores.push(score);
  }

  /** Returns text as the model sees it, with the sign for spaces: NFKC and one kind of white space, by its own table. */
  normalize(text) {
    const mapped = this.charsmap ? this.charsmap.map(text) : text;
    const words = mapped.split(" ").filter((word) => word);
    return (this.prefix && words.length ? SPACE : "") + words.join(SPACE);
  }

  /** Returns the pieces of a text; unknown neighbours are one, unless words or characters shall come `apart`. */
  split(text, apart = false) {
    apart &&= this.kind === "word" || this.kind === "char";
    const pieces = [];
    let before = false;
    for (const piece of this[`_${this.kind}`](this.normalize(text))) {
      const unknown = !this.ids.has(piece);
      if (unknown && before && !apart) pieces.push(pieces.pop() + piece);
      else pieces.push(piece);
      before = unknown;
    }
    return pieces;
  }

  /** Returns the ids of a text, without START and END. */
  encode(text) {
    return this.split(text).map((piece) => this.ids.get(piece) ?? UNKNOWN);
  }

  /** Returns the text of ids up to the first END. */
  decode(ids) {
    const end = ids.indexOf(END);
    const kept = ids.slice(0, end < 0 ? ids.length : end).filter((id) => id !== PAD && id !== START);
    return this.join(kept.map((id) => this.pieces[id]));
  }

  /** Returns the text of pieces; the one for what is unknown is shown as SentencePiece shows it. */
  join(pieces) {
    let text = "";
    for (let piece of pieces) {
      if (piece === this.pieces[UNKNOWN]) piece = UNKNOWN_TEXT;
      text += (text === "" ? piece.replace(SPACE, "") : piece).replaceAll(SPACE, " ");
    }
    return text;
  }

  _char(text) {
    return [...text];
  }

  _word(text) {
    return text.split(/(?=\u2581)/u).filter((word) => word);
  }

  /** The likeliest segmentation (Viterbi), with SentencePiece's rounding to float32. */
  _unigram(text) {
    const characters = [...text];
    const best = [{ score: 0 }];
    const offer = (end, start, score) => {
      score = Math.fround(score); // before it is compared, so that ties are SentencePiece's ties
      if (!best[end] || score > best[end].score) best[end] = { start, score };
    };
    characters.forEach((character, start) => {
      let piece = "";
      for (let end = start + 1; end <= Math.min(characters.length, start + this.longest); end++) {
        piece += characters[end - 1];
        const id = this.ids.get(piece);
        if (id !== undefined) offer(end, start, this.scores[id] + best[start].score);
      }
      const unknown = Math.fround(this.lowest - 10);
      if (!this.ids.has(character)) offer(start + 1, start, unknown + best[start].score);
    });
    const pieces = [];
    for (let end = characters.length; end > 0; end = best[end].start) {
      pieces.unshift(characters.slice(best[end].start, end).join(""));
    }
    return pieces;
  }

  /** Merges the best pair of neighbours, the first of equals, for as long as a pair is a piece. */
  _bpe(text) {
    const symbols = [...text];
    for (;;) {
      let [place, top] = [-1, -Infinity];
      for (let left = 0; left + 1 < symbols.length; left++) {
        const score = this.scores[this.ids.get(symbols[left] + symbols[left + 1])] ?? -Infinity;
        if (score > top) [place, top] = [left, score];
      }
      if (place < 0) return symbols;
      symbols.splice(place, 2, symbols[place] + symbols[place + 1]);
    }
  }
}

/** SentencePiece's normalisation table: a trie (Darts) over UTF-8 bytes, and the texts that its leaves point at. */
class CharsMap {
  constructor(blob) {
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const size = view.getUint32(0, true);
    this.units = Uint32Array.from({ length: size / 4 }, (_, index) => view.getUint32(4 + 4 * index, true));
    this.texts = blob.subarray(4 + size);
  }

  /** Replaces the longest known sequence at each place; what the table does not know stays. */
  map(text) {
    const bytes = toBytes(text);
    const mapped = [];
    for (let at = 0; at < bytes.length; ) {
      const [length, place] = this.#longest(bytes, at);
      if (length) mapped.push(this.texts.subarray(place, this.texts.indexOf(0, place)));
      const step = length || [1, 1, 2, 3, 4][Math.min(4, Math.max(1, Math.clz32(~(bytes[at] << 24))))];
      if (!length) mapped.push(bytes.subarray(at, at + step));
      at += step;
    }
    return mapped.map(toText).join("");
  }

  /** Returns the length of the longest sequence in the table that starts at a place, and where its text stands. */
  #longest(bytes, start) {
    const offset = (unit) => (unit >>> 10) << ((unit & 512) >>> 6);
    let node = offset(this.units[0]);
    let found = [0, 0];
    for (let at = start; at < bytes.length; at++) {
      node ^= bytes[at];
      const unit = this.units[node];
      if (((unit & 0x800000ff) >>> 0) !== bytes[at]) break;
      node ^= offset(unit);
      if ((unit >>> 8) & 1) found = [at + 1 - start, this.units[node] & 0x7fffffff];
    }
    return found;
  }
}

// === The model ===

/** A text to text export: its description, its tokenizers, and its answers. */
export class Model {
  /** Reads the bytes of an ONNX file. */
  static async read(bytes) {
    const metadata = readMetadata(bytes);
    const sides = ["source_sentencepiece", "target_sentencepiece"].map((side) => metadata[side]);
    if (!sides.every(Boolean)) throw new Error("The model's sources and targets are not both text.");
    const [source, target] = await Promise.all(sides.map(unpacked));
    return new Model(metadata, new Tokenizer(source), new Tokenizer(target));
  }

  constructor(metadata, source, target) {
    this.metadata = metadata;
    this.search = metadata.search;
    this.source = source;
    this.target = target;
    this.inputs = JSON.parse(metadata.inputs); // dtype, shape and, where it can be left out, default of each
    this.outputs = JSON.parse(metadata.outputs);
    const [first] = JSON.parse(metadata.config).members ?? [metadata]; // an ensemble reads as its first member does
    this.open = first.architecture === "pointer_generator2017"; // unknown words have ids: they can be copied
  }

  /** Returns the pieces of a source, one for each of its ids but END. */
  sourcePieces(text) {
    return this.source.split(text, this.open);
  }

  /** Returns the ids of a source, END included. */
  encode(text) {
    const [pieces, ids, size] = [this.sourcePieces(text), this.source.ids, this.source.pieces.length];
    return [...pieces.map((one) => ids.get(one) ?? (this.open ? size + pieces.indexOf(one) : UNKNOWN)), END];
  }

  /** Returns the feeds of a batch of texts: source_ids int32 [B, S], padded, and source_lengths int32 [B]. */
  feeds(ort, texts) {
    const rows = texts.map((text) => this.encode(text));
    const time = Math.max(0, ...rows.map((row) => row.length));
    const ids = new Int32Array(rows.length * time); // PAD is 0
    rows.forEach((row, index) => ids.set(row, index * time));
    return {
      source_ids: new ort.Tensor("int32", ids, [rows.length, time]),
      source_lengths: new ort.Tensor("int32", Int32Array.from(rows, (row) => row.length), [rows.length]),
    };
  }

  /** Returns the pieces of target ids; V + s stands for the source's piece at position s. */
  targetPieces(ids, text) {
    const [own, places] = [this.target.pieces, this.sourcePieces(text)];
    return ids.map((id) => own[id] ?? places[id - own.length] ?? "");
  }

  /** Returns the text of target ids up to the first END. */
  decode(ids, text) {
    if (ids.every((id) => id < this.target.pieces.length)) return this.target.decode(ids);
    const kept = ids.slice(0, ids.includes(END) ? ids.indexOf(END) : ids.length);
    return this.target.join(this.targetPieces(kept.filter((id) => id !== PAD && id !== START), text));
  }

  /**
   * Asks a session for the answers to a batch of texts, with the settings that `openSettings` opened (max_length,
   * length_penalty, ...); of a file that it did not touch, with the file's own.
   *
   * Returns for each text its hypotheses, best first, each `{text, score, pieces, tokenScores, alignment}`: alignment is a
   * row for each piece, with a weight for each id of the source, END included; null where the model has none.
   */
  async ask(ort, session, texts, settings = {}) {
    const feeds = this.feeds(ort, texts);
    for (const [name, value] of Object.entries(settings)) {
      const { dtype } = this.inputs[name];
      feeds[name] = new ort.Tensor(dtype, dtype === "int32" ? Int32Array.of(value) : Float32Array.of(value), []);
    }
    const found = await session.run(feeds);
    return texts.map((text, row) => this.#hypotheses(found, text, row));
  }

  #hypotheses(found, text, row) {
    const beams = found.scores.dims[1];
    const sources = this.encode(text).length;
    const hypotheses = [];
    for (let place = row * beams; place < (row + 1) * beams; place++) {
      if (!Number.isFinite(found.scores.data[place])) continue; // fewer outputs than beams
      const length = found.target_lengths.data[place];
      const ids = [...take(found.target_ids, place).slice(0, length)];
      const added = [...take(found.token_scores, place).slice(0, length + 1)];
      hypotheses.push({
        text: this.decode(ids, text),
        score: found.scores.data[place],
        pieces: this.targetPieces(ids, text),
        tokenScores: added,
        alignment: found.alignments ? ids.map((_, step) => attended(found.alignments, place, step, sources)) : null,
      });
    }
    return hypotheses;
  }
}

/** Returns what a tensor [B, K, ...] holds for hypothesis `place`, counted over rows and beams. */
function take(tensor, place) {
  const size = tensor.dims.slice(2).reduce((product, each) => product * each, 1);
  return tensor.data.subarray(place * size, (place + 1) * size);
}

function attended(alignments, place, step, sources) {
  const time = alignments.dims[3];
  return [...take(alignments, place).slice(step * time, step * time + Math.min(sources, time))];
}
