"""A client that sends one kind of message as fast as it can and does not care what comes back.

`python tests/support/hostile/client.py HOST PORT KIND`: floods until it is ended, comes back as
soon as it is thrown out, and prints a line each time.
"""

import json
import socket
import struct
import sys
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_HELLO: Final = json.dumps({"type": "hello", "protocol": 2})


def frame(opcode: int, payload: bytes, *, is_last: bool = True) -> bytes:
    """Make a frame of a client; its mask is zero, which leaves the payload as it is."""
    n = len(payload)
    if n < 126:
        length = bytes([0x80 | n])
    elif n < 1 << 16:
        length = bytes([0x80 | 126]) + struct.pack("!H", n)
    else:
        length = bytes([0x80 | 127]) + struct.pack("!Q", n)
    return bytes([(0x80 if is_last else 0) | opcode]) + length + bytes(4) + payload


def message(**values: object) -> bytes:
    return frame(TEXT, json.dumps(values).encode())


FLOODS: Final[dict[str, bytes]] = {
    "text": message(type="text", text="one two three " * 50) * 100,
    "cancel": message(type="cancel", delegation_id="s1-d9") * 500,
    "wrong": frame(TEXT, b"{") * 5_000,
    "empty": frame(TEXT, b"") * 8_000,
    "audio": frame(BINARY, bytes(1 << 20)),
    "audio_of_one_sample": frame(BINARY, bytes(2)) * 8_000,
    "ping": frame(PING, bytes(125)) * 500,
    "pieces": frame(TEXT, b"", is_last=False) + frame(CONTINUATION, b"", is_last=False) * 8_000,
    "numbers": frame(TEXT, b"[" + b"0," * 500_000 + b"0]"),
}


def open_socket(
    host: str, port: int, *, receive_buffer: int = 0, greets: bool = True
) -> socket.socket:
    """Shake hands and say hello; raises OSError when the server refuses."""
    raw = socket.socket()
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.settimeout(30.0)
    raw.connect((host, port))
    raw.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    if b" 101 " not in raw.recv(1_024):
        raise OSError("the handshake was refused")
    if greets:
        raw.sendall(frame(TEXT, _HELLO.encode()))
    return raw


def flood(host: str, port: int, kind: str) -> None:
    """Send until the connection is cut."""
    with open_socket(host, port) as raw:
        while True:
            raw.sendall(FLOODS[kind])


def main(host: str, port: int, kind: str) -> None:
    while True:
        try:
            flood(host, port, kind)
        except OSError:
            print("thrown out", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
