"""A TCP relay before the socket of a PostgreSQL server, whose connections can be cut or frozen."""

import contextlib
import socket
import threading
from pathlib import Path

from sqlalchemy import make_url

from tests.patience import PATIENCE_S

_BYTES = 1 << 16


class Relay:
    """Copies bytes between connections to a free port of loopback and the server's socket."""

    def __init__(self, url: str) -> None:
        """`url` is one of `PostgresServer.create_database`, whose host is a folder of a socket."""
        parsed = make_url(url)
        self._server = str(Path(str(parsed.query["host"])) / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        query = {"host": "127.0.0.1", "port": str(port)}
        self.url = parsed.set(query=query).render_as_string(hide_password=False)
        self._flows = threading.Event()
        self._flows.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._refuses = False
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Deliver nothing until `thaw`: to both sides the other one is just slow."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def refuse(self, refuses: bool) -> None:
        """End new connections at once, too, or no longer."""
        self._refuses = refuses
        if refuses:
            self.cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thaw()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if self._refuses:
                    raise ConnectionRefusedError
                server.connect(self._server)
            except OSError:
                client.close()
                server.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(_BYTES):
                self._flows.wait(PATIENCE_S)
                target.sendall(content)
        with self._lock:
            self._open -= {source, target}
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
