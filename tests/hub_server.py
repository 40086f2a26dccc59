"""A loopback server with one data set, for what the `datasets` client asks of the Hugging Face hub."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


def serve(repository: str, commit: str, files: dict[str, bytes]) -> ThreadingHTTPServer:
    """Serve the files of a data set as its newest commit; the caller shuts the server down."""
    api, resolve = f"/api/datasets/{repository}", f"/datasets/{repository}/resolve/"

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": commit, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            name = path.removeprefix(resolve).partition("/")[2]
            if path == api or path.startswith(f"{api}/revision/"):
                siblings = [{"rfilename": name} for name in files]
                about = {"id": repository, "sha": commit, "private": False, "tags": [], "siblings": siblings}
                self.reply(json.dumps(about).encode())
            elif path.startswith(f"{api}/tree/"):
                folder = path.removeprefix(f"{api}/tree/").partition("/")[2]
                entries = [
                    {"type": "file", "path": name, "oid": "0" * 40, "size": len(content)}
                    for name, content in files.items()
                    if name.startswith(folder)
                ]
                self.reply(json.dumps(entries).encode())
            elif path.startswith(resolve) and name in files:
                self.reply(files[name], ETag=f'"{hashlib.sha1(files[name]).hexdigest()}"')
            else:
                self.reply(b"{}", 404, **{"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
