// One connection to the server in its own protocol.

const PROTOCOL = 2;

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
  /** `onEnd` gets {greeted, told, reason}: whether a hello and a `closed` of the server arrived. */
  constructor({ onHello, onMessage, onAudio, onEnd }) {
    const url = new URL("ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const token = sessionStorage.getItem("token");
    if (token) url.searchParams.set("token", token);
    this.opened = this.greeted = this.told = false;
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => (this.opened = true);
    this.socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) return onAudio(data);
      const message = JSON.parse(data);
      if (message.type === "closed") this.told = true;
      if (message.type !== "hello") return onMessage(message);
      this.greeted = true;
      this.send({ type: "hello", protocol: PROTOCOL });
      onHello(message);
    };
    this.socket.onclose = ({ reason }) => onEnd({ ...this.state, reason });
  }

  get state() {
    const { opened, greeted, told } = this;
    return { opened, greeted, told };
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
  }

  sendAudio(chunk) {
    if (this.isOpen) this.socket.send(chunk);
  }

  /** End the conversation; nothing is heard of this link afterwards. */
  close() {
    this.socket.onclose = this.socket.onmessage = null;
    this.send({ type: "close" });
    this.socket.close();
  }
}
