// One connection to the server in its own protocol.

const PROTOCOL = 2;
const SILENT_MS = 5_000; // a server that answers nothing for so long cannot be reached

// The token leaves the address bar, so that it stays in no history, and is kept for this tab.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  sessionStorage.setItem("token", address.searchParams.get("token"));
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

/** Fetch from the server with the token; throws its sentence where it refuses. */
export async function fetchFile(name) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(name, { headers });
  if (!response.ok) throw new Error(await response.text());
  return response;
}

export class Link {
  /**
   * `resume` has {token, received} of a conversation to go on with, or is null. `onEnd` gets {open,
   * told, reason}: whether messages could be sent, and whether a `closed` of the server arrived.
   */
  constructor({ resume, onHello, onMessage, onAudio, onEnd }) {
    const url = new URL("ws", location.href);
    for (const [name, value] of Object.entries(resume ?? {})) {
      url.searchParams.set(name === "token" ? "resume" : name, value);
    }
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const token = sessionStorage.getItem("token");
    if (token) url.searchParams.set("token", token);
    this.told = false;
    this.takes = false; // the conversation has begun here, or goes on
    this.waitingMs = null; // since when an answer is awaited
    this.onEnd = onEnd;
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      this.waitingMs = null;
      if (data instanceof ArrayBuffer) return onAudio(data);
      const message = JSON.parse(data);
      if (message.type === "closed") this.told = true;
      if (["hello", "resumed"].includes(message.type)) this.takes = true;
      if (message.type === "hello") onHello(message, { type: "hello", protocol: PROTOCOL });
      else onMessage(message);
    };
    this.socket.onclose = ({ reason }) => this.end(reason);
    if (resume) this.patience = setTimeout(() => this.takes || this.drop(), SILENT_MS);
  }

  get isOpen() {
    return this.takes && this.socket.readyState === WebSocket.OPEN;
  }

  /** Send a chunk of sound or an object, if it can be sent. */
  send(message) {
    if (!this.isOpen) return;
    if (!(message instanceof ArrayBuffer)) return this.socket.send(JSON.stringify(message));
    this.socket.send(message);
    this.waitingMs ??= performance.now(); // sound is always answered
    if (performance.now() - this.waitingMs > SILENT_MS) this.drop();
  }

  /** Give up a connection that is none any more: the browser would notice it minutes later. */
  drop() {
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close();
    this.end("");
  }

  end(reason) {
    const { takes, told } = this;
    clearTimeout(this.patience);
    this.takes = false;
    this.onEnd({ open: takes, told, reason });
  }

  /** End the conversation; nothing is heard of this link afterwards. */
  close() {
    clearTimeout(this.patience);
    this.socket.onclose = this.socket.onmessage = null;
    this.send({ type: "close" });
    this.socket.close();
  }
}
