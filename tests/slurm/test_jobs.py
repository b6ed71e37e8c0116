"""Real jobs on a real SLURM: interrupted in every way that a cluster knows, they end with the bits of a run that was left alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launch_slurm import ENDED, LaunchError, Settings, Training, cancel, check_cluster, check_trainings, job_states, log_of, submit
from tests.training.toy import metrics

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

TINY = ("+experiment=demo_exp", "+mode=tiny")
STEPS = 150
LONG = (*TINY, f"trainer.max_train_steps={STEPS}", "trainer.eval_every_n_steps=1000", "trainer.checkpointing_steps=100")
ENDLESS = (*TINY, "trainer.max_train_steps=100000", "trainer.eval_every_n_steps=100000", "trainer.checkpointing_steps=5")
SHORT = (*TINY, "trainer.max_train_steps=20", "trainer.eval_every_n_steps=1000")
WHOLE_NODE = Settings(time="20", cpus_per_task=2)
# SLURM looks every 30 seconds whose time limit is near, and tells this job about a minute after its start. A training that began at once
# could have ended by then on a fast machine; the second try begins at once.
AT_THE_LIMIT = Settings(time="2", signal_seconds=60, init=("test -e outputs/limit/status.json || sleep 52",), nodelist="n1")
INTERRUPT_ONCE = "test -e outputs/two_nodes/status.json || test $SLURM_NODEID = 1 || scancel --signal=USR1 $SLURM_JOB_ID"


def run_cli(program: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(program), *words], capture_output=True, text=True, check=False)


def handed_over(words: dict[str, tuple[str, ...]], settings: dict[str, Settings]) -> dict[str, str]:
    """Submit trainings in this order; return exp -> job id."""
    trainings = check_trainings([[*own, f"exp={exp}"] for exp, own in words.items()])
    return {exp: submit([training], settings[exp])[0] for exp, training in zip(words, trainings, strict=True)}


@pytest.fixture(scope="module")
def jobs(cluster, repository):
    """Hand over at once whatever ends by itself, so that hardly a test waits for itself alone; SLURM runs four processes at a time."""
    alone = [sys.executable, str(repository / "launch_slurm.py"), "--nodelist", "n1", "--time", "20", "--tail", *LONG, "exp=alone"]
    with subprocess.Popen(alone, stdout=subprocess.PIPE, text=True) as tail:
        try:
            twice = (*SHORT, "trainer.gradient_accumulation_steps=2")
            words = {"limit": LONG, "preempted": LONG, "two_nodes": SHORT, "one_process": twice}
            two_nodes = Settings(time="20", nodes=2, init=(INTERRUPT_ONCE,))
            settings = {"limit": AT_THE_LIMIT, "preempted": replace(WHOLE_NODE, nodelist="n2"), "two_nodes": two_nodes}
            yield handed_over(words, settings | {"one_process": Settings(time="20")}) | {"tail": tail}
        finally:
            tail.kill()


@pytest.fixture(scope="module")
def sweep(jobs, repository) -> list[str]:
    """Hand over a sweep, the third member of which fails; return the ids of its jobs."""
    words = (
        "--slurm",
        "--time",
        "20",
        "--array-parallelism",
        "2",
        "--env",
        "TOLD=hush",
        *TINY,
        "exp=sweep",
        "trainer.learning_rate=1e-3,2e-3,1e30,3e-3,4e-3",
    )
    done = run_cli(repository / "multirun.py", *words)
    assert done.returncode == 0, done.stderr
    return list(json.loads(Path("outputs/sweep/sweep.json").read_text())["job_ids"].values())


@pytest.fixture(scope="module")
def endless(jobs) -> dict[str, str]:
    settings = {
        "cancelled": Settings(time="20", cpus_per_task=2, processes_per_node=2),
        "lost_node": replace(WHOLE_NODE, exclude="n1", max_tries=2),
    }
    return handed_over({"cancelled": ENDLESS, "lost_node": ENDLESS}, settings)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.3)


def fate_of(job_id: str) -> str:
    """Wait until a job has ended, and return how."""
    wait_for(lambda: job_states([job_id])[job_id] in ENDED, f"the end of job {job_id}")
    return job_states([job_id])[job_id]


def steps_of(exp: str) -> int:
    path = Path("outputs", exp, "metrics.jsonl")
    return path.read_text().count("\n") if path.exists() else 0


def status_of(exp: str) -> str:
    return json.loads(Path("outputs", exp, "status.json").read_text())["status"]


def log(exp: str, job_id: str) -> str:
    return log_of(Path("outputs", exp), job_id).read_text()


def assert_bits_of_the_run_left_alone(folder: Path) -> None:
    other = Path("outputs/alone")
    wait_for(lambda: (other / "status.json").exists() and status_of("alone") == "finished", "the run that was left alone")
    assert metrics(folder) == metrics(other)
    files = [path.relative_to(folder) for path in (folder / "pipeline").rglob("*.safetensors")]
    files += [path.relative_to(folder) for path in (folder / "state" / f"step_{STEPS:08d}").glob("*.safetensors")]
    assert len(files) >= 6
    for file in files:
        assert (folder / file).read_bytes() == (other / file).read_bytes(), file


def test_a_preempted_job_ends_with_the_bits_of_one_left_alone(jobs, cluster):  # the first test: the job must not have ended
    wait_for(lambda: steps_of("preempted") >= 3, "the first steps")
    cluster.command("sbatch", "--partition=high", "--nodelist=n2", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1")
    assert fate_of(jobs["preempted"]) == "COMPLETED"
    assert cluster.job(jobs["preempted"])["Restarts"] == "1"
    said = log("preempted", jobs["preempted"])
    assert "SIGUSR2: the training is asked" in said
    assert re.search(r"stopped by SIGUSR2 after step \d+;.* Requeued", said)
    assert_bits_of_the_run_left_alone(Path("outputs/preempted"))


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"partition": "gpu"}, "--partition gpu: there are "),
        ({"nodes": 3}, "--nodes 3: partition main has 2; ask for at most so many"),
        ({"gpus_per_node": 3}, "--gpus-per-node 3: partition main has at most 2 on each of 1 node"),
        ({"cpus_per_task": 3, "nodes": 2}, "--cpus-per-task 3: partition main has at most 2 on each of 2 node"),
        ({"mem": "8G"}, "--mem 8G: partition main has at most 8000M"),
        ({"time": "1-00:01"}, "--time 1-00:01: partition main allows 1-00:00:00"),
        ({"constraint": "slow"}, "Invalid feature specification; look at --constraint slow"),
        ({"nodelist": "n7"}, "Invalid node name specified; look at --nodelist n7"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused(cluster, asked, said):
    with pytest.raises(LaunchError, match=re.escape(said)):
        check_cluster(Settings(**asked))


def test_what_the_cluster_has_is_not_refused(sweep):
    check_cluster(Settings())
    check_cluster(Settings(nodes=2, gpus_per_node=2, cpus_per_task=2, mem="8000M", time="1-00:00:00", constraint="fast"))
    check_cluster(Settings(partition="high", time="9-0"))


def test_refusals_end_the_command_before_anything_is_submitted(jobs, repository, cluster):
    Path("outputs/file").parent.mkdir(exist_ok=True)
    Path("outputs/file").write_text("not a folder")
    for words, said in (
        (("--partition", "gpu"), "--partition gpu: there are "),
        (("trainer.learning_rat=1",), "did you mean trainer.learning_rate?"),
        (("exp=file",), "outputs/file: cannot be written"),
    ):
        done = run_cli(repository / "launch_slurm.py", *TINY, *words)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    Path("outputs/no_room").mkdir()
    Path("outputs/no_room/slurm").write_text("not a folder")
    with pytest.raises(LaunchError, match="the job could not be submitted: .*outputs/no_room/slurm"):
        submit([Training(overrides=(), folder=Path("outputs/no_room"))], Settings())
    assert not {"tiny", "file", "no_room"} & set(cluster.command("squeue", "--states=all", "--noheader", "--format=%j").split())


def test_what_ends_the_submission_cancels_the_held_array(jobs, cluster):
    trainings = [Training(overrides=(), folder=Path(f"outputs/stopped/{name}")) for name in "ab"]
    seen: list[str] = []

    def stop(job_ids: list[str]) -> None:
        seen.extend(job_ids)
        assert set(job_states(job_ids).values()) == {"PENDING"}
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with pytest.raises(SystemExit, match="143"):
        submit(trainings, Settings(time="20"), on_submitted=stop)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert [fate_of(job_id) for job_id in seen] == ["CANCELLED", "CANCELLED"]


def test_a_sweep_that_is_refused_leaves_no_manifest(jobs, repository):
    Path("outputs/refused").mkdir(parents=True)
    Path("outputs/refused/slurm").write_text("not a folder")
    words = ("--slurm", "--env", "A=hush", *TINY, "exp=refused", "seed=1,2")
    for _ in range(2):  # so the same command may come again without --resume
        done = run_cli(repository / "multirun.py", *words)
        assert done.returncode == 2 and "the job could not be submitted" in done.stderr, done.stderr
    assert not Path("outputs/refused/sweep.json").exists()


def test_more_members_than_an_array_may_have_are_refused(cluster):
    with pytest.raises(LaunchError, match="1002 members: SLURM's arrays have at most 1001"):
        check_cluster(Settings(), 1002)


def test_a_dry_run_shows_the_job_and_submits_nothing(cluster, repository):
    words = ("--dry-run", "--nodes", "2", "--gpus-per-node", "2", *TINY, "exp=dry", "tags=[a,b]")
    done = run_cli(repository / "launch_slurm.py", *words)
    assert done.returncode == 0, done.stderr
    for line in ("#SBATCH --nodes=2", "#SBATCH --gpus-per-node=2", "#SBATCH --requeue", "#SBATCH --signal=USR2@120"):
        assert line in done.stdout
    assert re.search(r"--num_machines 2 --machine_rank 0 --num_processes 4 .* exp=dry 'tags=\[a,b\]'", done.stdout)
    assert not Path("outputs/dry").exists()


def test_tail_shows_the_log_and_ends_with_the_job(jobs):
    said, _ = jobs["tail"].communicate(timeout=240)
    assert jobs["tail"].returncode == 0, said
    assert re.search(r"job \d+: outputs/alone; log: outputs/alone/slurm/\d+/\d+_0_log.out\n", said)
    assert f"{STEPS}/{STEPS}" in said
    assert re.search(r"job \d+: COMPLETED", said)


def test_a_run_folder_of_another_config_is_refused(jobs):
    wait_for(lambda: Path("outputs/alone/config.json").exists(), "the run")
    with pytest.raises(LaunchError, match=r"outputs/alone: holds a run with another config[^$]*seed: 0 -> 1"):
        check_trainings([[*LONG, "exp=alone", "seed=1"]])


def test_ctrl_c_ends_the_following_and_not_the_job(endless, repository):
    wait_for(lambda: steps_of("cancelled") >= 3, "the first steps")
    code = (  # whoever runs the tests in the background has Ctrl-C ignored
        "import signal, sys; from pathlib import Path; from launch_slurm import follow;"
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(follow(sys.argv[1], Path(sys.argv[2])))"
    )
    words = [endless["cancelled"], str(log_of(Path("outputs/cancelled"), endless["cancelled"]))]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, env=environment) as following:
        assert following.stdout is not None
        assert "Starting with JobEnvironment" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        said, _ = following.communicate(timeout=20)
    assert following.returncode == 130
    assert f"job {endless['cancelled']} goes on" in said
    assert job_states([endless["cancelled"]]) == {endless["cancelled"]: "RUNNING"}


def test_a_cancelled_job_writes_a_checkpoint_and_does_not_rise_again(endless, cluster):
    cancel([endless["cancelled"]])
    wait_for(lambda: status_of("cancelled") == "requeue", "the checkpoint")
    wait_for(lambda: cluster.job(endless["cancelled"])["JobState"] == "CANCELLED", "the end")
    assert cluster.job(endless["cancelled"])["Restarts"] == "0"
    assert f"step_{steps_of('cancelled'):08d}" in [path.name for path in Path("outputs/cancelled/state").iterdir()]


def test_a_lost_node_costs_the_steps_since_the_last_checkpoint_and_tries_are_counted(endless, cluster):
    wait_for(lambda: steps_of("lost_node") >= 8, "steps after a checkpoint")
    path = Path("outputs/lost_node/metrics.jsonl")
    first_line = path.read_text().splitlines()[0]
    cluster.pull_the_plug("n2", endless["lost_node"])
    wait_for(lambda: "try 2 of 2" in log("lost_node", endless["lost_node"]), "the second try")
    before = steps_of("lost_node")
    wait_for(lambda: steps_of("lost_node") > before, "more steps")
    assert path.read_text().splitlines()[0] == first_line  # with what the clock measured: these steps were not done again
    cluster.command("scancel", "--signal=USR2", endless["lost_node"])
    assert fate_of(endless["lost_node"]) == "FAILED"
    assert status_of("lost_node") == "requeue"
    assert "Not requeued, because this was the last try (--max-tries)" in log("lost_node", endless["lost_node"])


def test_a_job_at_its_time_limit_ends_with_the_bits_of_one_left_alone(jobs, cluster):
    assert fate_of(jobs["limit"]) == "COMPLETED"
    assert int(cluster.job(jobs["limit"])["Restarts"]) >= 1
    assert re.search(r"stopped by SIGUSR2 after step \d+;.* Requeued", log("limit", jobs["limit"]))
    assert_bits_of_the_run_left_alone(Path("outputs/limit"))


def test_two_nodes_do_what_one_process_does_with_twice_the_accumulation(jobs, cluster):
    """Interrupted before the trainings listen: the signal is repeated until they do, and the first node requeues for both."""
    assert fate_of(jobs["two_nodes"]) == fate_of(jobs["one_process"]) == "COMPLETED"
    assert cluster.job(jobs["two_nodes"])["Restarts"] == "1"
    assert re.search(r"stopped by SIGUSR2 after step \d+;.* Requeued", log("two_nodes", jobs["two_nodes"]))
    state = [json.loads(Path(f"outputs/{exp}/state/step_00000020/state.json").read_text()) for exp in ("one_process", "two_nodes")]
    assert [(entry["true_step"], entry["position"]) for entry in state] == [(40, 80), (20, 80)]
    for two, one in zip(metrics(Path("outputs/two_nodes")), metrics(Path("outputs/one_process")), strict=True):
        assert two == pytest.approx(one, rel=1e-4)


def test_a_failing_member_of_a_sweep_leaves_the_others_alone(sweep, repository):
    assert [fate_of(job_id) for job_id in sweep] == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    members = [member["exp"] for member in json.loads(Path("outputs/sweep/sweep.json").read_text())["members"]]
    assert [status_of(exp) for exp in members] == ["finished", "finished", "failed", "finished", "finished"]
    said = log("sweep", sweep[2])
    assert re.search(r"try 1 of 20 of job \d+: the training ended with code 1 and said: failed, .*Not requeued", said)
    array = sweep[0].split("_")[0]
    assert "--array=0-4%2" in Path(f"outputs/sweep/slurm/{array}/{array}_submission.sh").read_text()
    record = json.loads(Path(f"outputs/sweep/slurm/{array}/record.json").read_text())
    assert record["settings"]["array_parallelism"] == 2
    done = run_cli(repository / "multirun.py", "--status", "sweep")
    assert done.stdout.count("finished") == 4
    assert done.stdout.count("FAILED") == 1
    assert f"{log_of(Path('outputs/sweep'), sweep[2])}:" in done.stdout
    assert "Not requeued" in done.stdout
    texts = [path.read_text() for path in Path("outputs/sweep").rglob("*") if path.name in ("sweep.json", "record.json", "command.sh")]
    assert len(texts) == 8 and not any("hush" in text for text in texts)
    command = subprocess.run(["bash", f"outputs/{members[0]}/command.sh"], capture_output=True, text=True, check=False)
    assert command.returncode and "TOLD: was given with --env" in command.stderr


def test_every_option_reaches_slurm_and_a_failing_init_command_fails_the_job(cluster, repository, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")  # as if in a job ourselves
    monkeypatch.setenv("SBATCH_PARTITION", "main")  # which sbatch would put over our option
    monkeypatch.setenv("SBATCH_TIMELIMIT", "7")
    options = {"partition": "high", "nodes": "1", "gpus-per-node": "2", "processes-per-node": "1", "cpus-per-task": "2", "mem": "2G"}
    options |= {"time": "1:00:00", "constraint": "fast", "exclude": "n1", "nodelist": "n2", "account": "us", "qos": "normal"}
    options |= {"job-name": "named", "env": "FROM_THE_COMMAND_LINE=yes", "max-tries": "7", "signal-seconds": "90"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    inits = ["--init", "env > there.txt", "--init", "echo the modules are not there >&2; exit 3"]
    words += ["--env", "PYTHONPATH=/elsewhere"]
    done = run_cli(repository / "launch_slurm.py", *words, *inits, "--tail", "--", *TINY, "exp=options")
    assert done.returncode == 1, done.stderr
    assert "the modules are not there" in done.stdout
    assert "ended with code 3 and said: nothing. Not requeued" in done.stdout
    job_id = re.search(r"job (\d+): outputs/options", done.stdout)[1]
    job = cluster.job(job_id)
    known = {"JobState": "FAILED", "JobName": "named", "Partition": "high", "ReqNodeList": "n2", "ExcNodeList": "n1", "CPUs/Task": "2"}
    known |= {
        "TresPerNode": "gres:gpu:2",
        "MinMemoryNode": "2G",
        "TimeLimit": "01:00:00",
        "Features": "fast",
        "Account": "us",
        "Requeue": "1",
    }
    assert {name: job[name] for name in known} == known
    script = Path(f"outputs/options/slurm/{job_id}/{job_id}_submission.sh").read_text()
    assert "--qos=normal" in script  # SLURM knows it only with accounting
    assert "--signal=USR2@90" in script
    there = dict(line.split("=", 1) for line in Path("there.txt").read_text().splitlines() if "=" in line)
    assert there["FROM_THE_COMMAND_LINE"] == "yes"
    assert there["PYTHONPATH"] == f"{repository}:/elsewhere"
    assert there["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "try 1 of 7" in done.stdout
    assert "--num_processes 1" in done.stdout


def test_jobs_are_known_after_the_controller_has_forgotten_them(jobs, endless, cluster):
    cancel([jobs["limit"]])  # has ended
    cluster.forget_jobs()
    assert job_states([jobs["limit"], endless["cancelled"], endless["lost_node"], "99999999"]) == {
        jobs["limit"]: "COMPLETED",
        endless["cancelled"]: "CANCELLED",
        endless["lost_node"]: "FAILED",
        "99999999": "UNKNOWN",
    }
