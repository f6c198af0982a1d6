// The page: a conversation by voice, its transcript, and what else can be done with it.

import { Background } from "./background.js";
import { Call } from "./call.js";
import { Camera, sightOf } from "./camera.js";
import { showExamples } from "./examples.js";
import { Lanes } from "./lanes.js";
import { LevelMeter, listDevices, openMicrophone } from "./microphone.js";
import { Recorder } from "./recorder.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const COUNTERS = ["sent", "received", "gaps", "dropped", "missing", "deadlines"];
const lanes = new Lanes($("lanes"));
const transcript = new Transcript($("transcript"));
const background = new Background($("delegations"), (id) => call?.cancel(id));
const recorder = new Recorder();
const camera = new Camera($("seen"), (sentence) => {
  showCamera();
  hint(sentence);
});
let call = null;
let microphone = null; // the stream that was checked or is in use
let meter = null;

/** What a call tells the page. */
const view = {
  status: (text) => ($("status").textContent = text),
  complain,
  hint,
  number: (id, text) => ($(id).textContent = text),
  begun: (hello) => {
    lanes.begin(hello);
    recorder.begin(hello);
    for (const element of $("type").elements) element.disabled = false;
  },
  broken: () => {
    background.leaveOff();
    lanes.leaveOff();
    transcript.note("the connection broke; what follows is a new conversation for the agent");
  },
  level: (side, microTurn, chunk) => {
    lanes.level(side, microTurn, chunk);
    recorder.sound(side, microTurn, chunk);
    $("download").disabled = $("clear").disabled = false;
  },
  microTurn: (message) => lanes.microTurn(message.micro_turn, message.lag_ms),
  event: (message) => {
    recorder.event(message);
    const show = {
      word: () => showWord(message),
      delegation: () => {
        background.delegation(message);
        lanes.delegation(message);
      },
      result: () => {
        background.result(message);
        lanes.result(message);
      },
      card: () => background.card(message),
      warning: () => hint(message.message),
      dropped: () => lanes.lost(message.direction, message.ranges),
      missing_input: () => lanes.lost("missing", message.ranges),
    }[message.type];
    show?.();
  },
  ended: () => {
    call = null;
    background.leaveOff();
    lanes.leaveOff();
    releaseMicrophone();
    camera.close();
    showCamera();
    for (const element of $("type").elements) element.disabled = true;
    showCall(false);
  },
};

function showWord(message) {
  lanes.word(message);
  transcript.word(message);
  if (transcript.echoing) {
    hint("The microphone seems to hear the loudspeaker. Headphones, or less volume, help.");
  }
}

function complain(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = !sentence;
}

function hint(sentence) {
  $("hint").textContent = sentence;
  $("hint").hidden = !sentence;
}

function showCall(running) {
  $("talk").textContent = running ? "Stop" : "Start talking";
  $("talk").setAttribute("aria-pressed", String(running));
  $("mute").hidden = !running;
  $("headphones").disabled = running;
  $("mute").textContent = "Mute";
  $("mute").setAttribute("aria-pressed", "false");
}

/** Begin a conversation; `stream` is null where examples stand in for a microphone. */
function begin(stream) {
  complain("");
  hint("");
  for (const id of COUNTERS) $(id).textContent = "0";
  if (!transcript.isEmpty) transcript.note("a new conversation");
  const headphones = $("headphones").checked;
  call = new Call(view, stream, { start: recorder.end, headphones, camera });
  showCall(true);
}

// --- the microphone ---------------------------------------------------------------------------
async function useMicrophone(deviceId) {
  const stream = await openMicrophone(deviceId, $("headphones").checked);
  releaseMicrophone();
  microphone = stream;
  meter = new LevelMeter(stream, $("level"));
  await listDevices($("devices"), "audioinput", stream.getAudioTracks()[0]);
  for (const element of [$("devices"), $("level"), ...$("devices").labels]) element.hidden = false;
  $("check").hidden = true;
  return stream;
}

function releaseMicrophone() {
  meter?.stop();
  microphone?.getTracks().forEach((track) => track.stop());
  microphone = meter = null;
  $("check").hidden = false;
  for (const element of [$("level"), $("devices"), ...$("devices").labels]) element.hidden = true;
}

$("check").addEventListener("click", () => {
  complain("");
  useMicrophone("").catch((error) => complain(error.message));
});

$("devices").addEventListener("change", async () => {
  try {
    const stream = await useMicrophone($("devices").value);
    call?.listenTo(stream);
  } catch (error) {
    complain(error.message);
  }
});

$("headphones").addEventListener("change", () => {
  if (microphone) useMicrophone($("devices").value).catch((error) => complain(error.message));
});

// --- the camera -------------------------------------------------------------------------------
function showCamera() {
  $("sight").hidden = !camera.isOn;
  $("see").setAttribute("aria-pressed", String(camera.isOn));
  $("see").textContent = camera.isOn ? "Stop camera" : "Start camera";
}

async function useCamera(deviceId) {
  complain("");
  hint("");
  try {
    await camera.open(deviceId);
    await camera.list($("cameras"));
  } catch (error) {
    complain(error.message);
  }
  showCamera();
}

$("see").addEventListener("click", () => {
  if (!camera.isOn) return useCamera("");
  camera.close();
  showCamera();
});

$("cameras").addEventListener("change", () => useCamera($("cameras").value));

// --- the conversation -------------------------------------------------------------------------
$("talk").addEventListener("click", async () => {
  if (call) return call.stop("stopped");
  $("talk").disabled = true;
  view.status("asking for the microphone");
  try {
    begin(microphone ?? (await useMicrophone("")));
  } catch (error) {
    complain(error.message);
    view.status("not connected");
  } finally {
    $("talk").disabled = false;
  }
});

$("mute").addEventListener("click", () => {
  const muted = $("mute").getAttribute("aria-pressed") !== "true";
  call.mute(muted);
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute").textContent = muted ? "Unmute" : "Mute";
});

$("type").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || !call) return;
  call.type(text);
  transcript.note(`typed: ${text}`);
  $("text").value = "";
});

// --- keeping it -------------------------------------------------------------------------------
$("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(recorder.toFile());
  link.download = "conversation.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});

$("clear").addEventListener("click", () => {
  for (const part of [transcript, background, recorder, lanes]) part.clear();
  lanes.draw();
  $("clear").disabled = $("download").disabled = true;
});

// --- what there is to know before -------------------------------------------------------------
showExamples({ knows: $("knows"), examples: $("examples") }, (recording) => {
  if (!call) begin(null);
  call.playExample(recording);
}).then(
  (about) => {
    $("type").hidden = !about.typed;
    const sight = sightOf(about);
    if (sight) camera.fit(sight);
    $("see").hidden = !sight;
  },
  (error) => complain(error.message), // such as a token that is missing
);
