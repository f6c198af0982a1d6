// The microphone: which one, how loud, and in words why there is none.

const WANTED = { noiseSuppression: false, autoGainControl: true }; // it has learnt to live with noise
const METER_MS = 80;
const SENTENCES = {
  NotAllowedError: "The microphone was not allowed; allow it beside the address of this page.",
  NotFoundError: "No microphone was found. Connect one, or play an example.",
  NotReadableError: "The microphone is in use by another program, or switched off.",
  OverconstrainedError: "That microphone is gone; choose another.",
};

/**
 * Open the microphone with this id, or the usual one; throws an Error that a person can read. Without
 * headphones the agent's own voice would come back to it.
 */
export async function openMicrophone(deviceId, headphones) {
  if (!navigator.mediaDevices) {
    throw new Error("The microphone needs https, or this page on 127.0.0.1 (see docs/serving.md).");
  }
  const audio = { ...WANTED, echoCancellation: !headphones };
  if (deviceId) audio.deviceId = { exact: deviceId };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Error(SENTENCES[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
}

/** Fill a list with the devices of a kind; their names are known once one was allowed. */
export async function listDevices(select, kind, track) {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === kind);
  const name = ({ label }, k) => label || `${kind === "audioinput" ? "microphone" : "camera"} ${k + 1}`;
  select.replaceChildren(...devices.map((d, k) => new Option(name(d, k), d.deviceId)));
  select.value = track.getSettings().deviceId;
}

/** Shows the level of a stream on a meter until it is stopped. */
export class LevelMeter {
  constructor(stream, meter) {
    this.context = new AudioContext();
    this.analyser = new AnalyserNode(this.context, { fftSize: 2048 });
    this.context.createMediaStreamSource(stream).connect(this.analyser);
    const samples = new Float32Array(this.analyser.fftSize);
    this.timer = setInterval(() => {
      this.analyser.getFloatTimeDomainData(samples);
      let power = 0;
      for (const sample of samples) power += sample ** 2;
      meter.value = Math.max(0, 1 + (10 * Math.log10(power / samples.length + 1e-9)) / 60);
    }, METER_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.context.close();
  }
}
