"""A throw-away nginx that speaks WebDAV."""

from pathlib import Path

from tests.real.daemon import Daemon, program, unprivileged

CONFIGURATION = """
load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {directory}/access.log;
    client_max_body_size 0;
    client_body_temp_path {data}/.incoming;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    sendfile on;
    server {{
        listen 127.0.0.1:{port};
        root {data};
        location / {{
            dav_methods PUT DELETE MKCOL COPY MOVE;
            dav_ext_methods PROPFIND OPTIONS;
            dav_access user:rw group:r all:r;
        }}
    }}
}}
"""


class Webdav(Daemon):
    """One server whose files lie in `data`. `with Webdav() as server:` runs it."""

    def __init__(self, *, data: Path | None = None) -> None:
        super().__init__("webdav")
        self.data = data or self.directory / "data"
        (self.data / "area").mkdir(parents=True, exist_ok=True)
        user = "user root;" if unprivileged() == "nobody" else ""
        text = CONFIGURATION.format(port=self.port, directory=self.directory, data=self.data, user=user)
        (self.directory / "nginx.conf").write_text(text)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/area"

    def __enter__(self) -> "Webdav":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> None:
        self.run(
            [
                program("nginx", "nginx-light"),
                "-c",
                str(self.directory / "nginx.conf"),
                "-e",
                str(self.directory / "early.log"),
            ]
        )
