"""What goes wrong in the loaded half minute, so that the panels of trouble have something to show; and the
PostgreSQL that stops. Everything is done through `psql`, sockets and signals, and is undone at the end.
"""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

# The sale rows are held for longer than the service's sampling of PostgreSQL takes to come round (5 s). Seconds from then:
HOLD_SECONDS = 6.6
# Sessions that wait die before their lock time-out (2 s), four times: the service runs a transaction five times.
KILLS_AT = (1.0, 2.3, 3.6, 4.9)
# Clients that order and leave. Those of 1.2 then wait for more than 4 s, so those of 5.9 are shed.
CLIENTS_AT = (0.4, 1.2, 5.9)
TERMINATE_WAITING = (
    "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name <> 'patient' LIMIT 4) waiting;"
)
# Waits for the rows all the time and is spared: whenever the service looks, somebody waits. Its own sessions are dead
# or about to try again in a tenth of that time.
WAIT = "SET application_name = 'patient'; BEGIN; SELECT FROM sales FOR UPDATE; ROLLBACK;"


def find_psql():
    installed = sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))
    return shutil.which("psql") or (installed[-1] if installed else "psql")


class Database:
    """The service's database, by its URL."""

    def __init__(self, url):
        self.url = url

    def open(self):
        command = [find_psql(), "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def ask(self, sql, seconds=20):
        process = self.open()
        out, err = process.communicate(sql, timeout=seconds)
        if process.returncode != 0:
            raise SystemExit(f"psql: {err.strip()}")
        return out.strip()

    def server(self):
        """The process id of the server: the parent of a session's process."""
        with self.open() as session:
            session.stdin.write("SELECT pg_backend_pid();\n")
            session.stdin.flush()
            return parent_of(int(session.stdout.readline()))


# ------------------------------------------------------------------------------ in the loaded time


class Trouble(threading.Thread):
    """Holds every sale's row for a while; meanwhile sessions die and clients leave."""

    def __init__(self, database, url, token):
        super().__init__(daemon=True)
        self.database, self.url, self.token = database, url, token
        self.error = None
        self.died = 0

    def run(self):
        try:
            self.make()
        except (SystemExit, OSError, subprocess.SubprocessError) as error:
            self.error = error

    def make(self):
        self.user = self.get("/api/users?limit=1")["items"][0]["id"]
        self.sale = self.get("/api/sales?status=live&limit=1")["items"][0]["id"]
        hold = f"BEGIN; SELECT FROM sales FOR UPDATE; SELECT pg_sleep({HOLD_SECONDS}); ROLLBACK;"
        holder = threading.Thread(target=self.database.ask, args=(hold, HOLD_SECONDS + 20))
        holder.start()
        patient = threading.Thread(target=self.database.ask, args=(WAIT, HOLD_SECONDS + 20))
        patient.start()
        began = time.monotonic()
        steps = [(at, self.end_sessions) for at in KILLS_AT] + [(at, self.send_clients) for at in CLIENTS_AT]
        for at, step in sorted(steps, key=lambda each: each[0]):
            time.sleep(max(0.0, began + at - time.monotonic()))
            step()
        holder.join()
        patient.join()

    def end_sessions(self):
        self.died += int(self.database.ask(TERMINATE_WAITING))

    def send_clients(self):
        """Ten orders whose senders hang up after a tenth of a second."""
        body = json.dumps({"user_id": self.user, "sale_id": self.sale})
        parts = urllib.parse.urlsplit(self.url)
        sockets = []
        for _ in range(10):
            head = [
                "POST /api/orders HTTP/1.1",
                f"Host: {parts.netloc}",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                f"Idempotency-Key: {uuid.uuid4()}",
                *([f"Authorization: Bearer {self.token}"] if self.token else []),
            ]
            client = socket.create_connection((parts.hostname, parts.port), timeout=5)
            client.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
            sockets.append(client)
        time.sleep(0.1)
        for client in sockets:
            client.close()

    def get(self, path):
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


# -------------------------------------------------------------------------- PostgreSQL that stops


def parent_of(pid):
    """Field 4 of /proc/PID/stat; the name in field 2 may hold anything."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def children_of(parent):
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if parent_of(path.name) == parent:
                found.append(int(path.name))
        except (OSError, IndexError):
            continue  # it ended meanwhile
    return found


class Frozen:
    """All processes of the server, stopped while in scope. (One that died would be started again.)"""

    def __init__(self, database):
        self.database = database
        self.stopped = []

    def __enter__(self):
        server = self.database.server()
        self.stop(server)  # first the parent: it makes no more children
        for child in children_of(server):
            self.stop(child)
        return self

    def stop(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.stopped.append(pid)

    def __exit__(self, *_):
        for pid in reversed(self.stopped):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
