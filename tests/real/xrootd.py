"""A throw-away XRootD server; it refuses to be root, so as root it runs as nobody."""

from pathlib import Path

from tests.real.daemon import Daemon, free_port, program, unprivileged

CONFIGURATION = """
xrd.port {port}
xrd.network nodnr
all.adminpath {directory}/admin
all.pidpath {directory}/admin
all.export /store
oss.localroot {data}
{checksum}
xrootd.async off
{web}
"""


class Xrootd(Daemon):
    """One server that exports /store. `with Xrootd() as server:` runs it; `checksum=False`: it counts none; `web`: it speaks HTTP,
    too, on `web_port`."""

    def __init__(self, *, checksum: bool = True, web: bool = False, data: Path | None = None) -> None:
        super().__init__("xrootd", user=unprivileged())
        self.data = data or self.directory / "data"
        self.own(self.directory)
        self.own(self.data)
        self.own(self.data / "store")
        self.own(self.directory / "admin")
        sums = "xrootd.chksum max 4 adler32" if checksum else ""
        self.web_port = free_port() if web else None
        door = f"xrd.protocol XrdHttp:{self.web_port} libXrdHttp.so\nhttp.listingdeny no" if web else ""
        text = CONFIGURATION.format(port=self.port, directory=self.directory, data=self.data, checksum=sums, web=door)
        (self.directory / "x.cfg").write_text(text)

    @property
    def url(self) -> str:
        return f"root://127.0.0.1:{self.port}//store/area"

    def __enter__(self) -> "Xrootd":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> None:
        self.run([program("xrootd", "xrootd-server"), "-c", str(self.directory / "x.cfg"), "-n", "test"])
