// The microphone at the rate of the server in whole micro-turns, and playback through a jitter
// buffer. Both run on the audio thread.

import { JitterBuffer } from "./jitter.js";

const HALF_TAPS = 16; // of the sinc at equal rates
const REPORT_S = 0.1;

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** Polyphase resampling with a Hann-windowed sinc; exact for any two whole rates. */
class Resampler {
  constructor(from, to) {
    const common = gcd(from, to);
    this.up = to / common;
    this.down = from / common;
    const scale = Math.max(1, from / to); // the low-pass is as wide as the lower rate asks
    this.half = Math.ceil(HALF_TAPS * scale);
    this.kernels = Array.from({ length: this.up }, (_, phase) => this.kernel(phase, scale));
    this.rest = new Float32Array(this.half);
    this.phase = 0; // of the next output, in 1/up of an input sample
  }

  kernel(phase, scale) {
    const taps = new Float32Array(2 * this.half);
    let sum = 0;
    for (let i = 0; i < taps.length; i++) {
      const x = (i - this.half + 1 - phase / this.up) / scale;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      const edge = Math.abs(x) / (HALF_TAPS + 1);
      taps[i] = edge < 1 ? sinc * (0.5 + 0.5 * Math.cos(Math.PI * edge)) : 0;
      sum += taps[i];
    }
    return taps.map((tap) => tap / sum);
  }

  push(input) {
    const samples = new Float32Array(this.rest.length + input.length);
    samples.set(this.rest);
    samples.set(input, this.rest.length);
    const output = [];
    let start = 0;
    while (start + 2 * this.half <= samples.length) {
      const taps = this.kernels[this.phase];
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * samples[start + i];
      output.push(sum);
      this.phase += this.down;
      start += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.rest = samples.slice(start);
    return output;
  }
}

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.resampler = new Resampler(sampleRate, processorOptions.sampleRate);
    this.chunk = new Int16Array(processorOptions.samplesPerMicroTurn);
    this.filled = 0;
  }

  process([input]) {
    if (!input.length) return true;
    for (const sample of this.resampler.push(input[0])) {
      this.chunk[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.chunk.length) {
        const { buffer } = this.chunk.slice();
        this.port.postMessage(buffer, [buffer]);
        this.filled = 0;
      }
    }
    return true;
  }
}

class Playback extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.resampler = new Resampler(processorOptions.sampleRate, sampleRate);
    this.buffer = new JitterBuffer(sampleRate, processorOptions.microTurnSeconds);
    this.sinceReport = 0;
    this.port.onmessage = ({ data }) => this.add(new Int16Array(data));
  }

  add(pcm) {
    this.buffer.add(this.resampler.push(Float32Array.from(pcm, (value) => value / 32768)));
  }

  process(_, [[channel]]) {
    this.buffer.fill(channel);
    this.sinceReport += channel.length;
    if (this.sinceReport >= REPORT_S * sampleRate) {
      this.sinceReport = 0;
      const { buffered, gaps, dropped } = this.buffer;
      const bufferedMs = Math.round((buffered / sampleRate) * 1000);
      this.port.postMessage({ bufferedMs, gaps, dropped });
    }
    return true;
  }
}

registerProcessor("capture", Capture);
registerProcessor("playback", Playback);
