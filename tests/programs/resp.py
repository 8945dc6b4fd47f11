# SPDX-License-Identifier: MIT
"""As much of a redis client as the test needs: pipelined commands over a unix socket."""
import socket


class Error(Exception):
    """An error reply of the server, or a reply that makes no sense."""


class Client:
    def __init__(self, path, timeout=120):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb", buffering=1 << 20)

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, commands):
        parts = []
        for command in commands:
            parts.append(b"*%d\r\n" % len(command))
            for word in command:
                word = word if isinstance(word, bytes) else str(word).encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))

    def read_bytes(self, count):
        data = self.file.read(count)
        if len(data) != count:
            raise Error("the server closed the connection")
        return data

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Error("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.read_bytes(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise Error(f"no reply starts like this: {line[:60]!r}")

    def call(self, *command):
        self.send([command])
        return self.reply()

    def pipeline(self, commands):
        """The replies to a list of commands, small enough together to fit the socket's buffers on the way back."""
        self.send(commands)
        return [self.reply() for _ in commands]
