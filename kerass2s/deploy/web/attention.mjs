// The heat map of an attention: a grid with a row for each output token and a column for each input token.

const LEAST = 0.005; // weights below it look like nothing, and get no cell of their own
const [SMALLEST, LARGEST] = [16, 40]; // pixels

/**
 * Draws `weights` [rows][columns] into `place`, and says in `readout` where a row looks: under the mouse, a finger, or the
 * cursor that the arrow keys move.
 *
 * Columns are `{label, unknown, end}`, rows `{label, probability}`.
 */
export function drawAttention(place, readout, columns, rows, weights) {
  const grid = document.createElement("div");
  grid.className = "grid";
  grid.classList.toggle(
    "upright",
    columns.some(({ label, end }) => !end && [...label].length > 2),
  );
  grid.style.setProperty("--columns", columns.length);
  grid.style.setProperty("--rows", rows.length);
  grid.append(put("plot", "", 2, 2, rows.length, columns.length));
  const heads = columns.map((column, at) =>
    put(`column${column.unknown ? " strange" : ""}${column.end ? " end" : ""}`, column.label, 1, at + 2),
  );
  const sides = rows.map((row, at) => put("row", row.label, at + 2, 1));
  const shares = rows.map((row, at) => put("probability", row.probability, at + 2, columns.length + 2));
  grid.append(...heads, ...sides, ...shares, ...cells(weights), put("probability title", "p", 1, columns.length + 2));
  const cursor = put("cursor", "", 2, 2);
  cursor.hidden = true;
  grid.append(cursor);

  grid.tabIndex = 0;
  grid.setAttribute("role", "img");
  grid.setAttribute("aria-label", rows.map((row, at) => looks(row, columns, weights[at], 1)).join("; "));
  place.replaceChildren(grid);
  fit(grid, columns.length, place);
  readout.textContent = "Point at a row, or move through the map by the arrow keys, to read its weights.";

  let [row, column] = [-1, -1];
  const show = (toRow, toColumn) => {
    if (toRow === row && toColumn === column) return;
    [row, column] = [toRow, toColumn];
    heads.forEach((head, at) => head.classList.toggle("here", at === column));
    sides.forEach((side, at) => side.classList.toggle("here", at === row));
    cursor.hidden = false;
    cursor.style.gridArea = `${row + 2} / ${column + 2}`;
    readout.textContent = `${looks(rows[row], columns, weights[row], 3)}. Here, ${columns[column].label}: ${percent(weights[row][column])}.`;
  };
  const point = (event) => {
    const plot = grid.querySelector(".plot").getBoundingClientRect();
    const [x, y] = [(event.clientX - plot.left) / plot.width, (event.clientY - plot.top) / plot.height];
    const toColumn = Math.min(columns.length - 1, Math.max(0, Math.floor(x * columns.length)));
    if (y >= 0 && y < 1) show(Math.floor(y * rows.length), toColumn);
  };
  grid.onpointermove = grid.onpointerdown = point;
  grid.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const within = (value, size) => Math.min(size - 1, Math.max(0, value));
    if (row < 0) show(0, weights[0].indexOf(Math.max(...weights[0])));
    else show(within(row + step[0], rows.length), within(column + step[1], columns.length));
    cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
}

function percent(weight) {
  return `${(100 * weight).toFixed(1)} %`;
}

function cells(weights) {
  return weights.flatMap((row, at) =>
    row.flatMap((weight, to) => {
      if (weight < LEAST) return [];
      const cell = put(
        weight > 0.64 ? "cell strong" : "cell",
        weight >= 0.095 ? String(Math.round(100 * weight)) : "",
        at + 2,
        to + 2,
      );
      cell.style.setProperty("--weight", weight.toFixed(3));
      return [cell];
    }),
  );
}

// "ER0 looks at e 99.8 %, r 0.1 %": a row in words, with its most looked at columns.
function looks({ label }, columns, weights, most) {
  const order = weights.map((weight, at) => [weight, at]).sort(([a], [b]) => b - a);
  const seen = order.slice(0, most).filter(([weight], at) => at === 0 || weight >= LEAST);
  return `${label} looks at ${seen.map(([weight, at]) => `${columns[at].label} ${percent(weight)}`).join(", ")}`;
}

// Cells as large as the place allows; where even small ones do not fit, the map scrolls and its labels stay.
function fit(grid, columns, place) {
  const labels = grid.scrollWidth - grid.querySelector(".plot").offsetWidth;
  const size = Math.floor((place.clientWidth - labels - 2) / columns);
  grid.style.setProperty("--cell", `${Math.min(LARGEST, Math.max(SMALLEST, size))}px`);
  grid.classList.toggle("small", size < 28);
}

function put(className, text, row, column, rows = 1, columns = 1) {
  const element = Object.assign(document.createElement("div"), { className, textContent: text, title: text });
  element.style.gridArea = `${row} / ${column} / span ${rows} / span ${columns}`;
  return element;
}
