// A zip file without compression.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});
const VERSION = 20;
const UTF8_NAMES = 0x800;
const DATE = 0x21; // 1 January 1980: the file's own time says when

/** Pack files, bytes by name, into one. */
export function zip(files) {
  const parts = [];
  const entries = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const title = new TextEncoder().encode(name);
    const about = [VERSION, UTF8_NAMES, 0, 0, DATE];
    const sizes = [checksum(content), content.length, content.length];
    const head = pack("PK\u0003\u0004", about, sizes, [title.length, 0]);
    parts.push(head, title, content);
    // The directory at the end repeats it all and says where.
    const rest = [title.length, 0, 0, 0, 0];
    entries.push(pack("PK\u0001\u0002", [VERSION, ...about], sizes, rest, [0, offset]), title);
    offset += head.length + title.length + content.length;
  }
  const size = entries.reduce((sum, { length }) => sum + length, 0);
  const n = entries.length / 2;
  const end = pack("PK\u0005\u0006", [0, 0, n, n], [size, offset], [0]);
  return join([...parts, ...entries, end]);
}

/** Write a mark, then lists of numbers: of 16 bits, of 32 bits, and so on in turn. */
function pack(mark, ...lists) {
  const numbers = lists.flatMap((list, i) => list.map((value) => [value, i % 2 ? 4 : 2]));
  const length = numbers.reduce((sum, [, bytes]) => sum + bytes, mark.length);
  const view = new DataView(new ArrayBuffer(length));
  let at = 0;
  for (const letter of mark) view.setUint8(at++, letter.charCodeAt(0));
  for (const [value, bytes] of numbers) {
    if (bytes === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

export function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
