"""Stand-in for Azure's resource manager and Entra, over TLS: the few answers a model's download needs, and 501 for all else.

It holds no bytes of models: those lie in Azurite, whose secrets it hands out as Azure ML does.
"""

from __future__ import annotations

import datetime
import json
import re
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.azure.certs import Certificates

MANAGEMENT, ENTRA, REGISTRIES = "management.azure.com", "login.microsoftonline.com", "eastus.api.azureml.ms"
TENANT, CLIENT = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
SUBSCRIPTION = "33333333-3333-3333-3333-333333333333"
WORKSPACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/team/providers/Microsoft.MachineLearningServices/workspaces/lab"
SECRET = "not-a-secret"
SIGNING_KEY = "not a secret either, only long enough"
STORES = {"by_sas": "AccountKey", "by_key": "AccountKey", "by_identity": "None", "for_owners": "AccountKey", "by_old_sas": "AccountKey"}
"""Kind of credentials by datastore. All keep the same container; they differ in what their secrets are, and who may read them."""


class Cloud(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificates: Certificates, account: str, key: str, container: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.account, self.key, self.container = account, key, container
        self.models: dict[tuple[str, str], str] = {}
        """Address of the bytes by name and version."""
        self.token_seconds = 3600
        """How long tokens live that are given out from now on."""
        self.unknown: list[str] = []
        """Every request it has no answer for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def token(self, scope: str) -> str:
        now = int(time.time())
        claims = {"aud": scope.removesuffix("/.default"), "iss": f"https://sts.windows.net/{TENANT}/", "tid": TENANT, "appid": CLIENT}
        times = {"iat": now - 7200, "nbf": now - 7200, "exp": now + self.token_seconds}
        return jwt.encode({**claims, **times}, SIGNING_KEY, algorithm="HS256")

    def secrets(self, store: str) -> dict[str, str]:
        if store == "by_key":
            return {"secretsType": "AccountKey", "key": self.key}
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=-1 if store == "by_old_sas" else 1)
        readable = ContainerSasPermissions(read=True, list=True)
        token = generate_container_sas(self.account, self.container, account_key=self.key, permission=readable, expiry=until)
        return {"secretsType": "Sas", "sasToken": token}


class _Answers(BaseHTTPRequestHandler):
    server: Cloud
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self._answer(dict(urllib.parse.parse_qsl(body)))

    def log_message(self, *_: object) -> None: ...

    def _answer(self, form: dict[str, str]) -> None:
        path, _, query = self.path.partition("?")
        host = self.headers["Host"].partition(":")[0]
        if host == ENTRA:
            answer = self._entra(f"{self.command} {urllib.parse.unquote(path)}", form)
        elif host == MANAGEMENT and "api-version=" in query:
            answer = self._resource(self.command, urllib.parse.unquote(path))
        elif host == REGISTRIES:
            answer = _error(404, "RegistryNotFound", "There is no registry in this lab.")
        else:
            answer = None
        if answer is None:
            self.server.unknown.append(f"{self.command} {host}{self.path}")
            answer = _error(501, "NotInTheLab", self.path)
        self._send(*answer)

    def _entra(self, asked: str, form: dict[str, str]) -> tuple[int, dict] | None:
        tenant = f"https://{ENTRA}/{TENANT}"
        if asked == "GET /common/discovery/instance":
            names = {"preferred_network": ENTRA, "preferred_cache": ENTRA, "aliases": [ENTRA]}
            return 200, {"tenant_discovery_endpoint": f"{tenant}/v2.0/.well-known/openid-configuration", "metadata": [names]}
        if asked == f"GET /{TENANT}/v2.0/.well-known/openid-configuration":
            ends = {"token_endpoint": "oauth2/v2.0/token", "authorization_endpoint": "oauth2/v2.0/authorize", "issuer": "v2.0"}
            return 200, {name: f"{tenant}/{end}" for name, end in ends.items()}
        if asked != f"POST /{TENANT}/oauth2/v2.0/token" or form.get("grant_type") != "client_credentials":
            return None
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
        return 200, {"token_type": "Bearer", "expires_in": 3600, "access_token": self.server.token(form["scope"])}

    def _resource(self, method: str, path: str) -> tuple[int, dict] | None:
        try:
            jwt.decode(
                self.headers.get("Authorization", "").removeprefix("Bearer "), SIGNING_KEY, ["HS256"], audience=f"https://{MANAGEMENT}"
            )
        except jwt.InvalidTokenError as exc:
            return _error(401, "InvalidAuthenticationToken", f"The access token is invalid: {exc}.")
        within, _, rest = path.partition(WORKSPACE)
        if within or not rest:
            return _error(404, "ResourceNotFound", f"The Resource '{path.partition('/models/')[0]}' was not found.")
        if found := re.fullmatch(r"GET /models/([^/]+)/versions/([^/]+)", f"{method} {rest}"):
            return self._model(*found.groups())
        if found := re.fullmatch(r"/datastores/([^/]+)(/listSecrets)?", rest):
            return self._datastore(*found.groups()) if (method == "POST") == bool(found[2]) else None
        return None

    def _model(self, name: str, version: str) -> tuple[int, dict]:
        address = self.server.models.get((name, version))
        if address is None:
            return _error(404, "UserError", f"Model container with name: {name} and version {version} not found.")
        about = {"modelUri": address, "modelType": "custom_model", "flavors": {}, "isArchived": False, "isAnonymous": False}
        return _resource(f"models/{name}/versions/{version}", version, about)

    def _datastore(self, name: str, wants_secrets: str | None) -> tuple[int, dict]:
        if name not in STORES:
            return _error(404, "UserError", f"No datastore named {name}.")
        if wants_secrets and name == "for_owners":
            return _error(403, "AuthorizationFailed", "The client may not do datastores/listSecrets/action.")
        if wants_secrets:
            return 200, self.server.secrets(name)
        place = {"accountName": self.server.account, "containerName": self.server.container, "endpoint": "core.windows.net"}
        kind = {"datastoreType": "AzureBlob", "protocol": "https", "credentials": {"credentialsType": STORES[name]}}
        return _resource(f"datastores/{name}", name, {**kind, **place})

    def _send(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", f'Bearer authorization_uri="https://{ENTRA}/{TENANT}", error="invalid_token"')
        self.end_headers()
        self.wfile.write(body)


def _resource(place: str, name: str, properties: dict) -> tuple[int, dict]:
    return 200, {"id": f"{WORKSPACE}/{place}", "name": name, "properties": {"tags": {}, "properties": {}, **properties}, "systemData": {}}


def _error(status: int, code: str, message: str) -> tuple[int, dict]:
    return status, {"error": {"code": code, "message": message}}
