# SPDX-License-Identifier: Apache-2.0
"""A Matrix homeserver on loopback: Synapse, from its package, over SQLite."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional
from urllib.request import Request, urlopen

NAME = "pawl.test"


class Synapse:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "homeserver.db"
        self._secret = secrets.token_hex(16)
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    @contextmanager
    def run(self) -> Iterator[Synapse]:
        config = self.folder / "homeserver.yaml"  # JSON is YAML
        config.write_text(json.dumps(self._configuration()))
        command = [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)]
        with open(self.folder / "log", "wb") as log:
            subprocess.run([*command, "--generate-keys"], check=True, stdout=log, stderr=log)
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        try:
            self._wait(process)
            yield self
        finally:
            process.terminate()
            process.wait(30)

    def _configuration(self) -> Dict[str, Any]:
        listener = {
            "port": self._port,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "resources": [{"names": ["client"]}],
        }
        return {
            "server_name": NAME,
            "listeners": [listener],
            "database": {"name": "sqlite3", "args": {"database": str(self.database)}},
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": self._secret,
            "form_secret": self._secret,
            "signing_key_path": str(self.folder / "signing.key"),
            "media_store_path": str(self.folder / "media"),
            "report_stats": False,
            "trusted_key_servers": [],
        }

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urlopen(f"{self.url}/_matrix/client/versions", timeout=5):
                    return
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-4000:]) from None
                time.sleep(0.1)

    def ask(
        self, method: str, path: str, body: Optional[object] = None, token: str = ""
    ) -> Dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else json.dumps(body).encode()
        asked = Request(self.url + path, data, headers, method=method)
        with urlopen(asked, timeout=30) as answer:
            found: Dict[str, Any] = json.load(answer)
            return found

    def register(self, name: str) -> str:
        """A new user's access token."""
        path = "/_synapse/admin/v1/register"
        nonce, password = self.ask("GET", path)["nonce"], secrets.token_hex(16)
        said = "\0".join([nonce, name, password, "notadmin"]).encode()
        body = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": False,
            "mac": hmac.new(self._secret.encode(), said, hashlib.sha1).hexdigest(),
        }
        token: str = self.ask("POST", path, body)["access_token"]
        return token
