// The last seconds of a conversation on a canvas: levels, words, background work, answer times and
// losses, on the clock of the conversation.

const SECONDS = 15;
const LEFT = 84; // room for the names of the rows
const ROWS = { user: 34, heard: 84, work: 124, said: 164, agent: 212 }; // centres in pixels
const LEVEL_HEIGHT = 26;
const MAX_MARKS = 2_000; // of each kind

export class Lanes {
  constructor(canvas) {
    this.canvas = canvas;
    this.second = 0.2; // length of a micro-turn; the hello says it
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  clear() {
    this.now = 0;
    this.levels = { user: new Map(), agent: new Map() };
    this.words = [];
    this.work = new Map();
    this.lags = new Map();
    this.losses = [];
  }

  begin(hello) {
    this.clear();
    this.second = hello.micro_turn_ms / 1000;
    this.draw();
  }

  level(side, microTurn, chunk) {
    const samples = new Int16Array(chunk);
    let power = 0;
    for (const sample of samples) power += (sample / 32768) ** 2;
    const decibels = 10 * Math.log10(power / samples.length + 1e-9);
    this.keep(this.levels[side], microTurn, Math.max(0, 1 + decibels / 60));
  }

  microTurn(microTurn, lagMs) {
    this.now = (microTurn + 1) * this.second;
    this.keep(this.lags, microTurn, lagMs);
    this.draw();
  }

  word(word) {
    this.words.push(word);
    if (this.words.length > MAX_MARKS) this.words.shift();
  }

  delegation(id, status) {
    const item = this.work.get(id) ?? { start: this.now, end: null };
    if (["final", "failed", "cancelled"].includes(status)) item.end = this.now;
    item.status = status;
    this.keep(this.work, id, item);
  }

  result({ id, text, time_s }) {
    const item = this.work.get(id);
    if (item) Object.assign(item, { end: time_s, text });
  }

  loss(text) {
    this.losses.push({ time: this.now, text });
    if (this.losses.length > MAX_MARKS) this.losses.shift();
  }

  keep(map, key, value) {
    map.set(key, value);
    if (map.size > MAX_MARKS) map.delete(map.keys().next().value);
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const start = Math.max(0, this.now - SECONDS + 1);
    const x = (time) => LEFT + ((time - start) / SECONDS) * (width - LEFT);

    this.drawGrid(pen, colour, start, x, height);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT, height);
    pen.clip();
    for (const side of ["user", "agent"]) this.drawLevels(pen, colour(side), side, x);
    this.drawWords(pen, colour, x);
    this.drawWork(pen, colour, x);
    this.drawLags(pen, colour, x, height);
    pen.restore();
  }

  drawGrid(pen, colour, start, x, height) {
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = colour("faint");
    const names = { user: "you", heard: "heard", work: "background", said: "says", agent: "agent" };
    for (const [row, y] of Object.entries(ROWS)) pen.fillText(names[row], 0, y);
    pen.fillText("answer", 0, height - 14);
    pen.strokeStyle = colour("line");
    for (let second = Math.ceil(start); second <= start + SECONDS; second++) {
      pen.beginPath();
      pen.moveTo(x(second), 0);
      pen.lineTo(x(second), height);
      pen.stroke();
    }
  }

  drawLevels(pen, colour, side, x) {
    pen.fillStyle = colour;
    for (const [microTurn, level] of this.levels[side]) {
      const left = x(microTurn * this.second);
      const half = Math.max(0.5, level * LEVEL_HEIGHT);
      pen.fillRect(left, ROWS[side] - half, x((microTurn + 1) * this.second) - left - 1, 2 * half);
    }
  }

  drawWords(pen, colour, x) {
    const rows = { user: 0, agent: 0 }; // neighbours of one side stand on two heights
    for (const { side, text, time_s } of this.words) {
      pen.fillStyle = colour(side);
      // A heard word is over at its time, a said word begins there.
      pen.textAlign = side === "user" ? "right" : "left";
      const y = (side === "user" ? ROWS.heard : ROWS.said) + (rows[side]++ % 2 ? 7 : -7);
      pen.fillText(text, x(time_s), y);
    }
    pen.textAlign = "left";
  }

  drawWork(pen, colour, x) {
    for (const { start, end, status, text } of this.work.values()) {
      pen.fillStyle = colour("work");
      const left = x(start);
      const right = x(end ?? this.now);
      pen.fillRect(left, ROWS.work - 7, Math.max(3, right - left), 14);
      pen.fillStyle = colour("ink");
      pen.fillText(text ?? status, Math.max(left, right) + 4, ROWS.work);
    }
  }

  drawLags(pen, colour, x, height) {
    const budget = this.second * 1000;
    for (const [microTurn, lag] of this.lags) {
      pen.fillStyle = lag > budget ? colour("loss") : colour("faint");
      const tall = Math.min(20, Math.max(1, (lag / budget) * 10));
      const left = x(microTurn * this.second);
      pen.fillRect(left, height - 4 - tall, x((microTurn + 1) * this.second) - left - 1, tall);
    }
    pen.fillStyle = colour("loss");
    for (const { time, text } of this.losses) pen.fillText(text, x(time), height - 28);
  }
}
