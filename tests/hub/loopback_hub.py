"""A Hub on the loopback interface: what a client of huggingface_hub needs to create, fill, tag and read repositories.

It keeps everything in memory. `Faults` makes it misbehave as a real one may.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


TOKENS = {"hf_writer": ("ada", "write"), "hf_reader": ("ada", "read"), "hf_other": ("bob", "write")}
LARGE = 20_000  # bytes; larger files go through the large-file protocol


@dataclass
class Faults:
    """
    Args:
        uploads_left: Large files that are taken before every further connection is cut; None for all.
    """

    uploads_left: int | None = None


@dataclass
class Repository:
    """Commits `(id, files)`, and what names point at; files are bytes by path."""

    owner: str
    private: bool = False
    gated: str | bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits.append((digest, files))
        self.names[branch] = digest
        return digest

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commit = self.names.get(revision, revision)
        return next(((name, files) for name, files in self.commits if name == commit), None)


class LoopbackHub:
    """
    Start with `with LoopbackHub() as hub:`; its address is `hub.url`.

    Attributes:
        repositories: By id.
        received: Bytes of large files by their sha256.
        uploads: sha256 of every large file that was sent, in order, again and again if it was sent again.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.received: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.faults = Faults()
        self.lock = threading.Lock()

    def __enter__(self) -> "LoopbackHub":
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    # Answers

    def send(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fail(self, status: int, message: str, code: str = "") -> None:
        self.send(status, {"error": message}, {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})})

    # Who asks

    def user(self) -> tuple[str, str] | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return TOKENS.get(token)

    def may_write(self, repo_id: str) -> bool:
        user = self.user()
        if user is None:
            self.fail(401, "Invalid credentials in Authorization header")
            return False
        if user[1] != "write" or repo_id.split("/")[0] != user[0]:
            self.fail(403, f"You don't have the rights to write to {repo_id}")
            return False
        return True

    def readable(self, repo_id: str) -> Repository | None:
        repository = self.hub.repositories.get(repo_id)
        user = self.user()
        if repository is None or (repository.private and (user is None or user[0] != repository.owner)):
            self.fail(404 if user else 401, "Repository not found", "RepoNotFound")
            return None
        if repository.gated and (user is None or user[0] != repository.owner):
            self.fail(403 if user else 401, "Access to this model is restricted", "GatedRepo")
            return None
        return repository

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    # Requests

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/api/whoami-v2":
            user = self.user()
            if user is None:
                return self.fail(401, "Invalid credentials in Authorization header")
            access = {"displayName": "test", "role": user[1]}
            return self.send(200, {"name": user[0], "type": "user", "orgs": [], "auth": {"accessToken": access}})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/refs", path):
            return self.refs(match[1])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(/.*)?", path):
            return self.tree(match[1], match[2])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self.info(match[1], match[2] or "main")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(match[1], match[2], match[3])
        return self.fail(404, "Not found")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        data = self.body()
        if path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(data))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            return self.preupload(match[1], json.loads(data))
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self.batch(match[1], json.loads(data))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            return self.commit(match[1], match[2], data)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|tag)/([^/]+)", path):
            return self.name(match[1], match[2], match[3], json.loads(data or b"{}"))
        return self.fail(404, "Not found")

    def do_PUT(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/settings", path):
            values = json.loads(self.body())
            if self.may_write(match[1]):
                repository = self.hub.repositories[match[1]]
                repository.gated = values.get("gated", repository.gated)
                self.send(200)
            return None
        if match := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            return self.take_large(match[1])
        return self.fail(404, "Not found")

    # What they do

    def create(self, values: dict) -> None:
        name, owner = values["name"], values.get("organization")
        user = self.user()
        owner = owner or (user[0] if user else "")
        repo_id = f"{owner}/{name}"
        if not self.may_write(repo_id):
            return
        if repo_id in self.hub.repositories:
            message = "You already created this model repo"
            body = {"error": message, "url": f"{self.hub.url}/{repo_id}"}
            return self.send(409, body, {"X-Error-Message": message})
        private = values.get("visibility") == "private" or bool(values.get("private"))
        repository = Repository(owner, private)
        repository.commit("main", {".gitattributes": b""})
        self.hub.repositories[repo_id] = repository
        self.send(200, {"url": f"{self.hub.url}/{repo_id}"})

    def preupload(self, repo_id: str, values: dict) -> None:
        if not self.may_write(repo_id):
            return
        if repo_id not in self.hub.repositories:
            return self.fail(404, "Repository not found", "RepoNotFound")
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                "shouldIgnore": False,
            }
            for file in values["files"]
        ]
        self.send(200, {"files": files})

    def batch(self, repo_id: str, values: dict) -> None:
        if not self.may_write(repo_id):
            return
        objects = []
        for item in values["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.received:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}", "header": {}}}
            objects.append(entry)
        self.send(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def take_large(self, oid: str) -> None:
        with self.hub.lock:
            faults = self.hub.faults
            # Counted as they begin: several come at once.
            if faults.uploads_left == 0:
                # The line goes dead: no answer, as when a laptop is closed.
                self.close_connection = True
                self.connection.close()
                return
            if faults.uploads_left is not None:
                faults.uploads_left -= 1
        data = self.body()
        if hashlib.sha256(data).hexdigest() != oid:
            return self.fail(400, "wrong hash")
        with self.hub.lock:
            self.hub.uploads.append(oid)
            self.hub.received[oid] = data
        self.send(200)

    def commit(self, repo_id: str, branch: str, data: bytes) -> None:
        if not self.may_write(repo_id):
            return
        repository = self.hub.repositories[repo_id]
        base = repository.files(branch)
        if base is None:
            return self.fail(404, "Revision not found", "RevisionNotFound")
        files = dict(base[1])
        for line in data.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.received[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        oid = repository.commit(branch, files)
        url = f"{self.hub.url}/{repo_id}/commit/{oid}"
        self.send(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def name(self, repo_id: str, kind: str, name: str, values: dict) -> None:
        if not self.may_write(repo_id):
            return
        repository = self.hub.repositories[repo_id]
        # A tag is posted to the revision that it names; a branch under its own name.
        new, start = (values["tag"], name) if kind == "tag" else (name, values.get("startingPoint") or "main")
        if new in repository.names:
            return self.fail(409, f"Reference {new} exists already")
        found = repository.files(start)
        if found is None:
            return self.fail(404, "Revision not found", "RevisionNotFound")
        repository.names[new] = found[0]
        self.send(200)

    def refs(self, repo_id: str) -> None:
        repository = self.readable(repo_id)
        if repository is not None:
            refs = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                for name, commit in repository.names.items()
            ]
            self.send(200, {"branches": refs, "converts": [], "tags": []})

    def _at(self, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.readable(repo_id)
        if repository is None:
            return None
        found = repository.files(revision)
        if found is None:
            self.fail(404, f"Revision {revision} not found", "RevisionNotFound")
        return found

    def info(self, repo_id: str, revision: str) -> None:
        found = self._at(repo_id, revision)
        if found is not None:
            siblings = [{"rfilename": path} for path in found[1]]
            self.send(200, {"_id": "1", "id": repo_id, "modelId": repo_id, "sha": found[0], "siblings": siblings})

    def tree(self, repo_id: str, revision: str) -> None:
        found = self._at(repo_id, revision)
        if found is not None:
            rows = [
                {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for path, data in found[1].items()
            ]
            recursive = "recursive" in parse_qs(urlsplit(self.path).query)
            self.send(200, [row for row in rows if recursive or "/" not in row["path"]])

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        found = self._at(repo_id, revision)
        if found is None:
            return
        commit, files = found
        if path not in files:
            return self.fail(404, "Entry not found", "EntryNotFound")
        data = files[path]
        tags = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        status = 206 if start else 200
        if start:
            tags["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send(status, data[start:], {**tags, "Content-Length": str(len(data) - start)})
