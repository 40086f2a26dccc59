"""A W&B server small enough to read: it keeps what a client uploads, in memory, on loopback."""

import gzip
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking import wandb as tracking


@dataclass
class StoredRun:
    """What a run's page would show."""

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    group: str | None = None
    display_name: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Server:
    url: str
    runs: dict[str, StoredRun] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    refuses: bool = False
    """Answer everything with HTTP 500."""
    rows_until_it_refuses: int | None = None
    """Answer so once it has this many rows of some run."""

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer one operation; the client asks for more fields than it needs."""
        name = query.split("(")[0].split("{")[0].split()[-1]
        self.operations.append(name)
        project = {"id": "p", "name": "project", "entity": {"id": "e", "name": "someone"}}
        match name:
            case "Viewer":
                return {
                    "viewer": {
                        "id": "v",
                        "username": "someone",
                        "entity": "someone",
                        "flags": "{}",
                        "teams": {"edges": []},
                    }
                }
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "RunResumeStatus" | "RunStatus":
                return {"model": {**project, "bucket": self._resume(variables["name"])}}
            case "UpsertBucket":
                return {"upsertBucket": {"inserted": False, "bucket": self._upsert(variables, project)}}
            case "ArtifactType":
                return {"project": None}
            case "CreateRunFiles":
                files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":
                artifact = {"id": "a", "state": "COMMITTED", "digest": variables.get("digest", "")}
                return {
                    "createArtifact": {
                        "artifact": {**artifact, "artifactSequence": {"id": "s", "latestArtifact": None}}
                    }
                }
        return {}

    def _resume(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        return {
            "id": name,
            "name": name,
            "displayName": run.display_name,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps(run.config),
            "tags": run.tags,
            "wandbConfig": json.dumps({"t": 1}),
        }

    def _upsert(self, variables: dict[str, Any], project: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], StoredRun())
        if variables.get("config"):
            run.config = json.loads(variables["config"])
        run.group = variables.get("groupName") or run.group
        run.display_name = variables.get("displayName") or run.display_name
        run.tags = variables.get("tags") or run.tags
        place = {"id": variables["name"], "name": variables["name"], "displayName": run.display_name}
        return {**place, "sweepName": None, "project": project, "historyLineCount": len(run.history)}

    def stream(self, name: str, files: dict[str, Any]) -> None:
        """Store rows of history at their offsets, and the last summary."""
        run = self.runs.setdefault(name, StoredRun())
        history = files.get("wandb-history.jsonl")
        if history:
            del run.history[history["offset"] :]
            run.history += [json.loads(row) for row in history["content"]]
            if self.rows_until_it_refuses is not None and len(run.history) >= self.rows_until_it_refuses:
                self.refuses = True
        for content in files.get("wandb-summary.json", {}).get("content", []):
            run.summary = json.loads(content)


@contextmanager
def wandb_server(runs: dict[str, StoredRun] | None = None) -> Iterator[Server]:
    """Serve on a free port of loopback for as long as the block runs; `runs` are those of a server before."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if server.refuses:
                self.reply({}, 500)
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer: dict[str, Any] = {}
            if self.path == "/graphql":
                request = json.loads(body)
                answer = {"data": server.graphql(request["query"], request.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                server.stream(self.path.split("/")[-2], json.loads(body).get("files") or {})
            self.reply(answer)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply({}, 500 if server.refuses else 200)

        do_GET = do_PUT

        def reply(self, answer: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Http(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing when a client that is done drops its connection."""

    http = Http(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}", {} if runs is None else runs)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Begin logged out, whoever runs the tests, and leave no run open."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")  # second, instead of 15; whole ones only
    yield
    tracking.finish()
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
