"""Other people's proxies, each with its access log on and everything else as shipped, as far as a
forward proxy on loopback allows. A peer speaks some of `connect`, `socks5`, `http` and `relay`."""

import os
import subprocess
from pathlib import Path

from .process import Child, find, free_port, run, say


class Peer:
    """A proxy under test: started in a folder of its own, asked for its port and process id."""

    name = ""
    program = ""
    package = None
    speaks = ("connect", "http")
    floor = False
    # How its version is asked for.
    version_words = ("--version",)
    # Whom to trust where it is reached over TLS.
    authority = None

    def __init__(self, world):
        self.world = world
        self.credentials = None
        self.child = None
        self.port = None

    def start(self):
        self.folder = self.world.new_folder(self.name)
        self.port = free_port()
        command = self.command()
        self.child = Child(command, self.folder / "output.log", core=self.world.proxy_core)
        self.child.wait_for_port(self.port)
        return self

    def stop(self):
        if self.child:
            self.child.stop()
            self.child = None

    @property
    def pid(self):
        return self.child.pid

    @classmethod
    def version(cls):
        printed = subprocess.run(
            [find(cls.program), *cls.version_words], capture_output=True, text=True, check=False
        )
        lines = (printed.stdout + printed.stderr).strip().splitlines()
        return lines[0].strip() if lines else "unknown"

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path


class Squid(Peer):
    name, program, package = "squid", "squid", "squid"

    def command(self):
        config = self.write(
            "squid.conf",
            f"""http_port 127.0.0.1:{self.port}
http_access allow all
access_log stdio:{self.folder}/access.log
cache_log {self.folder}/cache.log
pid_filename {self.folder}/squid.pid
coredump_dir {self.folder}
cache deny all
pinger_enable off
max_filedescriptors 20000
shutdown_lifetime 1 seconds
""",
        )
        return [find("squid"), "-N", "-f", config]


class Tinyproxy(Peer):
    name, program, package = "tinyproxy", "tinyproxy", "tinyproxy"
    version_words = ("-v",)

    def command(self):
        config = self.write(
            "tinyproxy.conf",
            f"""Port {self.port}
Listen 127.0.0.1
Allow 127.0.0.1
Timeout 600
MaxClients 10000
LogFile "{self.folder}/access.log"
LogLevel Connect
""",
        )
        return [find("tinyproxy"), "-d", "-c", config]


class Dante(Peer):
    name, program, package = "dante", "danted", "dante-server"
    speaks = ("socks5",)
    version_words = ("-v",)

    def command(self):
        config = self.write(
            "danted.conf",
            f"""logoutput: {self.folder}/access.log
internal: 127.0.0.1 port = {self.port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 log: connect disconnect }}
""",
        )
        return [find("danted"), "-f", config, "-p", self.folder / "danted.pid"]


class Smokescreen(Peer):
    """Not in Debian; used where it is on the PATH. It logs to its standard output."""

    name, program = "smokescreen", "smokescreen"

    def command(self):
        return [find("smokescreen"), "--listen-ip", "127.0.0.1", "--listen-port", self.port] + [
            "--allow-range",
            "127.0.0.0/8",
        ]


class G3proxy(Peer):
    """Not in Debian; used where it is on the PATH. One port for HTTP, one for SOCKS5."""

    name, program = "g3proxy", "g3proxy"
    kind, who, users = "http_proxy", "", ""

    def command(self):
        config = self.write(
            "g3proxy.yaml",
            f"""runtime: {{ thread_number: 1 }}
worker: {{ thread_number: 1 }}
log: stdout
resolver: [ {{ name: default, type: c-ares }} ]
escaper: [ {{ name: default, type: direct_fixed, resolver: default,
              egress_network_filter: {{ default: allow, allow: "127.0.0.0/8" }} }} ]
server: [ {{ name: bench, type: {self.kind}, escaper: default, {self.who}
            listen: {{ address: "127.0.0.1:{self.port}" }} }} ]
{self.users}""",
        )
        return [find("g3proxy"), "-c", config, "-G", f"bench{self.port}"]


class G3proxySocks(G3proxy):
    """Asks for a user's name as ours does (RFC 1929): that is a question and an answer more."""

    name, kind, speaks = "g3proxy-socks", "socks_proxy", ("socks5",)
    who = "user_group: bench,"
    users = "user_group: [ { name: bench, static_users: [ { name: user, token: ~ } ] } ]\n"

    def start(self):
        super().start()
        self.credentials = "user:password"
        return self


class Haproxy(Peer):
    """Not a forward proxy: a relay to one fixed target, with its log on."""

    name, program, package = "haproxy", "haproxy", "haproxy"
    speaks = ("relay",)
    version_words = ("-v",)

    def command(self):
        config = self.write(
            "haproxy.cfg",
            f"""global
  nbthread 1
  maxconn 9500
  log stdout format raw local0
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 10s
  timeout client 600s
  timeout server 600s
listen relay
  bind 127.0.0.1:{self.port}
  server origin 127.0.0.1:{self.world.origin_port}
""",
        )
        return [find("haproxy"), "-db", "-f", config]


class Relay(Peer):
    """The floor: the load generator's bare relay."""

    name, speaks, floor = "relay", ("relay",), True
    words = ()

    def command(self):
        return [self.world.loader, "relay", "--listen", f"127.0.0.1:{self.port}"] + [
            "--target",
            f"127.0.0.1:{self.world.origin_port}",
            *self.words,
        ]

    @classmethod
    def version(cls):
        return "benches/egress-load"


class SpliceRelay(Relay):
    name, words = "relay-splice", ("--splice",)


class ConnectRelay(Relay):
    """The floor under CONNECT: the bare relay, with the one question before it."""

    name, speaks, floor, words = "relay-connect", ("connect",), False, ("--connect",)


class SocksRelay(Relay):
    """The floor under SOCKS5: the bare relay, with the protocol's three questions before it."""

    name, speaks, floor, words = "relay-socks5", ("socks5",), False, ("--socks5",)

    def start(self):
        super().start()
        self.credentials = "user:password"
        return self


class TlsRelay(Relay):
    """The floor where the proxy is reached over TLS: rustls on one side, plain on the other, a copy between."""

    name, speaks = "relay-tls", ("tls",)

    def start(self):
        self.authority, self.key = _self_signed(self.world.new_folder("certificate"))
        self.words = ("--tls-cert", self.authority, "--tls-key", self.key)
        return super().start()


class Direct(Peer):
    """No proxy at all."""

    name, speaks, floor = "direct", ("direct",), True

    def start(self):
        self.port = self.world.origin_port
        return self

    @property
    def pid(self):
        return None

    @classmethod
    def version(cls):
        return "no proxy"


class Ours(Peer):
    """Bailiwick, with its evidence log on."""

    name, speaks = "ours", ("connect", "socks5", "http")
    site = None

    def make(self):
        from .site import ANY_RATE, Site  # the only peer that is a whole site

        self.site = Site(self.world.bailiwick, self.world.new_folder(self.name))
        self.site.allow_rate(ANY_RATE)
        return self.site

    def start(self):
        site = self.site or self.make()
        site.serve(core=self.world.proxy_core)
        self.credentials = self.site.start_run(self.site.admit("bench.load"))
        self.port = self.site.port
        return self

    def stop(self):
        if self.site:
            self.site.stop()
            self.site = None

    @property
    def pid(self):
        return self.site.pid


class OursTls(Ours):
    """Bailiwick, reached over TLS."""

    name, speaks = "ours-tls", ("tls",)

    def start(self):
        site = self.make()
        port, self.authority = site.listen_with_tls()
        super().start()
        self.port = port
        return self


class OursH2(Ours):
    """Bailiwick, asked over HTTP/2 in the clear."""

    name, speaks = "ours-h2", ("h2",)


def _self_signed(folder):
    """A certificate for localhost and its key, as files."""
    config = folder / "openssl.cnf"
    config.write_text(
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = use\n[name]\nCN = localhost\n"
        "[use]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n"
    )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run([*command, "-days", "2", "-config", config, "-keyout", key, "-out", certificate])
    return certificate, key


FLOORS = [Direct, Relay, SpliceRelay, ConnectRelay, SocksRelay, TlsRelay]
OTHERS = [Haproxy, Squid, Tinyproxy, Dante, Smokescreen, G3proxy, G3proxySocks]
ALL = [*FLOORS, *OTHERS, Ours, OursTls, OursH2]


def available(wanted):
    """The peers among `wanted` that can run here, installed from Debian where they lack; says what
    is missing."""
    chosen = [peer for peer in ALL if not wanted or peer.name in wanted]
    packages = sorted({p.package for p in chosen if p.package and not find(p.program)})
    if packages:
        _install(packages)
    missing = [p.name for p in chosen if p.program and not find(p.program)]
    for name in missing:
        say(f"MISSING {name}: not installed here, and left out of the table")
    return [p for p in chosen if p.name not in missing], missing


def _install(packages):
    say(f"installing {' '.join(packages)}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    # Debian starts what it installs; policy-rc.d is how a machine says no to that.
    policy = Path("/usr/sbin/policy-rc.d")
    environment = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    try:
        run([*environment, "apt-get", "-qq", "update"], timeout=600)
        run([*environment, "apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages])
    except Exception as error:  # whatever it is, the peers are then missing, and that is said
        say(f"apt-get could not install them: {error}")
