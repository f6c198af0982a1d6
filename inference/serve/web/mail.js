// The messages of one conversation, over all its connections: what the page has sent is kept until
// nobody can miss it any more.

const MOST_KEPT = 1_000; // of the newest: more than three minutes of sound

export class Mail {
  constructor() {
    this.kept = [];
    this.sent = this.received = 0;
  }

  add(message) {
    this.kept.push(message);
    this.sent++;
    if (this.kept.length > MOST_KEPT) this.kept.shift();
  }

  /**
   * Return what is to be sent again to a server that has read the first `read` messages. Of what the
   * camera saw only the newest is worth it.
   */
  resend(read) {
    const lost = this.kept.slice(this.kept.length - (this.sent - read));
    const last = lost.findLastIndex(isFrame);
    const again = lost.filter((message, k) => !isFrame(message) || k === last);
    this.kept = again;
    this.sent = read + again.length;
    return again;
  }
}

function isFrame(message) {
  return message.type === "frame";
}
