// A conversation: its sound, and the connection to the server, which is made again when it breaks.

import { Link } from "./link.js";
import { Mail } from "./mail.js";
import { Sound } from "./sound.js";

const RETRY_S = [0.5, 1, 2, 4, 8, 15];
const AFTER_EXAMPLE_S = 4; // of listening, where no microphone goes on

export class Call {
  /**
   * `view` shows what happens; without a `stream` of a microphone the call ends after examples.
   * `start` counts the micro-turns of earlier calls, on whose clock the page goes on. With
   * `headphones` there is no echo to cancel. `camera` gives what the agent sees.
   */
  constructor(view, stream, { start, headphones, camera }) {
    Object.assign(this, { view, stream, start, headphones, camera, offset: start });
    this.sent = this.received = this.serverDropped = this.pageDropped = this.failed = 0;
    this.ended = false;
    this.mail = null; // of a conversation that can go on over another connection
    view.status("connecting");
    this.connect();
  }

  connect() {
    const resume = this.mail && { token: this.hello.token, received: this.mail.received };
    this.link = new Link({
      resume,
      onHello: (hello, answer) => {
        this.greet(hello, answer);
        this.begin(hello).catch((error) => this.fail(error.message));
      },
      onMessage: (message) => this.receive(message),
      onAudio: (chunk) => this.play(chunk),
      onEnd: (state) => this.lose(state),
    });
  }

  greet(hello, answer) {
    if (this.hello) this.view.broken();
    this.mail = new Mail();
    this.mail.received = 1;
    this.send(answer);
    if (!hello.resume_s) this.mail = null; // this server keeps nothing
  }

  /** The server let us in. */
  async begin(hello) {
    this.hello = hello;
    this.second = hello.micro_turn_ms / 1000;
    if (this.startedMs) {
      const passed = Math.ceil((performance.now() - this.startedMs) / hello.micro_turn_ms);
      this.offset = this.start + passed;
    }
    this.sentHere = this.shift = this.failed = 0;
    this.view.begun(hello);
    if (!this.sound) await this.openSound(hello);
    this.startedMs ??= performance.now();
    this.showStatus();
  }

  async openSound(hello) {
    const sound = await Sound.open(hello, {
      headphones: this.headphones,
      onChunk: (chunk) => this.sendAudio(chunk),
      onPlayer: (state) => this.showPlayer(state),
    });
    if (this.ended) return sound.close();
    this.sound = sound;
    if (sound.canceller?.direct) this.view.hint("Echo may not be cancelled here: use headphones.");
    if (this.stream) sound.listenTo(this.stream);
    if (this.waiting) this.playExample(this.waiting);
  }

  /** The conversation goes on: the server has read so many of our messages. */
  goOn({ received }) {
    this.failed = 0;
    for (const message of this.mail.resend(received)) this.link.send(message);
    this.showStatus();
  }

  showStatus() {
    if (this.ended || !this.link.isOpen) return;
    const { example, muted } = this.sound ?? {};
    this.view.status(example ? "playing an example" : muted ? "muted" : "listening");
  }

  // --- out -----------------------------------------------------------------------------------
  /** Send a message now, or once the connection is there again. */
  send(message) {
    this.mail?.add(message);
    this.link.send(message);
  }

  sendAudio(chunk) {
    if (!this.link.isOpen && !this.mail) return;
    this.view.level("user", this.offset + this.shift + this.sentHere++, chunk);
    const frame = this.link.isOpen && this.camera.takeFrame(); // the end of this micro-turn
    if (frame) this.send(frame);
    this.send(chunk);
    this.view.number("sent", ++this.sent);
  }

  type(text) {
    this.send({ type: "text", text });
  }

  cancel(id) {
    this.send({ type: "cancel", delegation_id: id });
  }

  listenTo(stream) {
    this.stream = stream;
    this.sound?.listenTo(stream);
  }

  mute(muted) {
    this.stream?.getTracks().forEach((track) => (track.enabled = !muted));
    this.sound?.mute(muted);
    this.showStatus();
  }

  /** Say a recording to the agent, at once or as soon as it listens. */
  playExample(recording) {
    clearTimeout(this.leaving);
    this.waiting = recording;
    if (!this.sound) return;
    this.waiting = null;
    this.sound.playExample(recording, () => {
      this.showStatus();
      if (this.stream) return;
      this.leaving = setTimeout(() => this.stop("the example is over"), AFTER_EXAMPLE_S * 1000);
    });
    this.showStatus();
  }

  // --- in ------------------------------------------------------------------------------------
  receive(message) {
    if (this.mail) this.mail.received++;
    if (message.type === "resumed") return this.goOn(message);
    if (message.type === "error") return this.complain(message);
    if (message.type === "micro_turn") return this.showMicroTurn(message);
    const moved = { ...message };
    if ("time_s" in moved) moved.time_s += this.offset * this.second;
    if ("ranges" in moved) {
      moved.ranges = message.ranges.map((range) => range.map((k) => k + this.offset));
    }
    this.view.event(moved);
  }

  complain({ message }) {
    const isResuming = this.mail && !this.link.isOpen; // `lose` begins anew if it may not
    if (!isResuming) this.view.complain(message);
  }

  play(chunk) {
    if (this.mail) this.mail.received++;
    this.view.level("agent", this.microTurn + 1, chunk);
    this.sound?.play(chunk);
    this.view.number("received", ++this.received);
  }

  showMicroTurn({ micro_turn, lag_ms, ...counts }) {
    this.microTurn = this.offset + micro_turn;
    // Micro-turns that went on without this page's sound have places of their own on the clock.
    this.shift = counts.missing_input - counts.too_late_input;
    this.serverDropped = counts.dropped_input + counts.dropped_output;
    this.view.number("missing", counts.missing_input);
    this.view.number("deadlines", counts.deadline_missed);
    this.view.number("lag", `${Math.round(lag_ms)} ms`);
    this.showDropped();
    this.view.microTurn({ micro_turn: this.microTurn, lag_ms });
  }

  showPlayer({ bufferedMs, gaps, dropped }) {
    this.view.number("buffer", `${bufferedMs} ms`);
    this.view.number("gaps", gaps);
    this.pageDropped = dropped;
    this.showDropped();
  }

  showDropped() {
    this.view.number("dropped", this.serverDropped + this.pageDropped);
  }

  // --- the end -------------------------------------------------------------------------------
  /** The connection is over: told by the server, or broken, and then tried again. */
  lose({ open, told, reason }) {
    if (this.ended) return;
    if (told && this.mail && !open) {
      this.mail = null; // it is over there, and another one begins
      return this.connect();
    }
    if (told) return this.stop(this.hello ? reason || "the conversation is over" : "not connected");
    if (!this.hello) {
      return this.fail("The server does not answer. Is it still running?", "not connected");
    }
    if (this.failed === RETRY_S.length) {
      return this.fail("The server does not answer any more. The conversation so far is kept here.");
    }
    const wait = RETRY_S[this.failed++];
    this.view.status(`the connection broke; trying again (${this.failed} of ${RETRY_S.length})`);
    this.retry = setTimeout(() => this.connect(), wait * 1000);
  }

  fail(sentence, status = "stopped") {
    this.view.complain(sentence);
    this.stop(status);
  }

  stop(status) {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.retry);
    clearTimeout(this.leaving);
    this.link.close();
    this.sound?.close();
    this.view.status(status);
    this.view.ended();
  }
}
