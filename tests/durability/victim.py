"""A real process that writes to a real ledger, and the journal of everything it ever told.

The journal lies with the book, on a disk that the faults do not reach. A line counts only when it
came whole.
"""

import json
import os
import subprocess
import threading
import time

PATIENCE = 60


class Broken(Exception):
    """A promise is broken, or the check itself did not check anything."""


class Campaign:
    """One network: its book, its ledger's folder, and all that was told about it."""

    def __init__(self, program, book, folder, options=("--retention-ms", "400")):
        self.program, self.book, self.folder = program, book, folder
        self.options = list(options)
        self.journal = book + "/journal"
        subprocess.run([program, "found", book], check=True)
        open(self.journal, "w").close()

    def start(self, *options, before=(), is_awaited=True):
        """A writer, once it is ready. `before` is put in front of its command line."""
        command = [*before, self.program, "write", self.book, self.folder]
        victim = Victim(self, command + self.options + list(options))
        if is_awaited:
            victim.wait_for("ready")
        return victim

    def inspect(self, folder=None):
        """What the inspector says; `Broken` where a promise is, and where nothing can be opened."""
        code, said = self.inspection(folder)
        if code:
            raise Broken(said)
        return json.loads(said.splitlines()[0])

    def inspection(self, folder=None):
        done = subprocess.run(
            [self.program, "inspect", self.book, folder or self.folder, self.journal, *self.options],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, (done.stdout if done.returncode in (0, 1) else done.stderr).strip()


class Victim:
    """A running writer."""

    def __init__(self, campaign, command):
        self.log = open(campaign.book + "/log", "ab+")
        self.log_from = self.log.tell()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )
        self.campaign = campaign
        self.lines, self.changed = [], threading.Condition()
        self.is_over = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with open(self.campaign.journal, "ab") as journal:
            rest = b""
            while data := os.read(self.process.stdout.fileno(), 1 << 16):
                whole, newline, rest = (rest + data).rpartition(b"\n")
                journal.write(whole + newline)
                journal.flush()
                with self.changed:
                    self.lines += whole.decode().splitlines()
                    self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def told(self, word):
        """How many lines began with this word so far."""
        with self.changed:
            return sum(line.split(" ", 1)[0] == word for line in self.lines)

    def lines_of(self, word):
        with self.changed:
            return [line for line in self.lines if line.split(" ", 1)[0] == word]

    def wait_for(self, word, count=1, patience=PATIENCE):
        """Waits until so many lines begin with this word; gives the last of them."""
        deadline = time.monotonic() + patience
        with self.changed:
            while True:
                found = [line for line in self.lines if line.split(" ", 1)[0] == word]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if self.is_over or left <= 0:
                    why = "it ended" if self.is_over else "%d s passed" % patience
                    raise Broken(
                        "waiting for %d times `%s`, after %d: %s\n%s"
                        % (count, word, len(found), why, self.errors()[-2000:])
                    )
                self.changed.wait(left)

    def errors(self):
        """What it wrote to standard error."""
        self.log.seek(self.log_from)
        return self.log.read().decode(errors="replace")

    def end_when_idle(self, answers):
        """Kills it when it has answered so often, and the log has vouched for its last frame."""
        self.wait_for("a", count=answers)
        # The ledger does that when it next looks at the disk, once a second.
        time.sleep(1.3)
        self.kill()

    def kill(self):
        self.process.kill()
        self.end()

    def stop(self):
        """Ends it cleanly."""
        self.process.stdin.close()
        code = self.end()
        if code:
            raise Broken("a clean stop ended with %d\n%s" % (code, self.errors()[-2000:]))

    def end(self, patience=PATIENCE):
        """Waits until it has ended and everything it told is in the journal."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Broken("the writer did not end within %d s" % patience) from None
        self.reader.join()
        for file in (self.process.stdin, self.process.stdout):
            try:
                file.close()
            except OSError:
                pass
        return code
