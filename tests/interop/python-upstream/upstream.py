"""An API of one's own in plain Python: takes and sends a large body, and sends events one by one.

An event is sent once the one before was seen, which its reader says with a request of its own.

Never here: anything of a gate, or a key.
"""

import http.server
import queue

PIECE = 1 << 20
PIECES = 1024

seen = queue.Queue()


def piece(number):
    """The MiB with this number."""
    return number.to_bytes(8, "big") * (PIECE // 8)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/v1/events/"):
            self.events(int(self.path.rsplit("/", 1)[1]))
        else:
            self.head("application/octet-stream")
            for number in range(PIECES):
                self.chunk(piece(number))
            self.chunk(b"")

    def do_POST(self):
        if self.path.startswith("/v1/seen/"):
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.put(int(self.path.rsplit("/", 1)[1]))
            self.whole(b"{}")
        else:
            self.whole(str(self.upload()).encode())

    def upload(self):
        """Reads a body in chunks; gives how many bytes of it are right."""
        assert self.headers["Transfer-Encoding"] == "chunked"
        at, wanted = 0, b""
        while size := int(self.rfile.readline(), 16):
            data = self.rfile.read(size)
            self.rfile.readline()
            while data:
                if not wanted:
                    wanted = piece(at // PIECE)
                here = min(len(data), len(wanted))
                if data[:here] != wanted[:here]:
                    return at
                data, wanted, at = data[here:], wanted[here:], at + here
        self.rfile.readline()
        return at

    def events(self, count):
        self.head("text/event-stream")
        for number in range(count):
            self.chunk(f"data: {number}\n\n".encode())
            assert seen.get(timeout=60) == number
        self.chunk(b"")

    def head(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def whole(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
