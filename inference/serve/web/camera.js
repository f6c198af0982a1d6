// The camera: which one, what the agent sees of it, and in words why there is none.

import { listDevices } from "./microphone.js";

const LANE = "video";
const PREVIEW_MS = 200;
const LEAST_MS = 110; // between two frames: the server takes ten requests a second
const SENTENCES = {
  NotAllowedError: "The camera was not allowed; allow it beside the address of this page.",
  NotFoundError: "No camera was found. Connect one, or go on without.",
  NotReadableError: "The camera is in use by another program, or switched off.",
  OverconstrainedError: "That camera is gone; choose another.",
};

export class Camera {
  /**
   * `preview` is a canvas, on which stands what is sent; `onGone` is told when the device ends by
   * itself, as one that is unplugged does.
   */
  constructor(preview, onGone) {
    Object.assign(this, { preview, onGone, stream: null, seen: false, sentMs: -Infinity });
    this.pen = preview.getContext("2d", { willReadFrequently: true });
    this.video = document.createElement("video");
    this.video.muted = this.video.playsInline = true;
  }

  /** Set the size in pixels of what the model sees. */
  fit([height, width]) {
    Object.assign(this.preview, { height, width });
  }

  get isOn() {
    return this.stream !== null;
  }

  /** Open the camera with this id, or the usual one; throws an Error that a person can read. */
  async open(deviceId) {
    const stream = await openDevice(deviceId);
    this.close();
    this.stream = stream;
    stream.getVideoTracks()[0].onended = () => {
      this.close();
      this.onGone("The camera is gone; the agent sees nothing now.");
    };
    this.video.srcObject = stream;
    await this.video.play();
    this.timer = setInterval(() => this.draw(), PREVIEW_MS);
  }

  /** Fill a list with the cameras. */
  list(select) {
    return listDevices(select, "videoinput", this.stream.getVideoTracks()[0]);
  }

  close() {
    clearInterval(this.timer);
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    this.pen.clearRect(0, 0, this.preview.width, this.preview.height);
  }

  /** Draw the middle of the picture as the model sees it; false: there is no picture yet. */
  draw() {
    const { width, height } = this.preview;
    const { videoWidth, videoHeight } = this.video;
    if (!this.isOn || !videoWidth) return false;
    const scale = Math.min(videoWidth / width, videoHeight / height);
    const [w, h] = [width * scale, height * scale];
    this.pen.imageSmoothingQuality = "high";
    this.pen.drawImage(this.video, (videoWidth - w) / 2, (videoHeight - h) / 2, w, h, 0, 0, width, height);
    return true;
  }

  /** The message with what is seen now, once black after the camera went off, or null. */
  takeFrame() {
    const now = performance.now();
    if (now - this.sentMs < LEAST_MS) return null; // sound that was held up comes all at once
    const seen = this.draw();
    if (!seen && !this.seen) return null;
    this.seen = seen;
    this.sentMs = now;
    const { width, height } = this.preview;
    const { data } = this.pen.getImageData(0, 0, width, height);
    let text = "";
    for (let i = 0; i < data.length; i += 4) {
      text += String.fromCharCode(data[i], data[i + 1], data[i + 2]);
    }
    return { type: "frame", lane: LANE, data: btoa(text) };
  }
}

/** The size in pixels, [height, width], of what a checkpoint sees; null: it has no eyes. */
export function sightOf({ frames }) {
  return frames[LANE] ?? null;
}

async function openDevice(deviceId) {
  if (!navigator.mediaDevices) {
    throw new Error("The camera needs https, or this page on 127.0.0.1 (see docs/serving.md).");
  }
  const video = deviceId ? { deviceId: { exact: deviceId } } : true;
  try {
    return await navigator.mediaDevices.getUserMedia({ video });
  } catch (error) {
    throw new Error(SENTENCES[error.name] ?? `The camera cannot be opened: ${error.message}`);
  }
}
