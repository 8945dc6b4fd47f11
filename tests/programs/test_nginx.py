#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""nginx: a daemon with two workers that serve files, plain, compressed and through a proxy, every byte compared.

Workers keep little; tables for very many connections and large buffers make it worth managing. They run as root, and once
more as the user that Debian has them become, who may open the device in a mount namespace of this test's own.
"""
import contextlib
import gzip
import http.client
import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time

import programs

FILES, CLIENTS, REQUESTS = 60, 4, 400
LEAST_HUGE_MIB = 40

USER = "www-data"

# In a mount namespace: another /dev/userfaultfd, which the group of USER may open. $0: a directory to mount things on.
DEVICE_OF_ITS_OWN = """
mount -t tmpfs none "$0" && mknod -m 660 "$0/device" c "0x$(stat -c %t /dev/userfaultfd)" "0x$(stat -c %T /dev/userfaultfd)" &&
chgrp "$1" "$0/device" && mount --bind "$0/device" /dev/userfaultfd && umount "$0" && shift && exec "$@"
"""

SETTINGS = """
user {user};
daemon on;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 4096;
events {{ worker_connections 120000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 37;
  gzip on; gzip_min_length 100; gzip_types *; gzip_buffers 256 64k; gzip_proxied any;
  output_buffers 4 2m;
  proxy_buffers 16 1m; proxy_buffer_size 1m; proxy_busy_buffers_size 4m;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/files;
    sendfile off;
    location /sendfile/ {{ alias {folder}/files/; sendfile on; }}
    location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/; }}
  }}
}}
"""


def content(number):
    """Up to 160 KB that compresses somewhat."""
    source = random.Random(number)
    words = [b"%x" % source.getrandbits(24) for _ in range(200)]
    return b" ".join(source.choice(words) for _ in range(source.randint(10, 24_000)))


class Server:
    def __init__(self, folder, managed, options=(), user="root", prefix=()):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = os.path.join(folder, "nginx.conf")
        with open(settings, "w", encoding="ascii") as f:
            f.write(SETTINGS.format(folder=folder, port=self.port, user=user))
        # The shell stays until the daemon has gone, so that it is watched and reported to its end. It has come when its file has:
        # who has started it goes before.
        script = ('nginx -c "$1" -p "$2" && { i=0; until [ -e "$2/pid" ] || [ $i -gt 600 ]; do sleep 0.1; i=$((i+1)); done; '
                  'while [ -e "$2/pid" ]; do sleep 0.1; done; }')
        self.run = programs.Run(["sh", "-c", script, "sh", settings, folder], managed, env=programs.GLIBC_HUGE,
                                options=options, collapse=True, prefix=prefix)

    def workers(self):
        """{process id: user id}"""
        found = {}
        with open(f"/proc/{self.pid()}/task/{self.pid()}/children", encoding="ascii") as f:
            for pid in f.read().split():
                with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                    found[int(pid)] = os.stat(f"/proc/{pid}").st_uid
        return found

    def reload(self):
        """New workers in the place of the old ones, which end: until then they take connections and close them soon."""
        old, end = self.workers().keys(), time.monotonic() + 120
        os.kill(self.pid(), signal.SIGHUP)
        while old & self.workers().keys() and time.monotonic() < end:
            time.sleep(0.05)

    def pid(self):
        with open(os.path.join(self.folder, "pid"), encoding="ascii") as f:
            return int(f.read())

    def wait_until_up(self):
        end = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                self.pid()  # it listens before it writes that
                return
            except (OSError, ValueError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def watch_daemon(self):
        """The daemon is nobody's child: let it be watched in the shell's place."""
        self.run.watch.pid = self.run.collapser.pid = self.pid()

    def stop(self):
        try:
            os.kill(self.pid(), signal.SIGQUIT)
        except (OSError, ValueError):
            self.run.process.terminate()
        return self.run.wait(120)


def client(port, number, contents, wrong):
    source = random.Random(number)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for request in range(REQUESTS):
        which = source.randrange(FILES)
        place = source.choice(["/", "/sendfile/", "/proxy/"])
        packed = source.random() < 0.5
        expected = contents[which]
        headers = {"Accept-Encoding": "gzip"} if packed else {}
        start = source.randrange(len(expected)) if not packed and source.random() < 0.3 else None
        if start is not None:
            headers["Range"] = f"bytes={start}-"
            expected = expected[start:]
        connection.request("GET", f"{place}{which}.txt", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if answer.status != (200 if start is None else 206) or body != expected:
            wrong.append(f"client {number} request {request}: {place}{which}.txt, status {answer.status}")
            return


def clients(port, contents):
    wrong, start = [], time.monotonic()

    def guarded(number):
        try:
            client(port, number, contents, wrong)
        except (OSError, http.client.HTTPException, EOFError) as error:
            wrong.append(f"client {number}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start, wrong


def run_nginx(tap, name, contents, managed, options=(), user="root", prefix=()):
    """The run, how long clients took, and the user id of each worker by its process id."""
    with tempfile.TemporaryDirectory(prefix="hn-nginx-") as folder:
        os.chmod(folder, 0o755)
        os.mkdir(os.path.join(folder, "files"))
        for number, data in enumerate(contents):
            with open(os.path.join(folder, "files", f"{number}.txt"), "wb") as f:
                f.write(data)
        server = Server(folder, managed, options, user, prefix)
        seconds, workers = 1.0, {}
        try:
            server.wait_until_up()
            server.watch_daemon()
            seconds, wrong = clients(server.port, contents)
            workers = server.workers()  # they have become who they are to be
            tap.equal(f"{name}: every byte as it is in the files", wrong, [])
            server.reload()
            more, wrong = clients(server.port, contents)
            workers |= server.workers()
            seconds += more
            tap.equal(f"{name}: the same after a reload", wrong, [])
        except OSError as error:
            tap.check(f"{name}: the server answers", False, f"{type(error).__name__}: {error}")
        finally:
            run = server.stop()
        with open(os.path.join(folder, "error.log"), encoding="ascii", errors="replace") as f:
            alerts = [line for line in f if "signal" in line or "[emerg]" in line or "[alert]" in line]
        tap.equal(f"{name}: exit status, nothing in the log", (run.status, alerts), (0, []))
        return run, seconds, workers


def as_other_user(tap, contents):
    """As installed: the workers become somebody else before they have anything. They make themselves dumpable again after that."""
    try:
        uid = pwd.getpwnam(USER).pw_uid
    except KeyError:
        return tap.skip(f"nginx, {USER}", "there is no such user")
    with tempfile.TemporaryDirectory(prefix="hn-device-") as place:
        prefix = ["unshare", "--mount", "sh", "-c", DEVICE_OF_ITS_OWN, place, USER]
        if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            return tap.skip(f"nginx, {USER}", "no mount namespace with a device of its own here")
        run, _, workers = run_nginx(tap, f"nginx, {USER}", contents, True, dict(programs.POLICIES)["always"], USER, prefix)
        tap.equal(f"nginx, {USER}: whose workers these are", {*workers.values()}, {uid})
        programs.check_managed(tap, f"nginx, {USER}", run, LEAST_HUGE_MIB)
        moved = [p["pid"] for p in run.report["processes"] if p["pid"] in workers and p["migrated_pages"] > 0] if run.report else []
        tap.check(f"nginx, {USER}: two of these workers or more had pages migrated", len(moved) >= 2, f"{moved} of {workers}")


def main():
    programs.need_full()
    programs.need_program("nginx")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    contents = [content(number) for number in range(FILES)]
    bare, bare_seconds, _ = run_nginx(tap, "nginx, bare", contents, False)
    tap.check("nginx: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB), bare.huge_bytes >> 20)
    for policy, options in programs.POLICIES:
        name = f"nginx, {policy}"
        run, seconds, _ = run_nginx(tap, name, contents, True, options)
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        workers = [p for p in run.report["processes"] if p["migrated_pages"] > 0] if run.report else []
        tap.check(f"{name}: two workers or more had pages migrated", len(workers) >= 2, len(workers))
        tap.record("nginx", programs.debian_version("nginx"), "files, ranges, gzip and proxy, bytes compared", policy, run,
                   seconds / bare_seconds)
    as_other_user(tap, contents)
    tap.finish()


if __name__ == "__main__":
    main()
