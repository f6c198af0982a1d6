// Keeps a conversation for its download: both sides' sound on one clock, and everything that was told.

import { join, zip } from "./zip.js";
import { clock } from "./transcript.js";

const MOST_S = 1800; // of sound; the oldest goes first
const KEPT = ["word", "delegation", "result", "card", "utterance_end", "dropped", "missing_input"];

export class Recorder {
  constructor() {
    this.end = 0; // the micro-turn after the last one
    this.clear();
  }

  clear() {
    this.sides = { user: new Map(), agent: new Map() }; // samples by micro-turn
    this.events = [];
  }

  begin(hello) {
    this.hello = hello;
    this.most = Math.ceil(MOST_S / (hello.micro_turn_ms / 1000));
  }

  sound(side, microTurn, chunk) {
    const kept = this.sides[side];
    kept.set(microTurn, new Int16Array(chunk.slice(0)));
    this.end = Math.max(this.end, microTurn + 1);
    if (kept.size > this.most) kept.delete(kept.keys().next().value);
  }

  event(message) {
    if (KEPT.includes(message.type)) this.events.push(message);
  }

  /** Make a file of the recording (left the user, right the agent), the events and the words. */
  toFile() {
    const files = {
      "conversation.wav": this.wave(),
      "conversation.json": encode(JSON.stringify(this.labels(), null, 1)),
      "transcript.txt": encode(this.transcript()),
    };
    return new Blob([zip(files)], { type: "application/zip" });
  }

  labels() {
    const { sample_rate, micro_turn_ms } = this.hello;
    return { begins_at_s: this.first * (micro_turn_ms / 1000), sample_rate, events: this.events };
  }

  transcript() {
    const words = this.events.filter(({ type }) => type === "word");
    return words.map((word) => `${clock(word.time_s)} ${word.side}: ${word.text}\n`).join("");
  }

  get microTurns() {
    return [...this.sides.user.keys(), ...this.sides.agent.keys()];
  }

  get first() {
    return this.microTurns.reduce((least, k) => Math.min(least, k), Infinity);
  }

  wave() {
    const { sample_rate: rate, samples_per_micro_turn: n } = this.hello;
    const first = this.first;
    const samples = new Int16Array(2 * n * (this.end - first));
    for (const [channel, side] of ["user", "agent"].entries()) {
      for (const [k, chunk] of this.sides[side]) {
        const start = 2 * n * (k - first) + channel;
        for (let i = 0; i < n; i++) samples[start + 2 * i] = chunk[i];
      }
    }
    return join([waveHead(rate, samples.byteLength), new Uint8Array(samples.buffer)]);
  }
}

/** The head of a stereo file of 16 bits. */
function waveHead(rate, bytes) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, letters) =>
    [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // plain samples
  view.setUint16(22, 2, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 4 * rate, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  return new Uint8Array(view.buffer);
}

const encode = (text) => new TextEncoder().encode(text);
