// The sound of one conversation: what goes to the server (microphone or an example) and what is
// played. It outlives a connection, so that a new one goes on with it.

const CONNECTED_MS = 3000; // after this the loudspeaker is used directly

export class Sound {
  /** Build the graph; `onChunk` gets each micro-turn to send, `onPlayer` the state of playback. */
  static async open(hello, { headphones, onChunk, onPlayer }) {
    const context = new AudioContext({ latencyHint: "interactive" });
    await context.audioWorklet.addModule("audio-worklet.js");
    const sound = new Sound(context, hello);
    sound.capture.port.onmessage = ({ data }) => onChunk(data);
    sound.player.port.onmessage = ({ data }) => onPlayer(data);
    await context.resume();
    if (headphones) sound.output.connect(context.destination);
    else sound.canceller = await playThroughPeer(context, sound.output);
    return sound;
  }

  constructor(context, hello) {
    this.context = context;
    const processorOptions = {
      sampleRate: hello.sample_rate,
      samplesPerMicroTurn: hello.samples_per_micro_turn,
      microTurnSeconds: hello.micro_turn_ms / 1000,
    };
    this.capture = new AudioWorkletNode(context, "capture", {
      processorOptions,
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.player = new AudioWorkletNode(context, "playback", {
      processorOptions,
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.output = new GainNode(context);
    this.player.connect(this.output);
    // Silence has to be sent as well: without a source nothing would be captured.
    this.silence = new ConstantSourceNode(context, { offset: 0 });
    this.silence.connect(this.capture);
    this.silence.start();
    this.ear = new GainNode(context); // of the microphone
    this.ear.connect(this.capture);
    this.muted = false;
  }

  /** Listen to a microphone instead of the one before. */
  listenTo(stream) {
    this.microphone?.disconnect();
    this.microphone = this.context.createMediaStreamSource(stream);
    this.microphone.connect(this.ear);
  }

  mute(muted) {
    this.muted = muted;
    this.ear.gain.value = muted || this.example ? 0 : 1;
  }

  /** Send a recording (an AudioBuffer) instead of the microphone, and let it be heard here. */
  playExample(recording, onEnd) {
    this.stopExample();
    const example = new AudioBufferSourceNode(this.context, { buffer: recording });
    example.connect(this.capture);
    example.connect(this.output);
    example.onended = () => {
      if (this.example !== example) return;
      this.stopExample();
      onEnd();
    };
    example.start();
    this.example = example;
    this.mute(this.muted);
  }

  stopExample() {
    const { example } = this;
    this.example = null;
    example?.disconnect();
    this.mute(this.muted);
  }

  play(chunk) {
    this.player.port.postMessage(chunk, [chunk]);
  }

  close() {
    this.canceller?.close();
    if (this.context.state !== "closed") this.context.close();
  }
}

/**
 * Play a node through a connection of the page with itself. Browsers cancel the echo of sound that
 * arrives from a peer better than of sound that a page makes. Where no connection comes about the
 * loudspeaker is used directly.
 */
async function playThroughPeer(context, node) {
  const stream = new MediaStreamAudioDestinationNode(context);
  const element = new Audio();
  const peers = [];
  const close = () => {
    peers.forEach((peer) => peer.close());
    element.srcObject = null;
  };
  try {
    peers.push(new RTCPeerConnection(), new RTCPeerConnection());
    const [here, there] = peers;
    here.onicecandidate = ({ candidate }) => candidate && there.addIceCandidate(candidate);
    there.onicecandidate = ({ candidate }) => candidate && here.addIceCandidate(candidate);
    const arrived = new Promise((resolve) => (there.ontrack = ({ streams }) => resolve(streams[0])));
    here.addTrack(stream.stream.getAudioTracks()[0], stream.stream);
    await here.setLocalDescription();
    await there.setRemoteDescription(here.localDescription);
    await there.setLocalDescription();
    await here.setRemoteDescription(there.localDescription);
    element.srcObject = await arrived;
    await Promise.race([connected(there), after(CONNECTED_MS)]);
    await element.play();
    node.connect(stream);
    return { close, direct: false };
  } catch {
    // Some browsers have no such connections, or are told not to make them.
    close();
    node.connect(context.destination);
    return { close() {}, direct: true };
  }
}

function connected(peer) {
  return new Promise((resolve) => {
    const look = () => peer.connectionState === "connected" && resolve();
    peer.onconnectionstatechange = look;
    look();
  });
}

function after(ms) {
  return new Promise((_, reject) => setTimeout(() => reject(new Error("no connection")), ms));
}
