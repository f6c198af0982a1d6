// Work in the background: what was asked, how far it is, what came of it, and cards. Text of others
// is shown as text only.

const OVER = ["final", "failed", "cancelled"];
const SAID = {
  accepted: "begun",
  progress: "at work",
  partial: "so far",
  final: "done",
  failed: "failed",
  cancelled: "cancelled",
};

export class Background {
  /** `onCancel` gets the id of a delegation that shall end. */
  constructor(list, onCancel) {
    this.list = list;
    this.onCancel = onCancel;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.items = new Map();
  }

  /** A new connection knows nothing of the work of the one before. */
  leaveOff() {
    for (const item of this.items.values()) item.cancel.hidden = true;
    this.items = new Map();
  }

  delegation({ id, status, text, about }) {
    const item = this.item(id);
    if (about) item.about.textContent = about;
    item.step.textContent = text ? `${SAID[status] ?? status}: ${text}` : (SAID[status] ?? status);
    const over = OVER.includes(status);
    item.element.classList.toggle("over", over);
    item.cancel.hidden = over;
  }

  /** A result, a part of one, or its failure reached the model. */
  result({ id, text }) {
    this.item(id).result.textContent = `told to the agent: ${text}`;
  }

  card(card) {
    const { cards } = this.item(card.id);
    const shown = cards.querySelector(`[data-card="${Number(card.card) || 0}"]`);
    const element = cardElement(card);
    if (shown) shown.replaceWith(element);
    else cards.append(element);
  }

  item(id) {
    const known = this.items.get(id);
    if (known) return known;
    const [element, cancel] = [make("li"), make("button", "Cancel")];
    const [about, step, result, cards] = ["b", "span", "span", "div"].map((tag) => make(tag));
    cancel.type = "button";
    cancel.className = "quiet";
    cancel.onclick = () => this.onCancel(id);
    element.append(about, step, cancel, result, cards);
    this.list.append(element);
    const item = { element, about, step, cancel, result, cards };
    this.items.set(id, item);
    return item;
  }
}

function cardElement({ card, kind, title, ...body }) {
  const element = make("article");
  element.className = "card";
  element.dataset.card = Number(card) || 0;
  if (title) element.append(make("h3", title));
  const build = { text: textBody, list: listBody, table: tableBody }[kind] ?? (() => make("p"));
  element.append(build(body));
  return element;
}

function textBody({ text }) {
  return make("p", text);
}

function listBody({ items }) {
  const list = make("ul");
  list.append(...items.map((item) => make("li", item)));
  return list;
}

function tableBody({ columns, rows }) {
  const [table, head] = [make("table"), make("tr")];
  head.append(...columns.map((column) => make("th", column)));
  table.append(head);
  for (const row of rows) {
    const line = make("tr");
    line.append(...row.map((cell) => make("td", cell)));
    table.append(line);
  }
  return table;
}

function make(tag, text = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
