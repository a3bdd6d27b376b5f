"""What is done to a ledger, and what must be true of it afterwards.

Each scene gives figures for its one line. A scene whose name begins with `planted` breaks the ledger
on purpose, and fails unless the inspector notices.
"""

import os
import random
import shutil
import signal
import subprocess
import time

import disks
from victim import Broken, Campaign

# A new network after so many rounds: its transfers expire, and its journal grows.
ROUNDS_PER_NETWORK = 20
# As many as `endure found` makes accounts.
WRITERS = 16
# Below how many free bytes the ledger of a full disk only reads.
SPACE_LOW = 12 << 20


def campaigns(scene, rounds):
    """(number of the first round, rounds) of each network."""
    for first in range(0, rounds, ROUNDS_PER_NETWORK):
        folder = "%s/%d" % (scene.folder, first)
        os.makedirs(folder)
        yield folder, range(first, min(rounds, first + ROUNDS_PER_NETWORK))
        shutil.rmtree(folder)


class Scene:
    """Where a scene happens: its program, its own folder, its own chance, how often."""

    def __init__(self, program, folder, seed, rounds):
        self.program, self.folder, self.rounds = program, folder, rounds
        self.chance = random.Random(seed)


class Sums(dict):
    """What the inspections of all rounds came to."""

    def add(self, found, before):
        """A round's inspection; `before` is the one of the round before, in the same folder."""
        for name in ("acknowledged", "signatures"):
            self[name] = self.get(name, 0) + found[name] - before.get(name, 0)
        for name in ("recomputed", "receipts"):
            self[name] = self.get(name, 0) + found[name]
        self["pruned"] = self.get("pruned", 0) + (found["oldest"] > 1)
        if found["acknowledged"] <= before.get("acknowledged", 0):
            raise Broken("nothing was acknowledged in this round: the check checks nothing")

    def require(self, *names):
        for name in names:
            if not self.get(name):
                raise Broken("no %s in any round: the check checks too little" % name)


def kill(scene):
    """kill -9 under writers, at any moment: right after the start too."""
    sums = Sums()
    for folder, rounds in campaigns(scene, scene.rounds):
        campaign, before = Campaign(scene.program, folder + "/book", folder + "/node"), {}
        for _ in rounds:
            victim = campaign.start()
            victim.wait_for("a", count=victim.told("a") + 1)
            time.sleep(scene.chance.uniform(0, 1.2))
            victim.kill()
            found = campaign.inspect()
            sums.add(found, before)
            before = found
    sums.require("recomputed", "signatures", "receipts")
    if scene.rounds >= 5:
        sums.require("pruned")
    return sums


def power_cut(scene):
    """Power cuts under writers. Every second writer is left to notice by itself: a failed sync must
    end it, whatever the next one would say."""
    sums, ended = Sums(), 0
    for folder, rounds in campaigns(scene, scene.rounds):
        with disks.power_cut(folder) as disk:
            campaign = Campaign(scene.program, folder + "/book", disk.path + "/node")
            before = {}
            for number in rounds:
                victim = campaign.start()
                victim.wait_for("m")
                time.sleep(scene.chance.uniform(0, 1.2))
                disk.cut()
                if number % 2:
                    ends_by_itself(victim, signal.SIGABRT)
                    ended += 1
                else:
                    victim.kill()
                disk.unmount()
                disk.mount()
                found = campaign.inspect()
                sums.add(found, before)
                before = found
            disk.unmount()
    sums.require("recomputed", "signatures", "receipts")
    return {"ended by EIO": ended, **sums}


def ends_by_itself(victim, how):
    code = victim.end()
    if code != -how:
        raise Broken("a failed sync ended the writer with %d\n%s" % (code, victim.errors()[-2000:]))
    if "cannot go on" not in victim.errors():
        raise Broken("the writer ended without saying why\n" + victim.errors()[-2000:])


def birth(scene):
    """Power cuts while a network is being founded: whatever is left, the next start goes on."""
    acknowledged = 0
    for number in range(scene.rounds):
        folder = "%s/%d" % (scene.folder, number)
        os.makedirs(folder)
        with disks.power_cut(folder) as disk:
            campaign = Campaign(scene.program, folder + "/book", disk.path + "/node")
            victim = campaign.start(is_awaited=False)
            time.sleep(scene.chance.uniform(0, 0.15))
            disk.cut()
            victim.kill()
            disk.unmount()
            disk.mount()
            campaign.inspect()
            victim = campaign.start()
            victim.wait_for("a", count=20)
            victim.stop()
            acknowledged += campaign.inspect()["acknowledged"]
            disk.unmount()
        shutil.rmtree(folder)
    return {"acknowledged": acknowledged}


def failed_sync(scene):
    """One sync fails with EIO and all later ones succeed, as after a lost page: the process ends, and
    goes on from the log. strace makes the kernel's answer."""
    campaign = Campaign(scene.program, scene.folder + "/book", scene.folder + "/node")
    before, sums = {}, Sums()
    for _ in range(scene.rounds):
        which = scene.chance.randrange(40, 400)
        victim = campaign.start(before=failing_syncs("fdatasync,fsync", "%d" % which))
        ends_by_itself(victim, signal.SIGABRT)
        found = campaign.inspect()
        sums.add(found, before)
        before = found
    return sums


def failing_syncs(calls, which):
    """What is put before a command so that these of its syncs fail with EIO: `7` is the seventh alone, `7+` all from
    it on."""
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + calls)
    return (*strace, "-e", "inject=%s:error=EIO:when=%s" % (calls, which))


def full_disk(scene):
    """Another program takes every byte: the ledger sees it when it next looks, or runs into it before.
    In both cases nothing is acknowledged, it says so, and it goes on by itself once there is room."""

    def filled(disk):
        disks.fill(disk + "/filler")
        return [disk + "/filler"]

    return fills(scene, filled, size=64 << 20)


def no_inodes(scene):
    """Bytes enough, but no inode: the same must be true."""
    return fills(scene, disks.fill_inodes, size=64 << 20, inodes=200)


def fills(scene, fill, **size):
    """Fills the disk under a writer, who must stop answering, say so, and go on when it is freed."""
    sums, ways = Sums(), {"the disk is nearly full": 0, "the disk is full": 0}
    with disks.in_memory(scene.folder + "/disk", **size) as disk:
        options = ("--space-low-bytes", str(SPACE_LOW))
        campaign = Campaign(scene.program, scene.folder + "/book", disk + "/node", options)
        victim = campaign.start()
        for number in range(scene.rounds):
            victim.wait_for("m", count=number + 1)
            time.sleep(scene.chance.uniform(0, 1))
            taken = fill(disk)
            victim.wait_for("full", count=number + 1)
            answered = victim.told("a")
            # Long enough for two of the ledger's own looks at the disk.
            time.sleep(2.2)
            # What each writer had under way when the disk was full may have been told a little later.
            if victim.told("a") > answered + WRITERS:
                raise Broken("it went on answering on a full disk")
            victim.wait_for("r")
            for path in taken:
                os.remove(path)
            victim.wait_for("room", count=number + 1)
            victim.wait_for("a", count=victim.told("a") + 100)
        said = victim.errors()
        refused = victim.lines_of("r")[0].split(" ", 3)[3]
        victim.kill()
        found = campaign.inspect()
        sums.add(found, {})
    for way in ways:
        ways[way] = said.count(way)
    if sum(ways.values()) < scene.rounds or min(found["fulls"], found["rooms"]) < scene.rounds:
        raise Broken("%d times full, but said is %s\n%s" % (scene.rounds, ways, said[-2000:]))
    return {**sums, "said": ways, "refused with": repr(refused)}


def damage(scene):
    """Bits flip, sectors vanish, files are cut: what comes back is right, or it is refused by name."""
    campaign = Campaign(scene.program, scene.folder + "/book", scene.folder + "/node")
    campaign.start("--transfers", "100").end_when_idle(WRITERS * 100)
    whole = campaign.inspect()
    # The inspector's own start has moved what the log held into the store: let a writer go on.
    campaign.start("--transfers", "30").end_when_idle(WRITERS * 30)
    counts = {"harmless": 0, "named": 0}
    hurt = scene.folder + "/hurt"
    for number in range(scene.rounds):
        shutil.copytree(campaign.folder, hurt)
        what = harm(scene.chance, hurt)
        code, said = campaign.inspection(hurt)
        if code == 0:
            counts["harmless"] += 1
        elif code == 2 and any(word in said for word in ("damaged",)):
            counts["named"] += 1
        else:
            raise Broken("%s (round %d): %d %s" % (what, number, code, said[:2000]))
        shutil.rmtree(hurt)
    if scene.rounds >= 20 and not (counts["named"] and counts["harmless"]):
        raise Broken("%s of %d: this damage shows nothing" % (counts, scene.rounds))
    return {"acknowledged": whole["acknowledged"], **counts}


def harm(chance, folder):
    """Does one thing to one file of the ledger; says what."""
    ledger = folder + "/ledger"
    names = [name for name in sorted(os.listdir(ledger)) if name not in ("lock", "reserve")]
    name = chance.choice(names)
    path = "%s/%s" % (ledger, name)
    size = os.path.getsize(path)
    at = chance.randrange(size)
    with open(path, "r+b") as file:
        how = chance.choice(("flip", "flip", "sector", "cut"))
        if how == "flip":
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
        elif how == "sector":
            at -= at % 512
            file.seek(at)
            file.write(bytes(min(512, size - at)))
        else:
            file.truncate(at)
    return "%s of %s at %d of %d" % (how, name, at, size)


def planted(scene, expected, disk_of, break_it, *options):
    """Breaks the ledger until the inspector notices; says in which round."""
    for number in range(scene.rounds):
        folder = "%s/%d" % (scene.folder, number)
        os.makedirs(folder)
        with disk_of(folder) as disk:
            campaign = Campaign(scene.program, folder + "/book", disk.path + "/node")
            break_it(scene, campaign, disk, options)
            code, said = campaign.inspection()
        found = [line for line in said.splitlines() if line.startswith("violation " + expected)]
        if code == 1 and found:
            return {"caught in round": number + 1, "by": "%d x %s" % (len(found), expected)}
    raise Broken("nobody noticed in %d rounds; last: %d %s" % (scene.rounds, code, said[:500]))


def planted_no_sync(scene):
    """Without fsync a power cut loses what was acknowledged before it."""

    def broken(scene, campaign, disk, options):
        campaign.start().stop()
        victim = campaign.start(*options)
        victim.wait_for("a", count=200)
        # What is told after the cut does not count: here nobody notices it.
        os.kill(victim.process.pid, signal.SIGSTOP)
        disk.cut()
        victim.kill()
        disk.unmount()
        disk.mount()

    return planted(scene, "lost", disks.power_cut, broken, "--without-sync")


def planted_unheeded_sync(scene):
    """Who does not mind that a sync failed goes on answering, and a power cut shows that nothing was on the disk."""

    def broken(scene, campaign, disk, options):
        campaign.start().stop()
        # So few that neither a checkpoint nor the log's mark comes between, which would make it damage instead.
        victim = campaign.start(*options, before=failing_syncs("fdatasync", "12+"))
        # A writer without the bug ends here by itself; `failed_sync` asks for that.
        victim.wait_for("a", count=300)
        os.kill(victim.process.pid, signal.SIGSTOP)
        disk.cut()
        victim.kill()
        disk.unmount()
        disk.mount()

    return planted(scene, "lost", disks.power_cut, broken, "--unheeded-sync")


def planted_early_answer(scene):
    """Whoever is answered before the commit loses by kill -9."""

    def broken(scene, campaign, disk, options):
        victim = campaign.start(*options)
        victim.wait_for("a", count=200)
        victim.kill()

    return planted(scene, "lost", Folder, broken, "--tells-early")


def planted_old_copy(scene):
    """A node that goes on from an old copy of its folder signs again what it signed before."""

    def broken(scene, campaign, disk, options):
        victim = campaign.start()
        victim.wait_for("a", count=200)
        victim.kill()
        shutil.copytree(campaign.folder, campaign.folder + ".old")
        for old in (False, True):
            if old:
                shutil.rmtree(campaign.folder)
                os.rename(campaign.folder + ".old", campaign.folder)
            victim = campaign.start()
            victim.wait_for("s", count=20)
            victim.kill()

    return planted(scene, "signed", Folder, broken)


class Folder:
    """A folder on the disk that is there."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def builds_agree(scene, other):
    """Both builds make the same chain, and each replays what the other made."""
    said = set()
    for maker, reader in ((scene.program, other), (other, scene.program)):
        chain = scene.folder + "/chain"
        for command in (
            [maker, "chain", "make", chain, str(scene.rounds)],
            [reader, "chain", "replay", chain],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Broken("%s: %s" % (" ".join(command), done.stderr.strip()))
            said.add(done.stdout.strip())
    if len(said) != 1:
        raise Broken("the builds disagree:\n%s" % "\n".join(sorted(said)))
    return {"both": said.pop()}


ALL = {
    "kill": (kill, 5),
    "power_cut": (power_cut, 2),
    "birth": (birth, 2),
    "failed_sync": (failed_sync, 2),
    "full_disk": (full_disk, 2),
    "no_inodes": (no_inodes, 2),
    "damage": (damage, 40),
    "planted_no_sync": (planted_no_sync, 3),
    "planted_unheeded_sync": (planted_unheeded_sync, 5),
    "planted_early_answer": (planted_early_answer, 3),
    "planted_old_copy": (planted_old_copy, 3),
}
