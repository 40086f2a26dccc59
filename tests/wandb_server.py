"""A W&B server small enough to read: it keeps what a client uploads, in memory, on loopback."""

import base64
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
    notes: str | None = None
    project: str | None = None
    entity: str | None = None
    inputs: list[str] = field(default_factory=list)
    """Ids of the artifacts that it used."""


@dataclass
class Server:
    url: str
    runs: dict[str, StoredRun] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The inputs of createArtifact, by digest, which serves as the id."""
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Workspaces and reports, by id."""
    refuses: bool = False
    """Answer everything with HTTP 500."""
    rows_until_it_refuses: int | None = None
    """Answer so once it has this many rows of some run."""

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer one operation; the client asks for more fields than it needs."""
        name = query.split("(")[0].split("{")[0].split()[-1]
        self.operations.append(name)
        entity = {"id": "e", "name": variables.get("entity") or "someone"}
        project = {"id": "p", "name": variables.get("project") or "project", "entity": entity}
        match name:
            case "UpsertView2" | "upsertView":
                return {"upsertView": {"view": self._save_view(variables), "inserted": not variables.get("id")}}
            case "View":
                found = [view for view in self.views.values() if view["name"] == variables["viewName"]]
                return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}
            case "SpecificReport":
                return {"view": self.views.get(variables["reportId"])}
            case "GetProjects":
                own = {"id": "p", "name": "lit_transformer", "entityName": variables["entity"], "user": None}
                edge = {"node": {**own, "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False}}
                return {"models": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": [edge]}}
            case "ProjectInternalId":
                return {"project": {"id": "p", "internalId": "cDox"}}
            case "Viewer" | "GetDefaultEntity":
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
                inputs = variables["input"]
                self.artifacts[inputs["digest"]] = inputs
                return {"createArtifact": {"artifact": self._artifact(inputs["digest"])}}
            case "ArtifactByID":
                return {"artifact": self._artifact(variables["id"])}
            case "UseArtifact":
                self.runs[variables["input"]["runName"]].inputs.append(variables["input"]["artifactID"])
                return {"useArtifact": {"artifact": {"id": variables["input"]["artifactID"]}}}
        return {}

    def _save_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Keep a workspace or a report, under the id that a request updates, else a new one."""
        number = variables.get("id") or base64.b64encode(f"View:{len(self.views) + 1000}".encode()).decode()
        place = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        kept = {name: variables[name] for name in ("name", "displayName", "description", "type", "spec")}
        times = {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}
        self.views[number] = {"id": number, **kept, "project": place, **times}
        return self.views[number]

    def _artifact(self, digest: str) -> dict[str, Any]:
        """Answer as if the artifact, version 0 of its collection, were here whole, so that nothing is uploaded."""
        inputs = self.artifacts[digest]
        project = {
            "id": "p",
            "internalId": "cDox",
            "name": inputs["projectName"],
            "entity": {"id": "e", "name": "someone"},
        }
        named = {"__typename": "ArtifactSequence", "id": "s", "name": inputs["artifactCollectionName"]}
        kind = {"name": inputs["artifactTypeName"]}
        return {
            "__typename": "Artifact",
            "id": digest,
            "state": "COMMITTED",
            "digest": digest,
            "artifactSequence": {**named, "project": project, "type": kind, "latestArtifact": None},
            "artifactType": kind,
            "versionIndex": 0,
            "description": inputs["description"],
            "metadata": inputs["metadata"],
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": 0,
            "size": 0,
            "commitHash": "c",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }

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
        run.notes = variables.get("notes") or run.notes
        run.project = variables.get("project") or run.project
        run.entity = variables.get("entity") or run.entity
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
