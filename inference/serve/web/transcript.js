// The words of both sides as lines of text, with their times.

const NEW_LINE_S = 2; // of silence of a side
const ECHO_S = 3; // a word of the agent that is heard so soon after it was said may be an echo
const ECHOES = 4; // of the last HEARD words
const HEARD = 8;
const NAMES = { user: "You", agent: "Agent" };

export class Transcript {
  constructor(list) {
    this.list = list;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.lines = {};
    this.said = [];
    this.echoes = [];
  }

  get isEmpty() {
    return !this.list.childElementCount;
  }

  word({ side, text, time_s }) {
    let line = this.lines[side];
    // Both may talk at once: a line is what one side says without a break, whatever the other does.
    if (!line || time_s - line.end > NEW_LINE_S) {
      line = this.lines[side] = this.addLine(side, time_s);
    }
    line.end = time_s;
    line.words.append(`${text} `);
    this.scroll();
    this.noteEcho(side, text, time_s);
  }

  addLine(side, time_s) {
    const item = document.createElement("li");
    const [time, name, words] = ["time", "b", "span"].map((tag) => document.createElement(tag));
    time.textContent = clock(time_s);
    name.textContent = NAMES[side];
    item.className = side;
    item.append(time, name, words);
    this.list.append(item);
    return { words, end: time_s };
  }

  /** Add a line that nobody said. */
  note(text) {
    const item = document.createElement("li");
    item.className = "note";
    item.textContent = text;
    this.list.append(item);
    this.lines = {};
    this.scroll();
  }

  scroll() {
    this.list.scrollTop = this.list.scrollHeight;
  }

  noteEcho(side, text, time_s) {
    if (side === "agent") {
      this.said = [...this.said.filter(({ at }) => time_s - at < ECHO_S), { text, at: time_s }];
      return;
    }
    const echo = this.said.some((word) => word.text === text && time_s - word.at < ECHO_S);
    this.echoes = [...this.echoes, echo].slice(-HEARD);
  }

  /** Whether the microphone seems to hear the loudspeaker. */
  get echoing() {
    return this.echoes.filter(Boolean).length >= ECHOES;
  }
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
