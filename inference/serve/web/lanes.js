// The last seconds of a conversation on a canvas: levels, words, background work, answer times and
// lost micro-turns, all at their micro-turns: one clock, which losses do not stop.

const MOST_SECONDS = 15;
const SECOND_WIDTH = 44; // pixels that the words of a second need at the least
const LEFT = 84; // room for the names of the rows
const GAP = 6; // pixels between words
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
    this.losses = { input: new Map(), output: new Map(), missing: new Map() };
  }

  begin(hello) {
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

  delegation({ id, status, time_s }) {
    const item = this.work.get(id) ?? { start: time_s, end: null };
    if (["final", "failed", "cancelled"].includes(status)) item.end = time_s;
    item.status = status;
    this.keep(this.work, id, item);
  }

  result({ id, text, time_s }) {
    const item = this.work.get(id);
    if (item) Object.assign(item, { end: time_s, text });
  }

  /** What was under way is over, and nobody will tell how it ended. */
  leaveOff() {
    const rest = [...this.work.values()].map((item) => ({ ...item, end: item.end ?? this.now }));
    this.work = new Map(rest.map((item) => [Symbol("over"), item]));
  }

  /** Mark micro-turns without an answer, or without the user's sound. */
  lost(kind, ranges) {
    for (const [first, end] of ranges) this.keep(this.losses[kind], first, end);
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
    const seconds = Math.min(MOST_SECONDS, Math.max(3, (width - LEFT) / SECOND_WIDTH));
    const start = Math.max(0, this.now - seconds + 1);
    const x = (time) => LEFT + ((time - start) / seconds) * (width - LEFT);

    this.drawGrid(pen, colour, { start, seconds, x, height });
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT, height);
    pen.clip();
    this.drawLosses(pen, colour("loss"), x);
    for (const side of ["user", "agent"]) this.drawLevels(pen, colour(side), side, x);
    this.drawWords(pen, colour, x);
    this.drawWork(pen, colour, x);
    this.drawLags(pen, colour, x, height);
    pen.restore();
  }

  drawGrid(pen, colour, { start, seconds, x, height }) {
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = colour("faint");
    const names = { user: "you", heard: "heard", work: "background", said: "says", agent: "agent" };
    for (const [row, y] of Object.entries(ROWS)) pen.fillText(names[row], 0, y);
    pen.fillText("answer", 0, height - 14);
    pen.strokeStyle = colour("line");
    for (let second = Math.ceil(start); second <= start + seconds; second++) {
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

  /** Bars behind the levels: the agent's where it had no answer, the user's where none came. */
  drawLosses(pen, colour, x) {
    pen.fillStyle = colour;
    pen.globalAlpha = 0.35;
    for (const [kind, ranges] of Object.entries(this.losses)) {
      const [row, delay] = kind === "missing" ? [ROWS.user, 0] : [ROWS.agent, 1];
      for (const [first, end] of ranges) {
        const left = x((first + delay) * this.second);
        const width = x((end + delay) * this.second) - left - 1;
        pen.fillRect(left, row - LEVEL_HEIGHT, width, 2 * LEVEL_HEIGHT);
      }
    }
    pen.globalAlpha = 1;
  }

  drawWords(pen, colour, x) {
    const side = (name) => this.words.filter((word) => word.side === name);
    for (const [name, y] of [
      ["user", ROWS.heard],
      ["agent", ROWS.said],
    ]) {
      pen.fillStyle = colour(name);
      // A heard word is over at its time, a said word begins there; none begins before 0:00.
      const places = side(name).map(({ text, time_s }) => {
        const width = pen.measureText(text).width;
        return { text, width, left: Math.max(x(0), x(time_s) - (name === "user" ? width : 0)) };
      });
      this.drawApart(pen, places, [y - 7, y + 7]);
    }
  }

  /** Draw texts in time order, each on the first height that is free there; none over another. */
  drawApart(pen, places, heights) {
    const ends = heights.map(() => -Infinity);
    for (const { text, left, width } of places) {
      const free = ends.findIndex((end) => end + GAP <= left);
      if (free < 0) continue; // the transcript has it
      pen.fillText(text, left, heights[free]);
      ends[free] = left + width;
    }
  }

  drawWork(pen, colour, x) {
    const places = [];
    pen.fillStyle = colour("work");
    for (const { start, end, status, text } of this.work.values()) {
      const left = x(start);
      const width = Math.max(3, x(end ?? this.now) - left);
      pen.fillRect(left, ROWS.work - 7, width, 14);
      const label = text ?? status;
      places.push({ text: label, left: left + width + 4, width: pen.measureText(label).width });
    }
    pen.fillStyle = colour("ink");
    this.drawApart(pen, places, [ROWS.work]);
  }

  drawLags(pen, colour, x, height) {
    const budget = this.second * 1000;
    for (const [microTurn, lag] of this.lags) {
      pen.fillStyle = lag > budget ? colour("loss") : colour("faint");
      const tall = Math.min(20, Math.max(1, (lag / budget) * 10));
      const left = x(microTurn * this.second);
      pen.fillRect(left, height - 4 - tall, x((microTurn + 1) * this.second) - left - 1, tall);
    }
  }
}
