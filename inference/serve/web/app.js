// The page: microphone to the socket in micro-turns, the answer to the loudspeaker, and the
// conversation on one picture.

import { Lanes } from "./lanes.js";

const $ = (id) => document.getElementById(id);
const PROTOCOL = 2;
const LOSSES = ["dropped", "missing", "deadlines"];
const lanes = new Lanes($("lanes"));
let call = null;

// The token leaves the address bar, so that it stays in no history, and is kept for this tab.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  sessionStorage.setItem("token", address.searchParams.get("token"));
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

/** One conversation: a socket, a microphone, a player. */
class Call {
  constructor() {
    this.sent = 0;
    this.received = 0;
    this.serverDropped = 0;
    this.pageDropped = 0;
    const url = new URL("ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const token = sessionStorage.getItem("token");
    if (token) url.searchParams.set("token", token);
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onopen = () => (this.opened = true);
    this.socket.onclose = ({ reason }) => this.lose(reason);
    this.opened = this.ended = false;
  }

  receive(data) {
    if (data instanceof ArrayBuffer) return this.play(data);
    const message = JSON.parse(data);
    const handle = {
      hello: () => this.begin(message).catch((error) => this.fail(error)),
      micro_turn: () => this.showMicroTurn(message),
      word: () => showWord(message),
      delegation: () => showDelegation(message),
      result: () => lanes.result(message),
      dropped: () => lanes.loss(`${message.dropped_s.toFixed(1)} s dropped`),
      missing_input: () => lanes.loss(`${message.missing_s.toFixed(1)} s missing`),
      error: () => complain(message.message),
      closed: () => {},
    }[message.type];
    handle?.();
  }

  async begin(hello) {
    this.hello = hello;
    this.socket.send(JSON.stringify({ type: "hello", protocol: PROTOCOL }));
    lanes.begin(hello);
    if (!navigator.mediaDevices) {
      throw new Error("The microphone needs https, or this page on 127.0.0.1.");
    }
    this.audio = new AudioContext({ latencyHint: "interactive" });
    await this.audio.audioWorklet.addModule("audio-worklet.js");
    this.microphone = await navigator.mediaDevices.getUserMedia({
      // The agent's own voice must not come back to it; noise it has learnt to live with.
      audio: { echoCancellation: true, noiseSuppression: false, autoGainControl: true },
    });
    if (this.ended) return this.release();
    const processorOptions = {
      sampleRate: hello.sample_rate,
      samplesPerMicroTurn: hello.samples_per_micro_turn,
      microTurnSeconds: hello.micro_turn_ms / 1000,
    };
    this.capture = new AudioWorkletNode(this.audio, "capture", {
      processorOptions,
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.player = new AudioWorkletNode(this.audio, "playback", {
      processorOptions,
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.capture.port.onmessage = ({ data }) => this.sendAudio(data);
    this.player.port.onmessage = ({ data }) => this.showPlayer(data);
    this.audio.createMediaStreamSource(this.microphone).connect(this.capture);
    this.player.connect(this.audio.destination);
    await this.audio.resume();
    say("listening");
    typing(hello.layout.text_in_positions > 0);
  }

  sendAudio(chunk) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    lanes.level("user", this.sent, chunk);
    this.socket.send(chunk);
    $("sent").textContent = ++this.sent;
  }

  play(chunk) {
    lanes.level("agent", this.microTurn + 1, chunk);
    this.player?.port.postMessage(chunk, [chunk]);
    $("received").textContent = ++this.received;
  }

  showMicroTurn({ micro_turn, lag_ms, ...counts }) {
    this.microTurn = micro_turn;
    this.serverDropped = counts.dropped_input + counts.dropped_output;
    $("missing").textContent = counts.missing_input;
    $("deadlines").textContent = counts.deadline_missed;
    $("lag").textContent = `${Math.round(lag_ms)} ms`;
    this.showDropped();
    lanes.microTurn(micro_turn, lag_ms);
  }

  showPlayer({ bufferedMs, gaps, dropped }) {
    $("buffer").textContent = `${bufferedMs} ms`;
    $("gaps").textContent = gaps;
    this.pageDropped = dropped;
    this.showDropped();
  }

  showDropped() {
    $("dropped").textContent = this.serverDropped + this.pageDropped;
  }

  fail(error) {
    const refused = error.name === "NotAllowedError";
    complain(refused ? "The microphone was not allowed." : error.message);
    this.end("stopped");
  }

  /** The socket was closed by the server, or its connection broke. */
  lose(reason) {
    if (!this.opened) complain("The server does not answer. Is it still running?");
    else if (!reason && !this.ended) complain("The connection to the server broke.");
    this.end(this.hello ? reason || "the connection is closed" : "not connected");
  }

  release() {
    this.microphone?.getTracks().forEach((track) => track.stop());
    if (this.audio && this.audio.state !== "closed") this.audio.close();
  }

  end(reason) {
    if (this.ended) return;
    this.ended = true;
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type: "close" }));
    }
    this.socket.close();
    this.release();
    call = null;
    say(reason);
    typing(false);
    $("talk").textContent = "Start talking";
    $("talk").setAttribute("aria-pressed", "false");
  }
}

function say(status) {
  $("status").textContent = status;
}

function complain(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = !sentence;
}

function typing(possible) {
  for (const element of $("type").elements) element.disabled = !possible;
}

function showWord(word) {
  lanes.word(word);
  const side = $(word.side === "user" ? "heard" : "said");
  side.append(`${word.text} `);
  side.scrollTop = side.scrollHeight;
}

function showDelegation({ id, status, text }) {
  lanes.delegation(id, status);
  const name = `delegation-${id}`;
  let item = $(name);
  if (!item) {
    item = document.createElement("li");
    item.id = name;
    $("delegations").append(item);
  }
  item.textContent = text ? `${status}: ${text}` : status;
  item.className = ["final", "failed", "cancelled"].includes(status) ? "over" : "";
}

$("talk").addEventListener("click", () => {
  if (call) return call.end("stopped");
  complain("");
  for (const id of ["heard", "said", "delegations"]) $(id).replaceChildren();
  for (const id of ["sent", "received", "gaps", ...LOSSES]) $(id).textContent = "0";
  say("connecting");
  call = new Call();
  $("talk").textContent = "Stop";
  $("talk").setAttribute("aria-pressed", "true");
});

$("type").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || !call) return;
  call.socket.send(JSON.stringify({ type: "text", text }));
  $("text").value = "";
});
