"""A real SLURM on this machine, for the tests: a controller and two nodes in a private folder, on ports of their own."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "setpriv")
NODES = ("n1", "n2")
CPUS, MEMORY_MB, GPUS = 2, 8000, 2  # of each node, declared: nobody compares them with what this machine has
GRACE_SECONDS = 40  # between the signal and the end of a preempted job; a checkpoint and a slow start must fit in
SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # where Debian keeps the daemons, which an ordinary user's PATH may leave out

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job is held until its old credential has expired: two minutes if this is left out.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=100000
# Here, and not in SchedulerParameters, SLURM 22.05 looks for it: a preempted job gets the signal that its time limit would bring.
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=15
InactiveLimit=0
ReturnToService=2
SlurmdTimeout=300
# More processors and memory may be declared than the machine has.
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended_jobs.txt
GresTypes=gpu
NodeName=DEFAULT CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} Features=fast State=UNKNOWN
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[1]}
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[2]}
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=1-00:00:00 PriorityTier=10 GraceTime={grace}
PartitionName=high Nodes=n[1-2] Default=NO MaxTime=INFINITE PriorityTier=100
"""

# There is no accounting daemon here. This answers `sacct -X -n -P -o JobID,State` from the record that the controller keeps of ended jobs.
SACCT = """\
#!/usr/bin/env bash
sed -n 's/^JobId=\\([0-9]*\\) .* JobState=\\([A-Z_]*\\) .*/\\1|\\2/p' {folder}/ended_jobs.txt
"""


class ClusterError(RuntimeError):
    """SLURM could not be started here."""


def missing_programs() -> list[str]:
    """Return which of SLURM's programs are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:{SYSTEM_FOLDERS}") is None]


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster, yield it once its nodes are idle, and stop all that was started.

    Raises:
        ClusterError: with the ends of the daemons' logs, if it does not come up.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm."))  # short, because the path of a socket holds 107 characters at most
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """The daemons of a cluster, and the environment in which SLURM's commands find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{folder / 'bin'}:{os.environ['PATH']}:{SYSTEM_FOLDERS}"
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        self.daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Write the configuration and start munge, the controller and the nodes."""
        for name in ("state", "bin", "dev", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        for number in range(GPUS):  # SLURM only looks whether the device is there
            (self.folder / "dev" / f"nvidia{number}").symlink_to("/dev/null")
        (self.folder / "munge.key").write_bytes(random.SystemRandom().randbytes(1024))
        (self.folder / "munge.key").chmod(0o600)
        size = {"cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS, "grace": GRACE_SECONDS}
        names = {"folder": self.folder, "host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
        (self.folder / "slurm.conf").write_text(CONFIG.format(**names, **size, ports=free_ports(3)))
        (self.folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={self.folder}/dev/nvidia[0-{GPUS - 1}]\n")
        (self.folder / "bin" / "sacct").write_text(SACCT.format(folder=self.folder))
        (self.folder / "bin" / "sacct").chmod(0o755)

        key, seed, log = (f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "seed", "log"))
        socket_file, pid = f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munge.pid"
        self._start("munged", "munged", "--foreground", "--force", key, seed, log, socket_file, pid)
        self._await(lambda: (self.folder / "munge.socket").exists(), "munged answers")
        self._start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
        self._await(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), "the nodes are idle")

    def node_states(self) -> dict[str, str]:
        """Return the nodes' states in SLURM's words; nothing while the controller does not answer."""
        answer = self.command("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T", check=False)
        return dict(line.split() for line in answer.splitlines())

    def command(self, *words: str, check: bool = True) -> str:
        """Run one of SLURM's commands and return what it prints."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=check, timeout=60).stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """Return what the controller knows of a job: JobState, Restarts, TimeLimit, ..."""
        answer = self.command("scontrol", "--oneliner", "show", "job", job_id)
        return dict(word.split("=", 1) for word in answer.split() if "=" in word)

    def pull_the_plug(self, node: str, job_id: str) -> None:
        """Lose a node with the one job that runs on it, at once and without a word; then switch it on again."""
        self.daemons.pop(f"slurmd.{node}").kill()
        self._kill(lambda environment, name: f"SLURM_JOB_ID={job_id}" in environment or name.startswith(f"slurmstepd: [{job_id}."))
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")  # SLURM itself would wait for SlurmdTimeout
        self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node)

    def forget_jobs(self) -> None:
        """Let the controller lose its jobs, as it does some minutes after their end; the record of ended jobs stays."""
        self._stop_daemon("slurmctld")
        self._start("slurmctld", "slurmctld", "-D", "-c")
        self._await(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), "the nodes are idle again")

    def stop(self) -> None:
        """End the jobs, then the daemons, then whatever a job left behind; nothing that was not started here."""
        controller = self.daemons.get("slurmctld")
        if controller is not None and controller.poll() is None:
            for job_id in self.command("squeue", "--noheader", "--format=%A", check=False).split():
                self.command("scancel", job_id, check=False)
            with contextlib.suppress(ClusterError):
                self._await(lambda: not self.command("squeue", "--noheader", check=False), "the jobs have ended")
        for name in reversed(list(self.daemons)):
            self._stop_daemon(name)
        self._kill(lambda environment, name: True)

    def _start(self, name: str, *command: str) -> None:
        """Start a daemon that ends with this process, however that ends, and that the terminal's Ctrl-C does not reach."""
        with (self.folder / f"{name}.out").open("ab") as out:
            words = ["setpriv", "--pdeathsig", "TERM", *command]
            self.daemons[name] = subprocess.Popen(words, env=self.environment, stdout=out, stderr=out, start_new_session=True)

    def _stop_daemon(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _await(self, condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            ended = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "\n".join(
                    f"{log.name}: {log.read_text(errors='replace')[-600:]}" for log in sorted(self.folder.glob("*.[lo][ou][gt]"))
                )
                raise ClusterError(f"waited for: {what}; {', '.join(ended) or 'nothing'} has ended\n{logs}")
            time.sleep(0.1)

    def _kill(self, chosen: Callable[[list[str], str], bool]) -> None:
        """Kill the chosen ones, by environment and name, of the processes that carry this cluster's SLURM_CONF, a path of its own."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
                environment, name = ((folder / file).read_bytes().decode(errors="replace") for file in ("environ", "cmdline"))
                ours = f"SLURM_CONF={self.environment['SLURM_CONF']}" in environment.split("\0") and int(folder.name) != os.getpid()
                if ours and chosen(environment.split("\0"), name):
                    os.kill(int(folder.name), signal.SIGKILL)


def free_ports(number: int) -> list[int]:
    """Return free ports below those that the system hands out, and below those that jobs choose."""
    taken: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        while len(taken) < number:
            candidate = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind(("127.0.0.1", random.SystemRandom().randrange(10_000, 20_000)))
                taken.append(candidate)
        return [candidate.getsockname()[1] for candidate in taken]
